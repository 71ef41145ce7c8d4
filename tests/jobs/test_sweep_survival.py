"""Sweeps of stub trials on a cluster, with parts of them killed: every trial counts once, and none is in the way."""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

EPOCHS = 4
STUB = Path(__file__).with_name("stub_sweep.py")

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
Start = Callable[..., Any]


def command(folder: Path, **options: Any) -> list[str]:
    return [sys.executable, str(STUB), str(folder), json.dumps(options)]


def study_of(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="stub", storage=f"sqlite:///{folder}/study.db")


def children_of(folder: Path) -> dict[int, Run]:
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name == "reid"]
    found = client.search_runs([experiment.experiment_id], "tags.`reid.trial` LIKE '%'")
    numbers = [int(run.data.tags["reid.trial"]) for run in found]
    assert len(set(numbers)) == len(numbers), "a trial has two runs"
    return dict(zip(numbers, found, strict=True))


def require_each_once(folder: Path, trials: int) -> None:
    """Study and MLflow hold every trial once, with every epoch once."""
    stored = study_of(folder).trials
    assert [trial.number for trial in stored] == list(range(trials))
    assert all(trial.state.is_finished() for trial in stored)
    children = children_of(folder)
    assert sorted(children) == list(range(trials))
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    for number, run in children.items():
        assert run.data.params == {"loss.alpha": str(stored[number].params["loss.alpha"])}
        assert run.info.status == ("FAILED" if stored[number].state.name == "FAIL" else "FINISHED")
        if stored[number].state.name == "COMPLETE":
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/total")]
            assert steps == list(range(1, EPOCHS + 1)), number


def lines(folder: Path, number: int) -> list[int]:
    file = folder / f"trial-{number}"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_killed_driver_and_a_killed_trial_cost_no_trial_and_no_epoch(
    start: Start, tmp_path: Path, wait_until: Any
) -> None:
    options = {"seconds": 0.4, "search": {"trials": 6}}
    job = start(*command(tmp_path, **options))
    wait_until(lambda: len(lines(tmp_path, 1)) >= 2, 200, "the second epoch of trial 1", job)
    os.kill(lines(tmp_path, 1)[-1], signal.SIGKILL)
    wait_until(lambda: lines(tmp_path, 3), 200, "the first epoch of trial 3", job)
    job.process.kill()
    job.process.wait()
    before = {trial.number: trial.params for trial in study_of(tmp_path).trials}
    assert 0 < sum(trial.state.is_finished() for trial in study_of(tmp_path).trials) < 6, "killed too late, or too soon"
    start(*command(tmp_path, **options)).finish()
    require_each_once(tmp_path, 6)
    after = {trial.number: trial.params for trial in study_of(tmp_path).trials}
    assert {number: after[number] for number in before} == before
    assert Counter(len(lines(tmp_path, number)) for number in range(6)) == {EPOCHS: 6}, "an epoch was trained twice"
    assert len(set(lines(tmp_path, 1))) >= 2, "another process went on with the killed one's trial"
    output = start(*command(tmp_path, **options)).finish()
    assert "trial 0" not in output
    require_each_once(tmp_path, 6)


def test_a_trial_that_fails_or_crashes_is_recorded_and_ends_nothing(start: Start, tmp_path: Path) -> None:
    start(*command(tmp_path, failing=1, crashing=2)).finish()
    require_each_once(tmp_path, 4)
    failed = {
        trial.number: trial.user_attrs["failure"] for trial in study_of(tmp_path).trials if trial.state.name == "FAIL"
    }
    assert failed.keys() == {1, 2}
    assert failed[1] == "the loss is not finite"
    assert "not of this world" in failed[2]
    assert children_of(tmp_path)[1].data.tags["reid.failure"] == "the loss is not finite"


def test_trials_of_two_workers_wait_for_each_other_and_leave_nothing_behind(start: Start, tmp_path: Path) -> None:
    """More trials than fit, any concurrency asked for, and trials that are stopped while their workers run."""
    search = {"trials": 3, "workers": 2, "concurrency": 8, "early_stopping": True}
    output = start(*command(tmp_path, search=search)).finish(400)
    assert "at most 1 at a time; in the end 2 CPU" in output
    states = [trial.state.name for trial in study_of(tmp_path).trials]
    assert states == ["COMPLETE", "PRUNED", "PRUNED"]
