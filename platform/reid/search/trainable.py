"""What Ray Tune runs for one trial: the searched phase, from the checkpoints that all trials share."""

import dataclasses
import json
from typing import Any

import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from reid.config import RunConfig, with_settings
from reid.data.held_out import HoldOut
from reid.training.checkpoint import EpochRecord, PhaseState, load_state
from reid.training.loop import PhaseJob
from reid.training.runner import PhaseFailedError, fit

FAILURES = (PhaseFailedError, MemoryError, torch.OutOfMemoryError)
"""What another attempt would only meet again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialJob:
    """All that trials have in common."""

    config: RunConfig
    """Around which is searched; its `scaling.num_workers` is 0 for trials that train in Tune's own process."""
    phase: str
    store: str
    start_from: tuple[str, ...]
    """Last checkpoints of the phases before, read by every trial and never copied."""
    hold_out: HoldOut
    folder: str
    """Where trials keep their own checkpoints, each in a folder of its own."""

    def folder_of(self, number: int) -> str:
        return f"{self.folder}/{number:05d}"


def train_trial(config: dict[str, Any], job: TrialJob) -> None:
    """Train a trial to its end, going on from its own last checkpoint if any, and report every epoch."""
    phase_job = PhaseJob(
        config=with_settings(job.config, json.loads(config["settings"])),
        phase=job.phase,
        store=job.store,
        start_from=job.start_from,
        hold_out=job.hold_out,
    )
    in_process = job.config.scaling.num_workers == 0
    observe = ReportHere() if in_process else ReportFromController()
    try:
        checkpoint = fit(phase_job, folder=job.folder_of(config["number"]), observe=observe)
    except FAILURES as error:
        tune.report({"failure": str(error) or repr(error)})
        return
    tune.report(as_result(load_state(checkpoint).history))  # also for a trial that had finished before


class ReportHere:
    """Observer in the trial's own process; raises SystemExit where Tune has stopped the trial."""

    def __init__(self) -> None:
        self._reported = 0

    def __call__(self, state: PhaseState) -> None:
        tune.report(as_result(state.history[self._reported :]))
        self._reported = state.epoch


class ReportFromController:
    """Observer in the controller of the trial's own Ray Train run."""

    def __init__(self) -> None:
        self._forward = TuneReportCallback()
        self._reported = 0

    def __call__(self, state: PhaseState) -> None:
        self._forward.after_report(None, [as_result(state.history[self._reported :])], None)
        self._reported = state.epoch


def as_result(records: tuple[EpochRecord, ...]) -> dict[str, Any]:
    """Epochs in the form in which they are reported to Tune."""
    return {"records": json.dumps([dataclasses.asdict(record) for record in records])}


def records_of(result: dict[str, Any]) -> list[EpochRecord]:
    return [EpochRecord(**record) for record in json.loads(result.get("records", "[]"))]
