"""What processes of the cluster say, brought to the job that started them."""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reid.progress import Bar, Board, Printer, Said, Silence, listening, move, note, say

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

NAME = "reid-progress"
"""Of the actor, within the job's namespace."""
INTERVAL_S = 0.5
"""Between looks at what was said, and between two states of one bar that are sent."""
PATIENCE_S = 10
"""For a look; without an answer the job goes on."""


class Relay(Printer):
    """Listens in a process of the cluster and passes on. Only a line for the user is waited for, so that none is late.

    While the board is out of reach training goes on, and its lines are in the cluster's own log.
    """

    def __init__(self, board: Any) -> None:
        self._board = board
        self._moved: dict[str, float] = {}

    def say(self, line: str) -> None:
        try:
            ray.get(self._board.say.remote(line, for_user=True), timeout=PATIENCE_S)
        except RayError:
            super().say(line)

    def note(self, text: str) -> None:
        self._board.say.remote(text, for_user=False)

    def move(self, bar: Bar) -> None:
        now = time.monotonic()
        if not bar.ended and now - self._moved.get(bar.title, -INTERVAL_S) < INTERVAL_S:
            return
        self._moved[bar.title] = now
        self._board.move.remote(bar)


def relayed(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A function that runs in a process of the cluster: what it says reaches the job, if that listens."""

    @functools.wraps(function)
    def wrapped(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        with relaying():
            return function(*arguments, **named)

    return wrapped


@contextmanager
def relaying(*, silent: bool = False) -> Iterator[None]:
    """Within the block, what this process says reaches the job, if that listens and is another process.

    Args:
        silent: nothing does, since another process says the same.
    """
    try:
        board = ray.get_actor(NAME) if ray.is_initialized() and _hearing is None else None
    except ValueError:  # nobody listens
        board = None
    if silent:
        with listening(Silence()):
            yield
    elif board is not None:
        with listening(Relay(board)):
            yield
    else:
        yield


class _Hearing:
    """A thread of the job that passes on to its listener what the cluster's processes say.

    The board is on the job's node: the end of another takes no line along.
    """

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board: Any = (
            ray.remote(Board).options(name=NAME, num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()
        )
        self._lock = threading.Lock()
        self._under_way: dict[str, Bar] = {}

    def look(self) -> None:
        """Pass on what was said so far."""
        with self._lock:
            try:
                said: Said = ray.get(self._board.take.remote(), timeout=PATIENCE_S)
            except RayError:  # it is being started anew
                return
            for for_user, line in said.lines:
                (say if for_user else note)(line)
            for bar in said.bars.values():
                self._under_way[bar.title] = bar
                move(bar)

    def end_bars(self) -> None:
        """Of a process that was killed, a bar would stay for ever; that of one that goes on comes back."""
        with self._lock:
            for bar in self._under_way.values():
                move(replace(bar, ended=True))
            self._under_way.clear()

    def listen(self) -> None:
        """Look again and again, until the job leaves the cluster or joins another."""
        while ray.is_initialized() and _hearing is self:
            self.look()
            time.sleep(INTERVAL_S)


_hearing: _Hearing | None = None


def hear() -> None:
    """From now on, this process's listener hears what processes of the cluster say."""
    global _hearing
    _hearing = _Hearing()
    threading.Thread(target=_hearing.listen, daemon=True).start()


def hear_out() -> None:
    """Hear all that has been said until now by what has just ended."""
    if _hearing is not None:
        _hearing.look()
        _hearing.end_bars()
