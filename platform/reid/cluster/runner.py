"""Runs a phase, or an evaluation, on Ray Train."""

import json
import socket
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from ray.train.torch import get_device

from reid.cluster.process_group import from_rank_zero
from reid.cluster.workers import NoRoomError, PhaseFailedError, Tell, Workers
from reid.config import RunConfig
from reid.evaluation import Evaluation
from reid.stages import score_checkpoint
from reid.storage import DiskFullError, Place, require_claim
from reid.training import (
    Cadence,
    CheckpointWriter,
    NonFiniteLossError,
    PhaseJob,
    PhaseState,
    Save,
    checkpoints_in,
    choose_device,
    last_sound_checkpoint,
    run_phase,
    write_checkpoint,
)

USER_ERRORS = (ValueError, NonFiniteLossError)
"""Errors that every rank meets alike and that a restart would only meet again."""
EpochObserver = Callable[[PhaseState], None]
"""Told of all finished epochs once a checkpoint holds them, in one place for the whole run; of the last ones before its
process dies it may not be told."""


def fit(job: PhaseJob, *, place: Place, observe: EpochObserver, workers: Workers | None = None) -> Place:
    """Train a phase to its end, going on from its last checkpoint if any; returns where the last one then lies.

    Args:
        place: the phase's own folder, a local path or a pyarrow.fs URI.
        workers: that train it, if they have the scaling that it asks for; else it has some of its own.

    Raises:
        PhaseFailedError: a user's error, a non-finite loss, or more worker failures than `scaling.max_failures`.
    """
    if job.config.scaling.num_workers == 0:
        return _fit_in_process(job, place, observe)

    def hear(text: str) -> None:
        observe(PhaseState.from_json(json.loads(text)))

    scaling = job.config.scaling
    shared = workers is not None and workers.scaling == scaling
    with nullcontext(workers) if workers and shared else Workers(scaling, place) as workers:
        stopped = workers.do(partial(_train, job, place, workers.place), what=job.phase, hear=hear)
    if stopped is not None:
        raise _failure(job.phase, stopped)
    return checkpoints_in(place)[-1]


def evaluate(config: RunConfig, *, checkpoint: str, store: str, place: Place) -> Evaluation:
    """Score a checkpoint on query and gallery, sharded over the workers; see `reid.stages.score_checkpoint`.

    Raises:
        PhaseFailedError: the checkpoint does not fit the model's settings, or a worker failed.
    """
    if config.scaling.num_workers == 0:
        device = choose_device(config.scaling)
        return score_checkpoint(config, checkpoint=checkpoint, store=store, device=device)
    with Workers(config.scaling, place) as workers:
        evaluation = workers.do(partial(_score, config, checkpoint, store), what="score")
    if isinstance(evaluation, Stopped):
        raise _failure("score", evaluation)
    assert isinstance(evaluation, Evaluation)
    return evaluation


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Returned by a worker in place of raising, since Ray Train would restart a worker that raises."""

    reason: str
    no_room: bool = False
    """Whether the reason is a full disk."""

    @classmethod
    def by(cls, error: Exception) -> "Stopped":
        return cls(reason=str(error), no_room=isinstance(error, DiskFullError))


def _failure(what: str, stopped: Stopped) -> PhaseFailedError:
    kind = NoRoomError if stopped.no_room else PhaseFailedError
    return kind(f"{what} stopped: {stopped.reason}")


def _train(job: PhaseJob, place: Place, seen: Place, tell: Tell) -> Stopped | None:
    """
    Args:
        seen: what Ray Train has put somewhere as the run began, for all workers to see.
    """

    def report(state: PhaseState, save: Save) -> None:
        from_rank_zero(lambda: write(save))

    def write(save: Save) -> None:
        if (written := writer.after(save)) is not None:
            tell(json.dumps(written.to_json()))

    try:
        with CheckpointWriter(place, job) as writer:
            name = from_rank_zero(lambda: _latest_in(place, seen))  # and no place: ranks tell each other little at once
            resume_from = None if name is None else place / name
            run_phase(job, device=get_device(), evaluate=job.stage.evaluate, report=report, resume_from=resume_from)
    except USER_ERRORS as error:
        return Stopped.by(error)
    return None


def _latest_in(place: Place, seen: Place) -> str | None:
    """Name of the checkpoint to go on from.

    Raises:
        ValueError: all are damaged, or the run's folder is not to be seen.
    """
    if not seen.exists():
        raise ValueError(f"{socket.gethostname()} does not see {seen}: set storage=… to a place that all nodes see")
    latest = last_sound_checkpoint(place)
    return None if latest is None else latest.name


def _score(config: RunConfig, checkpoint: str, store: str, tell: Tell) -> Evaluation | Stopped:
    try:
        return score_checkpoint(config, checkpoint=checkpoint, store=store, device=get_device())
    except USER_ERRORS as error:
        return Stopped.by(error)


def _fit_in_process(job: PhaseJob, place: Place, observe: EpochObserver) -> Place:
    """The same phase in this process, for a debugger: no Ray, one rank, checkpoints in the same form."""
    cadence = Cadence(job.config.scaling, job.settings.epochs)

    def report(state: PhaseState, save: Save) -> None:
        if cadence.is_due(state.epoch):
            require_claim(job.claim, f"phase {job.title}")
            write_checkpoint(place, state.epoch, save, judged_by=job.judged_by)
            observe(state)

    device = choose_device(job.config.scaling)
    try:
        resume_from = last_sound_checkpoint(place)
        run_phase(job, device=device, evaluate=job.stage.evaluate, report=report, resume_from=resume_from)
    except USER_ERRORS as error:
        raise _failure(f"phase {job.phase}", Stopped.by(error)) from error
    return checkpoints_in(place)[-1]
