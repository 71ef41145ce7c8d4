"""Runs a phase, or an evaluation, on Ray Train."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

import ray.train
from ray.train.torch import get_device

from reid.cluster import ray_internals as ray_train
from reid.cluster.placement import uses_gpu, worker_resources
from reid.cluster.process_group import ProcessGroup
from reid.config import RunConfig, ScalingConfig, environment
from reid.evaluation import Evaluation
from reid.stages import score_checkpoint
from reid.storage import Place, whole_folder
from reid.training import (
    STATE,
    NonFiniteLossError,
    PhaseJob,
    PhaseState,
    Save,
    choose_device,
    load_state,
    rank_and_world,
    run_phase,
)

USER_ERRORS = (ValueError, NonFiniteLossError)
"""Errors that every rank meets alike and that a restart would only meet again."""

COLLECTIVE_TIMEOUT_S = 1800
"""Seconds after which a rank that others wait for in vain becomes an error; an evaluation of Market's size fits in."""

POLL_INTERVAL_S = 0.5
"""Between Ray Train's looks at the workers, which wait for one after every epoch; its own 2 s outlast short epochs."""

EpochObserver = Callable[[PhaseState], None]
"""Told of every finished epoch, in one place for the whole run."""


class PhaseFailedError(RuntimeError):
    """A phase stopped for a reason that a restart would not cure."""


def fit(job: PhaseJob, *, place: Place, observe: EpochObserver) -> Place:
    """Train a phase to its end, going on from its last checkpoint if any; returns where the last one then lies.

    Args:
        place: the phase's own folder, a local path or a pyarrow.fs URI.
        observe: called once per finished epoch, in the controller; it must not raise.

    Raises:
        PhaseFailedError: a user's error, a non-finite loss, or more worker failures than `scaling.max_failures`.
    """
    if job.config.scaling.num_workers == 0:
        return _fit_in_process(job, place, observe)
    argument = {"job": job, "place": place}
    callbacks = [_ReportsToObserver(observe, place, job.config)]
    result = _run_workers(_train_worker, argument, job.config, place=place, what=job.phase, callbacks=callbacks)
    return _location(result.checkpoint, place)


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
    callbacks: Sequence[ray.train.UserCallback] = (),
) -> ray_train.Result:
    """Run a function on every worker of a Ray Train run that goes on from its last checkpoint.

    Args:
        place: the run's folder.
        what: it is, for messages.

    Raises:
        PhaseFailedError: the function returned `Stopped`, or the run failed for good.
    """
    scaling = config.scaling
    gpu = uses_gpu(scaling)
    filesystem, folder = place.resolve()
    run_config = ray_train.RunConfig(
        name=PurePosixPath(folder).name,
        storage_path=str(PurePosixPath(folder).parent),
        storage_filesystem=None if place.is_local else filesystem,
        checkpoint_config=ray_train.CheckpointConfig(num_to_keep=1),
        failure_config=ray_train.FailureConfig(max_failures=scaling.max_failures, controller_failure_limit=1),
        callbacks=list(callbacks),
        logging_config=ray_train.LoggingConfig(log_level="WARNING"),
        worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": str(max(1, int(scaling.cpus_per_worker)))}},
    )
    with _limits_of(scaling):
        trainer = ray_train.TorchTrainer(
            function,
            train_loop_config=argument,
            torch_config=ProcessGroup(backend="nccl" if gpu else "gloo", timeout_s=COLLECTIVE_TIMEOUT_S),
            scaling_config=ray_train.ScalingConfig(
                num_workers=scaling.num_workers, use_gpu=gpu, resources_per_worker=worker_resources(scaling)
            ),
            run_config=run_config,
        )
        try:
            result = cast(ray_train.Result, trainer.fit())
        except ray.train.TrainingFailedError as error:
            raise PhaseFailedError(f"{what} failed: {error}") from error
    if isinstance(result.return_value, Stopped):
        raise PhaseFailedError(f"{what} stopped: {result.return_value.reason}")
    return result


