"""Independent tasks, spread over the cluster."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import ray
from ray.util import ActorPool
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reid.cluster.placement import alive_nodes, worker_resources
from reid.config import ScalingConfig

Task = TypeVar("Task")
Result = TypeVar("Result")

NODE_LABEL = "ray.io/node-id"
"""That every node of Ray has."""


def map_on_cluster(
    function: Callable[[Task], Result], tasks: Sequence[Task], nodes: Sequence[str] = ()
) -> Iterator[Result]:
    """Run a task per item on the cluster's CPUs; results come in the order of the tasks.

    Args:
        nodes: ids of those that they may run on; none = all.
    """
    # Without blanks: Ray takes what is between the commas for an id as it is, and aborts the process.
    where = {NODE_LABEL: f"in({','.join(nodes)})"} if nodes else {}
    remote = ray.remote(num_cpus=1, max_retries=2, label_selector=where)(function)
    references = deque(remote.remote(task) for task in tasks)
    while references:
        yield ray.get(references.popleft())


def nodes_that_see(folder: Path) -> list[str]:
    """Ids of the nodes with a CPU on which a folder of this node has the same content, as far as names tell."""
    nodes = [node["NodeID"] for node in alive_nodes() if node["Resources"].get("CPU", 0) >= 1]
    look = ray.remote(num_cpus=0)(_names)
    there = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(folder)
        for node in nodes
    ]
    here = _names(folder)
    return [node for node, names in zip(nodes, ray.get(there), strict=True) if names == here]


def _names(folder: Path) -> list[str] | None:
    return sorted(os.listdir(folder)) if folder.is_dir() else None


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
