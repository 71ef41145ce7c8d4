"""Sweeps of stub trials on a cluster, with parts of them killed: every trial counts once, and none is in the way."""

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
STUB = Path(__file__).with_name("stub.py")

FREE_CPUS = """
import time, ray
ray.init(logging_level="ERROR")
deadline = time.monotonic() + 60
while (free := ray.available_resources().get("CPU", 0)) < 2 and time.monotonic() < deadline:
    time.sleep(0.2)
print(free)
"""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
Start = Callable[..., Any]


def command(folder: Path, **more: object) -> list[str]:
    settings = {"extensions": f"[{STUB}]", "storage": folder, "models.stub.folder": folder, **more}
    overrides = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [sys.executable, "jobs/sweep.py", "--preset", "stub", *overrides]


def study_of(folder: Path) -> optuna.Study:
    (file,) = folder.glob("runs/stub-sweep-*/study.db")
    return optuna.load_study(study_name=file.parent.name, storage=f"sqlite:///{file}")


def runs_of(folder: Path) -> tuple[Run, dict[int, Run]]:
    """The sweep's own and its trials'."""
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name == "reid"]
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`reid.kind` = 'sweep'")
    found = client.search_runs([experiment.experiment_id], "tags.`reid.trial` LIKE '%'")
    numbers = [int(run.data.tags["reid.trial"]) for run in found]
    assert len(set(numbers)) == len(numbers), "a trial has two runs"
    return parent, dict(zip(numbers, found, strict=True))


def require_each_once(folder: Path, trials: int) -> None:
    """Study and MLflow hold every trial once, with every epoch once."""
    stored = study_of(folder).trials
    assert [trial.number for trial in stored] == list(range(trials))
    assert all(trial.state.is_finished() for trial in stored)
    parent, children = runs_of(folder)
    assert parent.info.status == "FINISHED"
    assert sorted(children) == list(range(trials))
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    for number, run in children.items():
        assert run.data.params == {"models.stub.quality": str(stored[number].params["models.stub.quality"])}
        assert run.info.status == ("FAILED" if stored[number].state.name == "FAIL" else "FINISHED")
        if stored[number].state.name == "COMPLETE":
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/total")]
            assert steps == list(range(1, EPOCHS + 1)), number


def trained(folder: Path) -> list[tuple[float, list[int]]]:
    """The qualities that were trained, in the order of their first epoch, each with the processes of its epochs."""
    files = sorted(folder.glob("0.*"), key=lambda file: os.stat(file).st_ino)
    return [(float(file.name), [int(line) for line in file.read_text().splitlines()]) for file in files]


def epochs(folder: Path) -> int:
    return sum(len(processes) for _, processes in trained(folder))


def test_a_killed_driver_and_a_killed_trial_cost_no_trial_and_no_epoch(
    start: Start, tmp_path: Path, wait_until: Any
) -> None:
    settings = {"models.stub.seconds": 0.4, "search.trials": 6}
    job = start(*command(tmp_path, **settings))
    wait_until(lambda: epochs(tmp_path) >= 3, 300, "three epochs", job)
    killed = next(processes[-1] for _, processes in trained(tmp_path) if len(processes) < EPOCHS)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: epochs(tmp_path) >= 12, 300, "twelve epochs", job)
    job.process.kill()
    job.process.wait()
    before = {trial.number: trial.params for trial in study_of(tmp_path).trials}
    assert 0 < sum(trial.state.is_finished() for trial in study_of(tmp_path).trials) < 6, "killed too late, or too soon"
    start(*command(tmp_path, **settings)).finish()
    require_each_once(tmp_path, 6)
    after = {trial.number: trial.params for trial in study_of(tmp_path).trials}
    drawn = {number: params for number, params in before.items() if params}
    assert {number: after[number] for number in drawn} == drawn
    lines = Counter(len(processes) for _, processes in trained(tmp_path))
    # an epoch whose process died between scoring and its checkpoint is trained again
    assert sum(lines.values()) == 6
    assert epochs(tmp_path) <= 6 * EPOCHS + 1 + 2
    assert any(killed in processes and len(set(processes)) >= 2 for _, processes in trained(tmp_path)), (
        "another process went on with the killed one's trial"
    )


def test_a_full_disk_ends_the_sweep_and_no_trial(start: Start, tmp_path: Path) -> None:
    settings = {"models.stub.full": tmp_path / "full", "search.trials": 3}
    (tmp_path / "full").touch()
    job = start(*command(tmp_path, **settings))
    assert job.process.wait(300) == 1
    assert job.output().splitlines()[-1] == "error: phase only stopped: the disk of /data is full", job.output()
    assert "FAIL" not in {trial.state.name for trial in study_of(tmp_path).trials}
    (tmp_path / "full").unlink()
    start(*command(tmp_path, **settings)).finish()
    require_each_once(tmp_path, 3)
    assert {trial.state.name for trial in study_of(tmp_path).trials} == {"COMPLETE"}


def test_a_trial_that_fails_or_crashes_is_recorded_and_ends_nothing(start: Start, tmp_path: Path) -> None:
    settings: dict[str, object] = {
        "search.trials": 7,
        "models.stub.failing": "[0.0, 0.2]",
        "models.stub.crashing": "[0.2, 0.35]",
    }
    settings["scaling.max_failures"] = 0
    start(*command(tmp_path, **settings)).finish()
    require_each_once(tmp_path, 7)
    _, children = runs_of(tmp_path)
    states = set()
    for trial in study_of(tmp_path).trials:
        quality = trial.params["models.stub.quality"]
        expected = "this quality is refused" if quality <= 0.2 else "not of this world" if quality <= 0.35 else None
        states.add(expected)
        assert trial.state.name == ("COMPLETE" if expected is None else "FAIL")
        if expected is not None:
            assert expected in trial.user_attrs["failure"]
            assert expected in children[trial.number].data.tags["reid.failure"]
    assert len(states) == 3, "the seed draws no trial of each kind"


def test_trials_of_two_workers_wait_for_each_other_and_leave_nothing_behind(start: Start, tmp_path: Path) -> None:
    """More trials than fit, any concurrency asked for, and trials that are stopped while their workers run."""
    settings = {
        "search.trials": 2,
        "search.workers": 2,
        "search.concurrency": 8,
        "search.early_stopping": True,
        "models.stub.seconds": 0.3,
        "scaling.start_timeout": 60,
    }
    start(*command(tmp_path, **settings)).finish(400)
    assert [trial.state.name for trial in study_of(tmp_path).trials] == ["COMPLETE", "PRUNED"]
    free = start(sys.executable, "-c", FREE_CPUS).finish()
    assert free.split()[-1] == "2.0"


def test_a_sweep_that_ends_in_an_error_leaves_nothing_running_in_the_browser(
    start: Start, tmp_path: Path, wait_until: Any
) -> None:
    job = start(*command(tmp_path, **{"models.stub.seconds": 0.5, "search.trials": 2}))
    wait_until(lambda: epochs(tmp_path) >= 2, 300, "two epochs", job)
    job.process.send_signal(signal.SIGINT)
    job.process.wait(120)
    assert job.process.returncode != 0
    parent, children = runs_of(tmp_path)
    assert parent.info.status == "FAILED"
    assert "trained to its end" not in job.output()
    assert {run.info.status for run in children.values()} <= {"FINISHED", "FAILED"}
    start(*command(tmp_path, **{"models.stub.seconds": 0.5, "search.trials": 2})).finish()
    require_each_once(tmp_path, 2)