@contextmanager
def _limits_of(scaling: ScalingConfig) -> Iterator[None]:
    limits = {
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(scaling.start_timeout),
        "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": str(COLLECTIVE_TIMEOUT_S),
    }
    looks = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(POLL_INTERVAL_S)}
    with environment(limits), environment(looks, unless_set=True):
        yield


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Returned by a worker in place of raising, since Ray Train would restart a worker that raises."""

    reason: str


def _train_worker(config: dict[str, Any]) -> Stopped | None:
    ray_train.silence_reports()
    job: PhaseJob = config["job"]
    latest = ray.train.get_checkpoint()

    def report(state: PhaseState, save: Save) -> None:
        metrics = {"epoch": state.epoch, **state.history[-1].metrics}
        if rank_and_world()[0] > 0:
            ray.train.report(metrics)
            return
        folder = Path(tempfile.mkdtemp(prefix="reid-checkpoint-"))
        try:
            save(folder)
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(str(folder)),
                checkpoint_dir_name=_folder_of(state.epoch),
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    resume_from = None if latest is None else _location(latest, config["place"])
    try:
        run_phase(job, device=get_device(), evaluate=job.stage.evaluate, report=report, resume_from=resume_from)
    except USER_ERRORS as error:
        return Stopped(reason=str(error))
    return None


def _score_worker(config: dict[str, Any]) -> Evaluation | Stopped:
    try:
        return score_checkpoint(**config, device=get_device())
    except USER_ERRORS as error:
        return Stopped(reason=str(error))


class _ReportsToObserver(ray.train.UserCallback):
    """Hands every finished epoch to an observer, in Ray Train's controller."""

    def __init__(self, observe: EpochObserver, place: Place, config: RunConfig) -> None:
        self._observe, self._place = observe, place
        self._config = config
        """For its extensions, without which the controller could not read a checkpoint."""

    def after_report(
        self,
        run_context: object,
        metrics: list[dict[str, Any]],
        checkpoint: ray.train.Checkpoint | None,
    ) -> None:
        if checkpoint is not None:
            self._observe(load_state(_location(checkpoint, self._place)))


def _location(checkpoint: ray.train.Checkpoint | None, place: Place) -> Place:
    """Where a checkpoint of a phase lies, with the options of the phase's own place."""
    assert checkpoint is not None
    _, folder = place.resolve()
    return place / str(PurePosixPath(checkpoint.path).relative_to(folder))


def _fit_in_process(job: PhaseJob, place: Place, observe: EpochObserver) -> Place:
    """The same phase in this process, for a debugger: no Ray, one rank, checkpoints in the same form."""

    def report(state: PhaseState, save: Save) -> None:
        _write_checkpoint(place / _folder_of(state.epoch), save)
        for old in _checkpoints(place)[:-1]:
            old.delete()
        observe(state)

    finished = _checkpoints(place)
    device = choose_device(job.config.scaling)
    resume_from = finished[-1] if finished else None
    try:
        run_phase(job, device=device, evaluate=job.stage.evaluate, report=report, resume_from=resume_from)
    except USER_ERRORS as error:
        raise PhaseFailedError(f"phase {job.phase} stopped: {error}") from error
    return _checkpoints(place)[-1]


def _write_checkpoint(place: Place, save: Save) -> None:
    if place.is_local:
        with whole_folder(Path(place), lock=False) as partial:
            save(partial)
        return
    with tempfile.TemporaryDirectory(prefix="reid-checkpoint-") as folder:
        save(Path(folder))
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: file.name == STATE):  # a checkpoint that has it is whole
            target = place
            for name in file.relative_to(folder).parts:
                target = target / name
            target.upload(file)


def _folder_of(epoch: int) -> str:
    return f"epoch_{epoch:04d}"


def _checkpoints(place: Place) -> list[Place]:
    """Whole ones, the oldest first."""
    names = sorted(name for name in place.names() if name.startswith("epoch_"))
    return [place / name for name in names if (place / name / STATE).exists()]
