"""Several drivers of one sweep, each a process: who leads, who helps, and what becomes of it when one is gone.

Runs, leases, study and records are real; trials are trained by no cluster, in no time.
"""

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import psutil
import pytest
from mlflow import MlflowClient

from reid.config import RunConfig, load_config
from reid.data import REID, HoldOut
from reid.experiments import results, sweep, sweep_trials
from reid.experiments.experiment import Experiment, Workspace
from reid.experiments.records import open_recorder
from reid.experiments.runs import find_run
from reid.experiments.sweep import Sweep
from reid.experiments.sweep_trials import Search
from reid.search import Trials, database, holding, open_study, optuna_internals
from reid.search.chosen import ChosenSpace
from reid.storage import LeaseLostError, Storage, lease
from reid.training import EpochRecord

TRIALS, EPOCHS = 12, 2
SECONDS_TO_TRAIN = 2.0
"""The winner."""
DATASET = SimpleNamespace(name="none", digest="none", splits={})


def space(trial: optuna.Trial, config: RunConfig) -> dict[str, Any]:
    return {"loss.alpha": trial.suggest_float("loss.alpha", 0.0, 1.0)}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """Of a sweep that has no shared phase, with leases of a second."""
    monkeypatch.setenv("REID_STORAGE", str(tmp_path))
    for module in (lease, holding, database, optuna_internals):
        quick = {"LEASE_S": 1.5, "RENEWAL_S": 0.3, "SLACK_S": 0.5, "HEARTBEAT_S": 1, "STALE_S": 2}
        for name, value in quick.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    for module in (sweep, sweep_trials):
        monkeypatch.setattr(module, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(sweep_trials, "run_trials", run_trials)
    monkeypatch.setattr(sweep_trials.tune, "with_parameters", lambda function, **_: function)
    alone = [f"phases.{phase}=null" for phase in ("pose", "baseline", "intermediate")]
    overrides = [f"search.trials={TRIALS}", f"phases.final.epochs={EPOCHS}", "search.early_stopping=false"]
    overrides += [*alone, "scaling.accelerator=cpu"]
    return load_config(preset="smoke", overrides=overrides)


def over(number: int) -> None:
    (Path(os.environ["REID_STORAGE"]) / f"over-{number}").touch()


def stand_still_if_told() -> None:
    """Where it holds no lock of a file, which others would wait for as long as it stands still."""
    told = Path(os.environ["REID_STORAGE"]) / f"stand-still-{os.getpid()}"
    if told.exists():
        told.unlink()
        time.sleep(0.5)  # what threads were about is over
        os.kill(os.getpid(), signal.SIGSTOP)


def run_trials(trials: Trials, *_: object, discard: Callable[[], None], **__: object) -> None:
    while (trial := trials.next()) is not None:
        for epoch in range(1, EPOCHS + 1):
            time.sleep(0.1)
            stand_still_if_told()
            metrics = {"eval/mAP": trial.params["loss.alpha"], "train/total": 1 / epoch}
            trials.report(trial.number, [EpochRecord(epoch=epoch, time=float(epoch), metrics=metrics)])
        trials.finish(trial.number)
        discard()
        over(trial.number)


class Simple(Sweep):
    """Its winner is trained by noting who trains it."""

    def finish(self) -> results.Scores:
        trials = sweep_trials.take_trials(self.experiment, self.search, after=())
        time.sleep(SECONDS_TO_TRAIN)
        scores = {"champion": {"mAP": trials.winner().values["mAP"]}}  # type: ignore[union-attr]
        with (Path(self.experiment.run.folder) / "trained").open("a") as sink:
            sink.write(f"{os.getpid()}\n")
        self.experiment.finish([], {}, table="")
        self.experiment.run.finish(scores)
        return scores


def drive(config: RunConfig, told: Path) -> None:
    """What `run_sweep` does once the data are there; notes the scores, or the error."""
    storage = Storage(config.storage)
    kinds: dict[str, Any] = {REID.name: DATASET}
    recorder = open_recorder(config, storage)
    stores: Any = {REID.name: "/store"}
    workspace = Workspace(config=config, storage=storage, recorder=recorder, stores=stores, datasets=kinds, closed=True)
    run = find_run(storage, config, [], kind="sweep", without={"search": True})

    def sweep_of(experiment: Experiment) -> Sweep:
        study = open_study(f"sqlite:///{config.storage}/study.db", "x", ("mAP",))
        first = {"loss.alpha": 0.5}
        rule = HoldOut(fraction=0.2, seed=0)
        search = Search(hold_out=rule, space=ChosenSpace(name="x", draw=space), first=first, study=study)
        return Simple(experiment=experiment, search=search)

    try:
        told.write_text(json.dumps(sweep._lead_or_help(workspace, run, sweep_of)))
    except LeaseLostError as error:
        told.write_text(json.dumps(str(error)))


@dataclass
class Driver:
    process: ForkProcess
    told: Path

    def end(self) -> Any:
        self.process.join(60)
        assert self.process.exitcode == 0
        return json.loads(self.told.read_text())


@pytest.fixture
def start(settings: RunConfig, tmp_path: Path) -> Iterator[Callable[[], Driver]]:
    drivers: list[Driver] = []

    def start() -> Driver:
        told = tmp_path / f"{len(drivers)}.json"
        process = multiprocessing.get_context("fork").Process(target=drive, args=(settings, told))
        process.start()
        drivers.append(Driver(process, told))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.process.kill()
        driver.process.join()


def stored(settings: RunConfig) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="x", storage=f"sqlite:///{settings.storage}/study.db").trials


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def finished(settings: RunConfig) -> int:
    """Trials that are over; tells nothing before the first has ended."""
    return len(list(Path(settings.storage).glob("over-*")))


