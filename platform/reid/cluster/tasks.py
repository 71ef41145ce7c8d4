"""Independent tasks, spread over the cluster."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import ray
from ray.util import ActorPool

from reid.cluster.placement import worker_resources
from reid.config import ScalingConfig

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_on_cluster(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    """Run a task per item on the cluster's CPUs; results come in the order of the tasks."""
    remote = ray.remote(num_cpus=1, max_retries=2)(function)
    references = deque(remote.remote(task) for task in tasks)
    while references:
        yield ray.get(references.popleft())


class _Worker(Generic[Task, Result]):
    def __init__(self, make: Callable[[], Callable[[Task], Result]]) -> None:
        self._work = make()

    def run(self, task: Task) -> Result:
        return self._work(task)


def map_on_workers(
    make: Callable[[], Callable[[Task], Result]], tasks: Sequence[Task], scaling: ScalingConfig
) -> Iterator[Result]:
    """Run tasks on `scaling.min_workers` actors, each of which makes its function once, such as one with a model.

    Results come in the order of the tasks. A lost actor is started again, up to `scaling.max_failures` times.
    """
    resources = worker_resources(scaling)
    worker = ray.remote(_Worker).options(
        num_cpus=resources["CPU"],
        num_gpus=resources.get("GPU", 0),
        max_restarts=scaling.max_failures,
        max_task_retries=scaling.max_failures,
    )
    pool = ActorPool([worker.remote(make) for _ in range(min(scaling.min_workers, len(tasks)))])
    yield from pool.map(lambda actor, task: actor.run.remote(task), list(tasks))
