"""The Ray cluster: joining it, asking what it can place, and spreading independent tasks over it."""

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray._private.services import find_bootstrap_address
from ray.exceptions import GetTimeoutError
from ray.util import ActorPool
from ray.util.placement_group import placement_group, remove_placement_group

import reid
from reid.config import ScalingConfig

Task = TypeVar("Task")
Result = TypeVar("Result")


class PlacementError(RuntimeError):
    """The cluster cannot place the workers asked for."""


def connect() -> None:
    """Join the cluster that `RAY_ADDRESS` names or `ray start` started here last, else start one for this process.

    The package's own source travels along: workers run the code that was submitted, whatever version is installed.

    Raises:
        ConnectionError: nothing answers at `RAY_ADDRESS`.
    """
    if ray.is_initialized():
        return
    start = partial(
        ray.init, runtime_env={"py_modules": [str(Path(reid.__file__).parent)]}, logging_level=logging.ERROR
    )
    if "RAY_ADDRESS" in os.environ:
        start()
        return
    if (address := find_bootstrap_address(None)) is not None:
        try:
            start(address=address)
            return
        except ConnectionError:
            print(f"the cluster last started here, {address}, does not answer: starting one for this job", flush=True)
    # A token for this cluster alone: Ray would leave one in the home directory that other users can read, and that
    # changes how clusters started later behave.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this node away
    start(address="local")


def map_on_cluster(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    """Run a task per item on the cluster's CPUs; results come in the order of the tasks."""
    remote = ray.remote(num_cpus=1, max_retries=2)(function)
    references = [remote.remote(task) for task in tasks]
    for index, reference in enumerate(references):
        yield ray.get(reference)
        references[index] = None


class _Worker:
    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._work = make()

    def run(self, task: Any) -> Any:
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
    yield from pool.map(lambda actor, task: actor.run.remote(task), tasks)


def uses_gpu(scaling: ScalingConfig) -> bool:
    """Whether the workers get a GPU each; `auto` takes GPUs when the cluster has one for every worker."""
    if scaling.accelerator == "auto":
        return bool(ray.cluster_resources().get("GPU", 0) >= scaling.gpus_per_worker * max(1, scaling.min_workers))
    return scaling.accelerator == "gpu"


def worker_resources(scaling: ScalingConfig) -> dict[str, float]:
    return {"CPU": scaling.cpus_per_worker, **({"GPU": scaling.gpus_per_worker} if uses_gpu(scaling) else {})}


def concurrent_runs(scaling: ScalingConfig) -> int:
    """Runs of the smallest number of workers asked for that the cluster, as it is now, holds at once; at least 1.

    So many drivers at a time cannot keep each other's workers from starting. They must take no CPU themselves.
    """
    bundle = worker_resources(scaling)
    workers = sum(
        min(int(node["Resources"].get(name, 0) // amount) for name, amount in bundle.items())
        for node in ray.nodes()
        if node["Alive"]
    )
    return max(1, workers // max(1, scaling.min_workers))


def require_placeable(scaling: ScalingConfig) -> None:
    """Wait until the cluster can place the smallest number of workers asked for.

    Raises:
        PlacementError: it could not within `scaling.start_timeout` seconds.
    """
    if scaling.min_workers == 0:
        return
    bundle = worker_resources(scaling)
    group = placement_group([bundle] * scaling.min_workers)
    try:
        ray.get(group.ready(), timeout=scaling.start_timeout)
    except GetTimeoutError:
        has = {name: amount for name, amount in ray.cluster_resources().items() if name in ("CPU", "GPU")}
        raise PlacementError(
            f"scaling.num_workers: {scaling.min_workers} workers of {_show(bundle)} each could not be placed within "
            f"{scaling.start_timeout:g} s, the cluster has {_show(has)} in all; lower scaling.num_workers or "
            "scaling.cpus_per_worker, wait for other jobs to end, or add nodes (then raise scaling.start_timeout)"
        ) from None
    finally:
        remove_placement_group(group)


def _show(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(resources.items())) or "no resources"
