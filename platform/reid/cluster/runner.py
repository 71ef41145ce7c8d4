"""Runs a phase, or an evaluation, on Ray Train."""

import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, cast

import ray.train
from ray.train.torch import get_device

from reid.cluster import ray_internals as ray_train
from reid.cluster.placement import uses_gpu, worker_resources
from reid.cluster.process_group import NoGroup, from_rank_zero, process_group
from reid.cluster.relay import hear_out, relaying
from reid.cluster.restarts import Restarts
from reid.config import JobStoppedError, RunConfig, ScalingConfig, environment
from reid.evaluation import Evaluation
from reid.progress import track
from reid.stages import score_checkpoint
from reid.storage import DiskFullError, Place, require_claim, room_for
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
    rank_and_world,
    run_phase,
    write_checkpoint,
)

USER_ERRORS = (ValueError, NonFiniteLossError)
"""Errors that every rank meets alike and that a restart would only meet again."""
COLLECTIVE_TIMEOUT_S = 1800
"""Seconds after which a rank that others wait for in vain becomes an error; an evaluation of Market's size fits in."""
POLL_INTERVAL_S = 0.5
"""Between Ray Train's looks at the workers, which wait for one after every epoch; its own 2 s outlast short epochs."""
ELASTIC_S = 30
"""In which an elastic run's workers are placed, or it looks anew how many can be: a node may have gone unnoticed."""

EpochObserver = Callable[[PhaseState], None]
"""Told of all finished epochs once a checkpoint holds them, in one place for the whole run; of the last ones before its
process dies it may not be told."""


class PhaseFailedError(JobStoppedError):
    """A phase stopped for a reason that a restart would not cure."""


class NoRoomError(PhaseFailedError):
    """A phase stopped as a disk is full; where there is room, it goes on."""


def fit(job: PhaseJob, *, place: Place, observe: EpochObserver) -> Place:
    """Train a phase to its end, going on from its last checkpoint if any; returns where the last one then lies.

    Args:
        place: the phase's own folder, a local path or a pyarrow.fs URI.
        observe: called in the controller; it must not raise.

    Raises:
        PhaseFailedError: a user's error, a non-finite loss, or more worker failures than `scaling.max_failures`.
    """
    if job.config.scaling.num_workers == 0:
        return _fit_in_process(job, place, observe)
    argument = {"job": job, "place": place}
    callbacks = [_ReportsToObserver(observe, job.config)]
    _run_workers(_train_worker, argument, job.config, place=place, what=job.phase, callbacks=callbacks)
    return checkpoints_in(place)[-1]


def evaluate(config: RunConfig, *, checkpoint: str, store: str, place: Place) -> Evaluation:
    """Score a checkpoint on query and gallery, sharded over the workers; see `reid.stages.score_checkpoint`.

    Raises:
        PhaseFailedError: the checkpoint does not fit the model's settings, or a worker failed.
    """
    if config.scaling.num_workers == 0:
        device = choose_device(config.scaling)
        return score_checkpoint(config, checkpoint=checkpoint, store=store, device=device)
    job = {"config": config, "checkpoint": checkpoint, "store": store}
    evaluation = _run_workers(_score_worker, job, config, place=place, what="score").return_value
    assert isinstance(evaluation, Evaluation)
    return evaluation


def _run_workers(
    function: Callable[[dict[str, Any]], Any],
    argument: dict[str, Any],
    config: RunConfig,
    *,
    place: Place,
    what: str,
    callbacks: Sequence[Any] = (),
) -> ray_train.Result:
    """Run a function on every worker of a Ray Train run.

    Ray is told of no checkpoint: what it notes of them, in the same folder, a kill or a full disk leaves half written,
    and then it refuses to go on.

    Args:
        place: the run's folder.
        what: it is, for messages.

    Raises:
        PhaseFailedError: the function returned `Stopped`, or the run failed for good.
    """
    scaling = config.scaling
    gpu = uses_gpu(scaling)
    ray_train.hand_on("RAY_ADDRESS")
    with _limits_of(scaling):
        trainer = ray_train.TorchTrainer(
            function,
            train_loop_config=argument,
            torch_config=NoGroup(),
            scaling_config=ray_train.ScalingConfig(
                num_workers=scaling.num_workers,
                use_gpu=gpu,
                resources_per_worker=worker_resources(scaling),
            ),
            run_config=_run_config(scaling, place, [Restarts(what, scaling), *callbacks]),
        )
        try:
            with room_for(place), track(what):
                result = cast(ray_train.Result, trainer.fit())
        except DiskFullError as error:
            raise NoRoomError(f"{what} stopped: {error}") from error
        except ray.train.TrainingFailedError as error:
            raise PhaseFailedError(f"{what} failed: {error}") from error
        finally:
            hear_out()
    if isinstance(result.return_value, Stopped):
        raise _failure(what, result.return_value)
    return result


