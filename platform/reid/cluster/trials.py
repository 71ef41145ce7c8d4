"""What Ray Tune runs for one trial: the searched phase, from the checkpoints that all trials share."""

import dataclasses
import json
from collections.abc import Collection
from typing import Any

import torch
from ray import tune

from reid.cluster.runner import fit
from reid.cluster.workers import NoRoomError, PhaseFailedError
from reid.config import RunConfig, with_settings
from reid.data import HoldOut
from reid.stages import stage_of
from reid.storage import Place
from reid.training import EpochRecord, PhaseJob, PhaseState, load_state

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
    folder: Place
    """Where trials keep their own checkpoints, each in a folder of its own."""

    def folder_of(self, number: int) -> Place:
        return self.folder / f"{number:05d}"

    def discard(self, over: Collection[int]) -> None:
        """Delete the checkpoints of trials that are over, also those that one was still writing as it was stopped."""
        for name in self.folder.names():
            if int(name) in over:
                self.folder_of(int(name)).delete()


def train_trial(config: dict[str, Any], job: TrialJob) -> None:
    """Train a trial to its end, going on from its own last checkpoint if any, and report every epoch."""
    settings = with_settings(job.config, json.loads(config["settings"]))
    phase_job = PhaseJob(
        config=settings,
        phase=job.phase,
        stage=stage_of(settings, job.phase),
        store=job.store,
        start_from=job.start_from,
        hold_out=job.hold_out,
        scoring="plain",
    )
    place = job.folder_of(config["number"]) / job.phase
    try:
        checkpoint = fit(phase_job, place=place, observe=Report())
    except NoRoomError as error:  # the trial is not to blame
        tune.report({"no_room": str(getattr(error, "cause", error))})
        return
    except FAILURES as error:
        tune.report({"failure": str(error) or repr(error)})
        return
    except Exception as error:  # Tune does not say of what a trial died that may not be started anew
        lines = str(error).strip().splitlines() or [""]  # of an error in another process, all of its traceback
        tune.report({"error": f"{type(error).__name__}: {lines[-1]}"})
        raise
    tune.report(as_result(load_state(checkpoint).history))  # also for a trial that had finished before


class Report:
    """Observer in the trial's own process; raises SystemExit where Tune has stopped the trial."""

    def __init__(self) -> None:
        self._reported = 0

    def __call__(self, state: PhaseState) -> None:
        tune.report(as_result(state.history[self._reported :]))
        self._reported = state.epoch


def as_result(records: tuple[EpochRecord, ...]) -> dict[str, Any]:
    """Epochs in the form in which they are reported to Tune."""
    return {"records": json.dumps([dataclasses.asdict(record) for record in records])}


def records_of(result: dict[str, Any]) -> list[EpochRecord]:
    return [EpochRecord(**record) for record in json.loads(result.get("records", "[]"))]
