"""A sweep of stub trials as a process of its own: `stub_sweep.py FOLDER '{"trials": 6, …}'`, run again to go on.

Every report is also written to a file of the trial, so that a test sees what was trained, by whom, and kills it.
"""

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import ray.train
from ray import tune
from ray.train.torch import TorchTrainer

from reid.config import load_config
from reid.search.chosen import ChosenSpace
from reid.search.reports import TrialReports
from reid.search.study import Trials, open_study
from reid.search.trainable import ReportFromController, as_result, drive
from reid.search.tuning import run_trials
from reid.search.view import LiveView
from reid.tracking import Recorder, RunRecord
from reid.tracking.background import BackgroundRecorder
from reid.training.checkpoint import EpochRecord
from reid.training.cluster import concurrent_runs, connect

EPOCHS = 4


@dataclasses.dataclass(frozen=True)
class Progress:
    """What `PhaseState` would say."""

    history: tuple[EpochRecord, ...]

    @property
    def epoch(self) -> int:
        return len(self.history)


def epoch_of(number: int, epoch: int) -> EpochRecord:
    return EpochRecord(epoch=epoch, time=time.time(), metrics={"eval/mAP": epoch / (10 + number), "train/total": 1.0})


def alone(config: dict[str, Any], folder: str, options: dict[str, Any]) -> None:
    """Trains in Tune's process, and goes on from what its file says."""
    number = config["number"]
    file = Path(folder) / f"trial-{number}"
    past = file.read_text().splitlines() if file.exists() else []
    history = tuple(epoch_of(number, epoch) for epoch in range(1, len(past) + 1))
    if history:
        tune.report(as_result(history))
    for epoch in range(len(history) + 1, EPOCHS + 1):
        time.sleep(options.get("seconds", 0.0))
        if options.get("failing") == number:
            tune.report({"failure": "the loss is not finite"})
            return
        if options.get("crashing") == number:
            raise RuntimeError("not of this world")
        with file.open("a") as sink:
            sink.write(f"{os.getpid()}\n")
        tune.report(as_result((epoch_of(number, epoch),)))


class Observer(ray.train.UserCallback):  # type: ignore[misc]  # Ray is untyped
    """In the controller of a trial of two workers."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._report = ReportFromController()
        self._history: tuple[EpochRecord, ...] = ()

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        self._history = (*self._history, epoch_of(self._number, metrics[0]["epoch"]))
        self._report(Progress(self._history))  # type: ignore[arg-type]


def spread(config: dict[str, Any], folder: str, options: dict[str, Any]) -> None:
    """Trains with two workers of its own."""
    drive(_train, config["number"], folder, Observer(config["number"]))


def _train(number: int, folder: str, observer: Observer) -> None:
    TorchTrainer(
        _worker,
        scaling_config=ray.train.ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(storage_path=f"{folder}/train", name=str(number), callbacks=[observer]),
    ).fit()


def _worker() -> None:
    for epoch in range(1, EPOCHS + 1):
        time.sleep(0.3)
        ray.train.report({"epoch": epoch})


def space(trial: Any, config: Any) -> dict[str, Any]:
    return {"loss.alpha": trial.suggest_float("loss.alpha", 0.1, 1.0)}


def main(folder: Path, options: dict[str, Any]) -> None:
    settings = {"trials": 4, "grace": 1, "reduction": 3, "early_stopping": False, **options.get("search", {})}
    overrides = [f"search.{name}={value}" for name, value in settings.items()]
    overrides += [f"phases.final.epochs={EPOCHS}", "scaling.start_timeout=60"]
    config = load_config(preset="smoke", overrides=overrides)
    connect()
    workers = config.search.workers
    scaling = config.scaling.model_copy(update={"num_workers": workers})
    at_once = min(concurrent_runs(scaling), config.search.concurrency or config.search.trials)
    uri = f"sqlite:///{folder}/mlflow.db"
    recorder = Recorder(uri=uri, experiment="reid", artifacts=f"{folder}/artifacts", outbox=folder / "outbox")
    parent = RunRecord(key="stub", name="stub", status="RUNNING", tags={"reid.kind": "sweep"})
    recorder.put(parent)
    with (
        BackgroundRecorder(recorder) as background,
        LiveView(name="stub", metric_names=config.search.objectives, total=config.search.trials) as view,
    ):
        reports = TrialReports(parent, background.put, view, epochs=EPOCHS)
        study = open_study(f"sqlite:///{folder}/study.db", "stub", config.search.objectives)
        trials = Trials(study, ChosenSpace(name="stub", draw=space), config, first={"loss.alpha": 0.5}, observe=reports)
        run_trials(
            trials,
            tune.with_parameters(alone if workers == 1 else spread, folder=str(folder), options=options),
            scaling=scaling.model_copy(update={"num_workers": 0}) if workers == 1 else scaling,
            at_once=at_once,
        )
    recorder.put(dataclasses.replace(parent, status="FINISHED"))
    deadline = time.monotonic() + 60
    while (free := ray.available_resources().get("CPU", 0)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    print(f"at most {at_once} at a time; in the end {free:g} CPU", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
