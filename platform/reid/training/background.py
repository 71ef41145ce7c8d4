"""Phases trained in the background, many at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Protocol, TypeVar

import ray

from reid.config import with_settings
from reid.training.cluster import worker_resources
from reid.training.loop import PhaseJob
from reid.training.runner import Observer, PhaseFailedError, Stopped, fit

Outcome = str | Stopped
"""Where the last checkpoint lies, or why there is none."""


class Step(Protocol):
    """Something to train, and the names of what must be trained before it."""

    @property
    def name(self) -> str: ...
    @property
    def after(self) -> tuple[str, ...]: ...


AnyStep = TypeVar("AnyStep", bound=Step)


def start_fit(job: PhaseJob, *, folder: str, observe: Observer) -> "Future[Outcome]":
    """`fit` as a task of the cluster; with `num_workers` = 0 in this process, ended on return.

    A single worker is that task itself: a process group and a controller would take longer to start than a short
    training takes. For several, the task drives them and takes no CPU. Whichever dies goes on from its last checkpoint.
    """
    scaling = job.config.scaling
    if scaling.num_workers == 0:
        future: Future[Outcome] = Future()
        future.set_result(_fit(job, folder, observe))
        return future
    resources: dict[str, float] = {}
    if scaling.num_workers == 1 and "://" not in folder:
        resources = worker_resources(scaling)
        here = {"scaling.num_workers": 0, "scaling.accelerator": "gpu" if "GPU" in resources else "cpu"}
        job = replace(job, config=with_settings(job.config, here))
    task = ray.remote(
        num_cpus=resources.get("CPU", 0), num_gpus=resources.get("GPU", 0), max_retries=scaling.max_failures
    )(_fit)
    started: Future[Outcome] = task.remote(job, folder, observe).future()
    return started


def run_in_order(
    steps: Sequence[AnyStep],
    finished: Mapping[str, object],
    start: Callable[[AnyStep], "Future[Outcome]"],
    *,
    at_once: int,
) -> Iterator[tuple[AnyStep, Outcome]]:
    """Start every step once all that it builds on is finished; yields each with its outcome as it ends.

    Steps that build on a stopped one are never started.

    Args:
        steps: in the order of preference.
        finished: names of finished steps; the caller adds those it is given.
        at_once: steps under way at a time.
    """
    waiting = [step for step in steps if step.name not in finished]
    running: dict[Future[Outcome], AnyStep] = {}
    while True:
        ready = [step for step in waiting if finished.keys() >= set(step.after)]
        for step in ready[: at_once - len(running)]:
            waiting.remove(step)
            running[start(step)] = step
        if not running:
            return
        for done in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(done), done.result()


def _fit(job: PhaseJob, folder: str, observe: Observer) -> Outcome:
    try:
        return fit(job, folder=folder, observe=observe)
    except PhaseFailedError as error:
        return Stopped(reason=str(error))
