"""One listener for each process, as `logging` has its root: code says what there is to say, a listener shows it."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from rich.console import Console, RenderableType

Part = TypeVar("Part")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """How far something has come; the title tells it from what else is under way."""

    title: str
    done: int = 0
    total: int | None = None
    """None = not known before the end."""
    unit: str = ""
    ended: bool = False


class Listener(Protocol):
    """Whoever shows what a job says. It must not raise."""

    def say(self, line: str) -> None:
        """A line for the user."""

    def say_result(self, line: str) -> None:
        """A line of what came out in the end."""

    def show_table(self, table: RenderableType) -> None:
        """A table for the user."""

    def note(self, text: str) -> None:
        """What the log should keep and the user need not see."""

    def move(self, bar: Bar) -> None:
        """Something has begun, come further, or ended."""

    def keep_log_in(self, folder: Path) -> None:
        """Where the log of the job belongs, known from now on."""


class Silence:
    """Listens where others speak, such as on ranks other than 0."""

    def say(self, line: str) -> None:
        pass

    def say_result(self, line: str) -> None:
        pass

    def show_table(self, table: RenderableType) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def move(self, bar: Bar) -> None:
        pass

    def keep_log_in(self, folder: Path) -> None:
        pass


class Printer(Silence):
    """Listens where nobody else does: prints lines and tables, and leaves notes to `logging`."""

    def say(self, line: str) -> None:
        print(line, flush=True)

    def say_result(self, line: str) -> None:
        print(line, flush=True)

    def show_table(self, table: RenderableType) -> None:
        Console(highlight=False).print(table)

    def note(self, text: str) -> None:
        logger.info("%s", text)


_listener: Listener = Printer()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block, what this process says goes to the listener."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def say(line: str) -> None:
    _listener.say(line)


def say_result(line: str) -> None:
    _listener.say_result(line)


def show_table(table: RenderableType) -> None:
    _listener.show_table(table)


def note(text: str) -> None:
    _listener.note(text)


def move(bar: Bar) -> None:
    _listener.move(bar)


def keep_log_in(folder: Path) -> None:
    _listener.keep_log_in(folder)


@contextmanager
def track(title: str, total: int | None = None, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Show how far the block has come.

    Args:
        title: what is under way, such as `final, epoch 3 of 8`.
        total: units in all; None = not known.

    Yields:
        A function to call with the number of units that are done since the last call.
    """
    bar = Bar(title=title, total=total, unit=unit)
    move(bar)

    def advance(units: int) -> None:
        nonlocal bar
        bar = replace(bar, done=bar.done + units)
        move(bar)

    try:
        yield advance
    finally:
        move(replace(bar, ended=True))


def tracked(
    parts: Iterable[Part], title: str, *, total: int, unit: str, size: Callable[[Part], int] = lambda part: 1
) -> Iterator[Part]:
    """The parts, as they come, with what `track` shows; a part is done when the next is asked for.

    Args:
        size: units of a part.
    """
    with track(title, total, unit) as advance:
        for part in parts:
            yield part
            advance(size(part))
