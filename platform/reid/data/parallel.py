"""How independent tasks are spread over workers.

Functions that produce many files take a `MapTasks`, so that the same code runs in a plain loop, over local processes,
or on a Ray cluster (the runner passes its own implementation in).
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class MapTasks(Protocol):
    """Applies a module-level function to picklable tasks and yields the results in the order of the tasks."""

    def __call__(self, function: Callable[[Task], Result], tasks: Sequence[Task], /) -> Iterator[Result]: ...


def map_in_process(function: Callable[[Task], Result], tasks: Sequence[Task], /) -> Iterator[Result]:
    """The plain loop: one task after another in the calling process."""
    return map(function, tasks)


def map_in_processes(workers: int) -> MapTasks:
    """A `MapTasks` over `workers` freshly started local processes.

    Raises:
        ValueError: `workers` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}: give at least 1, or use map_in_process to stay in this process")

    def map_tasks(function: Callable[[Task], Result], tasks: Sequence[Task], /) -> Iterator[Result]:
        # "spawn": a forked child would inherit the locks of torch's and Arrow's thread pools.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from pool.map(function, tasks)

    return map_tasks
