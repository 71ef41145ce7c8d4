"""Runs a phase, or an evaluation, on Ray Train."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray.train
import ray.train.v2._internal.execution.context
import torch
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from reid.config import RunConfig
from reid.evaluation import Evaluation
from reid.training.checkpoint import PhaseState, load_state
from reid.training.cluster import uses_gpu, worker_resources
from reid.training.distributed import rank_and_world
from reid.training.loop import PhaseJob, Save, run_phase
from reid.training.scoring import score_checkpoint
from reid.training.step import NonFiniteLossError

USER_ERRORS = (ValueError, NonFiniteLossError)
"""Errors that every rank meets alike and that a restart would only meet again."""

COLLECTIVE_TIMEOUT_S = 1800
"""Seconds after which a rank that others wait for in vain becomes an error; an evaluation of Market's size fits in."""

POLL_INTERVAL_S = 0.5
"""Between Ray Train's looks at the workers, which wait for one after every epoch; its own 2 s outlast short epochs."""

Observer = Callable[[PhaseState], None]
"""Told of every finished epoch, in one place for the whole run."""


class PhaseFailedError(RuntimeError):
    """A phase stopped for a reason that a restart would not cure."""


def fit(job: PhaseJob, *, folder: str, observe: Observer) -> str:
    """Train a phase to its end, going on from its last checkpoint if any; returns where the last one then lies.

    Args:
        folder: the run's folder, a local path or a pyarrow.fs URI; the phase gets its own folder in it.
        observe: called once per finished epoch, in the controller; it must not raise.

    Raises:
        PhaseFailedError: a user's error, a non-finite loss, or more worker failures than `scaling.max_failures`.
    """
    if job.config.scaling.num_workers == 0:
        return _fit_in_process(job, Path(folder) / job.phase, observe)
    result = _run_workers(
        _train_worker, {"job": job}, job.config, folder=folder, name=job.phase, callbacks=[_EpochObserver(observe)]
    )
    return _location(result.checkpoint)


def evaluate(config: RunConfig, *, checkpoint: str, store: str, folder: str) -> Evaluation:
    """Score a checkpoint on query and gallery, sharded over the workers; see `reid.training.scoring.score`.

    Raises:
        PhaseFailedError: the checkpoint does not fit `config.model`, or a worker failed.
    """
    if config.scaling.num_workers == 0:
        device = torch.device("cuda" if torch.cuda.is_available() and config.scaling.accelerator != "cpu" else "cpu")
        return score_checkpoint(config, checkpoint=checkpoint, store=store, device=device)
    job = {"config": config, "checkpoint": checkpoint, "store": store}
    evaluation: Evaluation = _run_workers(_score_worker, job, config, folder=folder, name="score").return_value
    return evaluation


def _run_workers(
    function: Callable[[dict[str, Any]], Any],
    argument: dict[str, Any],
    config: RunConfig,
    *,
    folder: str,
    name: str,
    callbacks: Sequence[ray.train.UserCallback] = (),
) -> ray.train.Result:
    """Run a function on every worker of a Ray Train run that goes on from its last checkpoint.

    Raises:
        PhaseFailedError: the function returned `Stopped`, or the run failed for good.
    """
    scaling = config.scaling
    gpu = uses_gpu(scaling)
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(scaling.start_timeout)
    os.environ["RAY_TRAIN_COLLECTIVE_TIMEOUT_S"] = str(COLLECTIVE_TIMEOUT_S)
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(POLL_INTERVAL_S))
    trainer = TorchTrainer(
        function,
        train_loop_config=argument,
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo", timeout_s=COLLECTIVE_TIMEOUT_S),
        scaling_config=ray.train.ScalingConfig(
            num_workers=scaling.num_workers, use_gpu=gpu, resources_per_worker=worker_resources(scaling)
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=folder,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            failure_config=ray.train.FailureConfig(max_failures=scaling.max_failures, controller_failure_limit=1),
            callbacks=list(callbacks),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
            worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": str(max(1, int(scaling.cpus_per_worker)))}},
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise PhaseFailedError(f"{name} failed: {error}") from error
    if isinstance(result.return_value, Stopped):
        raise PhaseFailedError(f"{name} stopped: {result.return_value.reason}")
    return result


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Returned by a worker in place of raising, since Ray Train would restart a worker that raises."""

    reason: str


def _train_worker(config: dict[str, Any]) -> Stopped | None:
    # prints every report in full, under a name that Ray Train's own log level does not cover
    logging.getLogger(ray.train.v2._internal.execution.context.__file__).setLevel(logging.WARNING)
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
                checkpoint_dir_name=f"epoch_{state.epoch:04d}",
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    try:
        run_phase(config["job"], device=get_device(), report=report, resume_from=_location(latest) if latest else None)
    except USER_ERRORS as error:
        return Stopped(reason=str(error))
    return None


def _score_worker(config: dict[str, Any]) -> Evaluation | Stopped:
    try:
        return score_checkpoint(**config, device=get_device())
    except USER_ERRORS as error:
        return Stopped(reason=str(error))


class _EpochObserver(ray.train.UserCallback):  # type: ignore[misc]  # Ray is untyped
    """Hands every finished epoch to an observer, in Ray Train's controller."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: ray.train.Checkpoint | None
    ) -> None:
        if checkpoint is not None:
            self._observe(load_state(_location(checkpoint)))


def _location(checkpoint: ray.train.Checkpoint) -> str:
    """A checkpoint's place as a local path or a URI."""
    if isinstance(checkpoint.filesystem, pyarrow.fs.LocalFileSystem):
        return str(checkpoint.path)
    return f"{checkpoint.filesystem.type_name}://{checkpoint.path}"


def _fit_in_process(job: PhaseJob, folder: Path, observe: Observer) -> str:
    """The same phase in this process, for a debugger: no Ray, one rank, checkpoints in the same form."""
    folder.mkdir(parents=True, exist_ok=True)

    def report(state: PhaseState, save: Save) -> None:
        written = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=folder))
        save(written)
        written.rename(folder / f"epoch_{state.epoch:04d}")
        for old in _checkpoints(folder)[:-1]:
            shutil.rmtree(old)
        observe(state)

    finished = _checkpoints(folder)
    device = torch.device("cuda" if torch.cuda.is_available() and job.config.scaling.accelerator != "cpu" else "cpu")
    try:
        run_phase(job, device=device, report=report, resume_from=str(finished[-1]) if finished else None)
    except USER_ERRORS as error:
        raise PhaseFailedError(f"phase {job.phase} stopped: {error}") from error
    return str(_checkpoints(folder)[-1])


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch_*"))
