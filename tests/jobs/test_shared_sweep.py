"""One command given twice at once: the two jobs share one sweep.

What becomes of it where one is killed or stands still is tested in `tests/experiments/test_sweep_drivers.py`.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from mlflow import MlflowClient

EPOCHS, TRIALS = 4, 8
STUB = Path(__file__).with_name("stub.py")
LEDS = re.compile(r"run (\S+): \d+ trials of")
HELPS = re.compile(r"run \S+ is led by sweep on \S+, process (\d+): this process helps with its trials")

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
Start = Callable[..., Any]


def command(folder: Path, study: str, **more: object) -> list[str]:
    settings = {
        "extensions": f"[{STUB}]",
        "storage": folder,
        "models.stub.folder": folder,
        "models.stub.seconds": 0.4,
        "search.study": study,
        "search.trials": TRIALS,
        "search.concurrency": 1,
        **more,
    }
    overrides = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [sys.executable, "jobs/sweep.py", "--preset", "stub", *overrides]


def epochs(folder: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in folder.glob("0.*"))


def require_one_sweep(folder: Path, study: str) -> list[optuna.trial.FrozenTrial]:
    """Every trial once in the study and in MLflow, under one parent; the study's trials."""
    (key,) = [path.name for path in folder.glob("runs/stub-sweep-*") if path.is_dir()]
    trials = optuna.load_study(study_name=key, storage=study.replace("postgresql:", "postgresql+psycopg:")).trials
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name == "reid"]
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`reid.kind` = 'sweep'")
    assert parent.info.status == "FINISHED"
    children = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' AND tags.`reid.trial` LIKE '%'"
    )
    assert sorted(int(run.data.tags["reid.trial"]) for run in children) == list(range(TRIALS))
    for run in children:
        assert run.info.status == "FINISHED"
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/total")]
        assert steps == list(range(1, EPOCHS + 1)), run.info.run_name
    return trials


def drivers_of(trials: list[optuna.trial.FrozenTrial]) -> dict[int, int]:
    """How many trials each driver had last."""
    pids = [trial.user_attrs["driver"]["pid"] for trial in trials]
    return {pid: pids.count(pid) for pid in pids}


def test_two_drivers_train_trials_at_the_same_time_and_one_leads(
    start: Start, tmp_path: Path, postgres: sqlalchemy.URL
) -> None:
    study = postgres.render_as_string(hide_password=False)
    jobs = [start(*command(tmp_path, study, name="stub")) for _ in range(2)]
    outputs = [job.finish() for job in jobs]
    trials = require_one_sweep(tmp_path, study)
    assert epochs(tmp_path) == TRIALS * EPOCHS, "a trial was trained twice"
    shares = drivers_of(trials)
    assert shares.keys() == {job.process.pid for job in jobs}
    assert min(shares.values()) >= TRIALS // 4
    overlapping = [
        (one.number, two.number)
        for one in trials
        for two in trials
        if one.user_attrs["driver"]["pid"] != two.user_attrs["driver"]["pid"]
        and one.datetime_start < two.datetime_start < one.datetime_complete  # type: ignore[operator]
    ]
    assert len(overlapping) >= 2, "the two did not train at the same time"
    led = [output for output in outputs if LEDS.search(output)]
    assert len(led) == 1
    (helped,) = [match for output in outputs if (match := HELPS.search(output))]
    assert int(helped[1]) in shares
    assert all(f"MLflow: sqlite:///{tmp_path}/mlflow.db" in output for output in outputs)
