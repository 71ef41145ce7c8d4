"""Phases trained one after another, or many at once in the background."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import ray

from reid.cluster.placement import worker_resources
from reid.cluster.relay import relayed
from reid.cluster.runner import EpochObserver, Stopped, fit
from reid.cluster.workers import PhaseFailedError, Workers
from reid.config import with_settings
from reid.storage import Place
from reid.training import PhaseJob

SECONDS_TO_STOP = 30
LOOK_EVERY_S = 5.0
"""At how many may be under way, where none of them ends."""


class Named(Protocol):
    """Something to train, and the names of what must be trained before it."""

    @property
    def name(self) -> str: ...
    @property
    def after(self) -> tuple[str, ...]: ...


AnyNamed = TypeVar("AnyNamed", bound=Named)


@dataclass(frozen=True, kw_only=True)
class Started:
    """A phase under way."""

    future: "Future[Place | Stopped]"
    """Its last checkpoint, in the end."""
    task: "ray.ObjectRef[Place | Stopped] | None" = None

    def stop(self) -> None:
        """End it, with all of its workers."""
        if self.task is not None and not self.future.done():
            ray.cancel(self.task, force=True, recursive=True)
            wait([self.future], timeout=SECONDS_TO_STOP)


def fit_here(job: PhaseJob, *, place: Place, observe: EpochObserver, workers: Workers | None = None) -> Started:
    """`fit`, driven from this process and ended on return."""
    future: Future[Place | Stopped] = Future()
    future.set_result(_fit(job, place, observe, workers))
    return Started(future=future)


def start_fit(job: PhaseJob, *, place: Place, observe: EpochObserver) -> Started:
    """`fit` as a task of the cluster; with `num_workers` = 0 in this process, ended on return.

    A single worker is that task itself: a process group and a controller would take longer to start than a short
    training takes. For several, the task drives them and takes no CPU. Whichever dies goes on from its last checkpoint.
    """
    scaling = job.config.scaling
    if scaling.num_workers == 0:
        return fit_here(job, place=place, observe=observe)
    resources: dict[str, float] = {}
    if scaling.num_workers == 1 and place.is_local:
        resources = worker_resources(scaling)
        here = {"scaling.num_workers": 0, "scaling.accelerator": "gpu" if "GPU" in resources else "cpu"}
        job = replace(job, config=with_settings(job.config, here))
    remote = ray.remote(
        num_cpus=resources.get("CPU", 0), num_gpus=resources.get("GPU", 0), max_retries=scaling.max_failures
    )(_fit)
    task = remote.remote(job, place, observe)
    return Started(future=task.future(), task=task)


def run_in_order(
    jobs: Sequence[AnyNamed],
    finished: Mapping[str, object],
    start: Callable[[AnyNamed], Started],
    *,
    at_once: Callable[[], int],
) -> Iterator[tuple[AnyNamed, Place | Stopped]]:
    """Start everything once all that it builds on is finished; yields each, as it ends, with its last checkpoint.

    What builds on something that stopped is never started. Where the caller ends early, what is under way is stopped.

    Args:
        jobs: in the order of preference.
        finished: names of what is finished; the caller adds those it is given.
        at_once: how many may be under way, asked again and again.
    """
    waiting = [job for job in jobs if job.name not in finished]
    running: dict[str, tuple[AnyNamed, Started]] = {}
    try:
        while True:
            ready = [job for job in waiting if finished.keys() >= set(job.after)]
            for job in ready[: max(0, at_once() - len(running))]:
                waiting.remove(job)
                running[job.name] = job, start(job)
            if not running:
                return
            futures = [started.future for _, started in running.values()]
            done = wait(futures, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED).done
            for name in [name for name, (_, started) in running.items() if started.future in done]:
                job, started = running.pop(name)
                yield job, started.future.result()
    finally:
        for _, started in running.values():
            started.stop()


@relayed
def _fit(job: PhaseJob, place: Place, observe: EpochObserver, workers: Workers | None = None) -> Place | Stopped:
    try:
        return fit(job, place=place, observe=observe, workers=workers)
    except PhaseFailedError as error:
        return Stopped(reason=str(error))
