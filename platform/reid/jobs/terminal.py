"""What a job says, shown: bars and lines on a terminal, lines alone in a file, and all of it in the job's log."""

import logging
import sys
import threading
import time
from collections import deque
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import rich
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from reid.config import without_passwords
from reid.progress import Bar

LOG = "job.log"
LOG_WIDTH = 120
KEPT_LINES = 10_000
"""Of the log, until it is known where it belongs."""
TOLD_EVERY_S = 30.0
"""Seconds between two lines on one bar where there is no terminal."""


class Terminal:
    """A `reid.progress.Listener`. Within its context it also hears what `logging` is told.

    Args:
        verbose: show the user all that otherwise the log alone keeps.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._lock = threading.RLock()
        self._log: TextIO | deque[str] = deque(maxlen=KEPT_LINES)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), _Amounts(), console=rich.get_console(), transient=True
        )
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, tuple[float, float]] = {}
        """When a bar began and when a line was last written of it, by its title."""
        self._logging = _FromLogging(self)

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal, on which lines can move."""
        return self._bars.console.is_terminal

    def __enter__(self) -> Self:
        logging.captureWarnings(True)
        root = logging.getLogger()
        root.setLevel(logging.INFO)
        root.addHandler(self._logging)
        if self.is_live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_live:
            self._bars.stop()
        logging.getLogger().removeHandler(self._logging)
        logging.captureWarnings(False)
        if not isinstance(self._log, deque):
            self._log.close()

    def say(self, line: str) -> None:
        self._print(line)
        self._keep(line)

    def say_result(self, line: str) -> None:
        self._print(line, clock=False)
        self._keep(line)

    def warn(self, line: str) -> None:
        self._print(line, to_errors=True)
        self._keep(line)

    def note(self, text: str) -> None:
        if self._verbose:
            self._print(text)
        self._keep(text)

    def show_table(self, table: RenderableType) -> None:
        console = Console(width=LOG_WIDTH, color_system=None)
        with console.capture() as captured:
            console.print(table)
        if self.is_live:
            self._bars.console.print(table, highlight=False)
        else:
            print(captured.get(), end="", flush=True)
        self._keep(f"\n{captured.get()}")

    def move(self, bar: Bar) -> None:
        with self._lock:
            if self.is_live:
                self._move(bar)
            else:
                self._tell(bar)

    def keep_log_in(self, folder: Path) -> None:
        with self._lock:
            if isinstance(self._log, deque):
                log = (folder / LOG).open("a", encoding="utf-8", errors="replace", buffering=1)
                log.writelines(self._log)
                self._log = log

    def _print(self, line: str, *, to_errors: bool = False, clock: bool = True) -> None:
        line = without_passwords(line)
        if clock:
            line = f"{time.strftime('%H:%M:%S')} {line}"
        if self.is_live:
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr if to_errors else sys.stdout, flush=True)

    def _keep(self, text: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {without_passwords(text)}\n"
        with self._lock:
            if isinstance(self._log, deque):
                self._log.append(line)
            else:
                self._log.write(line)

    def _move(self, bar: Bar) -> None:
        task = self._tasks.get(bar.title)
        if bar.ended:
            if task is not None:
                self._bars.remove_task(self._tasks.pop(bar.title))
        elif task is None:
            self._tasks[bar.title] = self._bars.add_task(bar.title, total=bar.total, completed=bar.done, unit=bar.unit)
        else:
            self._bars.update(task, completed=bar.done, total=bar.total)

    def _tell(self, bar: Bar) -> None:
        now = time.monotonic()
        began, told = self._told.setdefault(bar.title, (now, now))
        if bar.ended:
            del self._told[bar.title]
        elif now - told >= TOLD_EVERY_S:
            self._told[bar.title] = began, now
            self.say(f"{bar.title}: {amounts(bar.done, bar.total, bar.unit, now - began)}")


def amounts(done: float, total: float | None, unit: str, seconds: float) -> str:
    """How far, how fast and how long still, such as `1,200 of 2,000 images, 53/s, 0:15 left`."""
    if total is None:
        return f"{_clock(seconds)} so far"
    text = f"{done:,.0f} of {total:,.0f} {unit}".rstrip()
    if done and seconds:
        rate = done / seconds
        text += f", {rate:,.0f}/s" if rate >= 10 else f", {rate:.2g}/s"
        text += f", {_clock((total - done) / rate)} left"
    return text


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))).removeprefix("0:")


class _Amounts(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(amounts(task.completed, task.total, task.fields["unit"], task.elapsed or 0.0))


class _FromLogging(logging.Handler):
    """Warnings for the user; what is less, and what Ray says of itself, for the log."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        quiet = record.levelno < logging.WARNING or record.name.partition(".")[0] in ("ray", "py")
        (self._terminal.note if quiet else self._terminal.warn)(self.format(record))