def require_one_sweep(settings: RunConfig) -> Counter[int]:
    """Every trial and the winner once; how many trials each process had."""
    trials = stored(settings)
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    (folder,) = Path(settings.storage, "runs").glob("*-sweep-*")
    assert len((folder / "trained").read_text().splitlines()) == 1
    client = MlflowClient(tracking_uri=f"sqlite:///{settings.storage}/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name == "reid"]
    runs = client.search_runs([experiment.experiment_id])
    assert Counter(run.info.run_name for run in runs) == Counter([folder.name, *(f"trial {n}" for n in range(TRIALS))])
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run.info.run_name != folder.name:
            assert [m.step for m in client.get_metric_history(run.info.run_id, "train/total")] == [1, 2]
    return Counter(trial.user_attrs["driver"]["pid"] for trial in trials)


def test_two_share_the_trials_and_one_trains_the_winner(start: Callable[[], Driver], settings: RunConfig) -> None:
    drivers = [start(), start()]
    ended = [driver.end() for driver in drivers]
    assert ended[0] == ended[1] == {"champion": {"mAP": max(trial.value or 0 for trial in stored(settings))}}
    shares = require_one_sweep(settings)
    assert shares.keys() == {driver.process.pid for driver in drivers}
    assert min(shares.values()) >= TRIALS // 4


def test_whoever_outlives_a_killed_leader_leads(start: Callable[[], Driver], settings: RunConfig) -> None:
    leader = start()
    wait_for(lambda: finished(settings) >= 2)
    helper = start()
    wait_for(lambda: any(t.user_attrs["driver"]["pid"] == helper.process.pid for t in stored(settings) if t.user_attrs))
    leader.process.kill()
    leader.process.join()
    assert "champion" in helper.end()
    require_one_sweep(settings)


def test_a_leader_that_stood_still_stops_and_leaves_the_rest(start: Callable[[], Driver], settings: RunConfig) -> None:
    leader = start()
    wait_for(lambda: finished(settings) >= 2)
    assert leader.process.pid is not None
    (Path(settings.storage) / f"stand-still-{leader.process.pid}").touch()
    wait_for(lambda: psutil.Process(leader.process.pid).status() == psutil.STATUS_STOPPED)
    helper = start()
    assert "champion" in helper.end()
    before = stored(settings)
    os.kill(leader.process.pid, signal.SIGCONT)
    assert "is no longer this process's" in leader.end()
    assert [trial.user_attrs for trial in stored(settings)] == [trial.user_attrs for trial in before]
    shares = require_one_sweep(settings)
    assert shares.keys() == {leader.process.pid, helper.process.pid}


def test_one_that_comes_when_all_trials_are_over_ends_with_the_others_scores(
    start: Callable[[], Driver], settings: RunConfig
) -> None:
    leader = start()
    wait_for(lambda: finished(settings) >= TRIALS)
    late = start()
    assert late.end() == leader.end()
    require_one_sweep(settings)