def _run_config(scaling: ScalingConfig, place: Place, callbacks: Sequence[Any]) -> ray_train.RunConfig:
    filesystem, folder = place.resolve()
    return ray_train.RunConfig(
        name=PurePosixPath(folder).name,
        storage_path=str(PurePosixPath(folder).parent),
        storage_filesystem=None if place.is_local else filesystem,
        failure_config=ray_train.FailureConfig(max_failures=scaling.max_failures),
        callbacks=list(callbacks),
        logging_config=ray_train.LoggingConfig(log_level="WARNING"),
        worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": str(max(1, int(scaling.cpus_per_worker)))}},
    )


@contextmanager
def _limits_of(scaling: ScalingConfig) -> Iterator[None]:
    is_elastic = scaling.min_workers < scaling.max_workers
    placing = min(ELASTIC_S, scaling.start_timeout) if is_elastic else scaling.start_timeout
    limits = {
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(placing),
        "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": str(COLLECTIVE_TIMEOUT_S),
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
    }
    looks = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(POLL_INTERVAL_S)}
    with environment(limits), environment(looks, unless_set=True):
        yield


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


def _train_worker(config: dict[str, Any]) -> Stopped | None:
    with _as_rank():
        return _train(**config)


@contextmanager
def _as_rank() -> Iterator[None]:
    """Within the block, this worker is one of its run's ranks, and what rank 0 says reaches the job."""
    backend = "nccl" if get_device().type == "cuda" else "gloo"
    with process_group(backend, COLLECTIVE_TIMEOUT_S), relaying(silent=rank_and_world()[0] > 0):
        yield


def _train(job: PhaseJob, place: Place) -> Stopped | None:
    ray_train.silence_reports()
    written: PhaseState | None = None

    def report(state: PhaseState, save: Save) -> None:
        def write() -> bool:
            nonlocal written
            written = writer.after(save)
            return written is not None

        if from_rank_zero(write):
            ray.train.report({} if written is None else {"state": json.dumps(written.to_json())})

    try:
        with CheckpointWriter(place, job) as writer:
            latest = from_rank_zero(lambda: _latest_in(place))  # by its name: ranks tell each other little at once
            resume_from = None if latest is None else place / latest
            run_phase(job, device=get_device(), evaluate=job.stage.evaluate, report=report, resume_from=resume_from)
    except USER_ERRORS as error:
        return Stopped.by(error)
    return None


def _latest_in(place: Place) -> str | None:
    """Name of the checkpoint to go on from.

    Raises:
        ValueError: all are damaged, or what Ray Train has put there as the run began is not to be seen.
    """
    if not place.exists():
        raise ValueError(f"{socket.gethostname()} does not see {place}: set storage=… to a place that all nodes see")
    latest = last_sound_checkpoint(place)
    return None if latest is None else latest.name


def _score_worker(config: dict[str, Any]) -> Evaluation | Stopped:
    try:
        with _as_rank():
            return score_checkpoint(**config, device=get_device())
    except USER_ERRORS as error:
        return Stopped.by(error)


class _ReportsToObserver(ray.train.UserCallback):
    """Hands every finished epoch to an observer, in Ray Train's controller."""

    def __init__(self, observe: EpochObserver, config: RunConfig) -> None:
        self._observe = observe
        self._config = config
        """For its extensions, without which the controller could not read a phase's state."""

    def after_report(
        self,
        run_context: object,
        metrics: list[dict[str, Any]],
        checkpoint: ray.train.Checkpoint | None,
    ) -> None:
        with relaying():
            self._observe(PhaseState.from_json(json.loads(metrics[0]["state"])))


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
