"""Two people, each with a storage of their own, give the same commands to one MLflow server at the same second."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bed.cluster import free_port
from bed.machine import Loopback
from bed.services import start_mlflow
from mlflow import MlflowClient

from reid.config import RunConfig, load_config
from reid.experiments import run_evaluation
from reid.experiments.experiment import Experiment, Workspace
from reid.experiments.training import Training
from reid.search import LiveView, Trial, TrialReports
from reid.storage import Place
from reid.training import EpochRecord

KINDS = ("pipeline", "sweep", "ablation", "evaluation")
EPOCHS = 2
SETTINGS = ("data.height=32", "data.width=16", "scaling.num_workers=0", "precision=fp32", "phases.baseline.epochs=2")
BASELINE_ALONE = tuple(f"phases.{phase}=null" for phase in ("pose", "intermediate", "final"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, machine = tmp_path_factory.mktemp("server"), Loopback("server", "127.0.0.1")
    where = {"database": f"sqlite:///{folder}/server.db", "artifacts": f"{folder}/artifacts"}
    try:
        yield start_mlflow(machine, free_port(), folder, dict(os.environ), **where).address
    finally:
        machine.switch_off()


def report_a_trial(experiment: Experiment) -> None:
    history = tuple(EpochRecord(epoch=e, time=float(e), metrics={"train/total": 0.5}) for e in range(1, EPOCHS + 1))
    trial = Trial(
        number=0,
        state="finished",
        params={},
        settings={},
        epochs=EPOCHS,
        history=history,
        values={"mAP": 0.5},
        ended=9.0,
    )
    view = LiveView(name="x", metric_names=("mAP",), total=1)
    with TrialReports(experiment.record, experiment.workspace.recorder.put, view, epochs=EPOCHS) as reports:
        reports(trial)


def do_all(config: RunConfig) -> None:
    workspace = Workspace.open(config, [config.scaling])
    for kind in KINDS[:-1]:
        with workspace.claim(kind, without={"ablation": True, "search": True}, digests=()) as experiment:
            experiment.train([Training(name="baseline", config=config, phase="baseline", scoring="plain")])
            if kind == "sweep":
                report_a_trial(experiment)
            experiment.finish([], {}, table="")
    run_evaluation(config, checkpoint=Place(experiment.finished["baseline"]))


def test_they_have_two_runs_of_every_kind(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "20261128-120000")
    monkeypatch.setattr("os.getpid", lambda: 1)  # as in a container
    for name in ("one", "other"):
        if name == "other":
            for part in ("sources", "stores"):
                shutil.copytree(tmp_path / "one" / part, tmp_path / "other" / part)
        settings = [f"storage={tmp_path / name}", f"tracking.uri={server}", *SETTINGS, *BASELINE_ALONE]
        do_all(load_config(preset="smoke", overrides=settings))
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name("reid")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = {run.info.run_id: run for run in runs if "reid.kind" in run.data.tags}
    kinds = sorted(run.data.tags["reid.kind"] for run in parents.values())
    assert kinds == sorted([*KINDS, *KINDS])
    assert {run.info.status for run in runs} == {"FINISHED"}
    owners = {run_id: run.data.params["storage"] for run_id, run in parents.items()}
    for kind in KINDS:
        places = {owners[run_id] for run_id, run in parents.items() if run.data.tags["reid.kind"] == kind}
        assert places == {str(tmp_path / "one"), str(tmp_path / "other")}
    children = [run for run in runs if run.info.run_id not in parents]
    found = sorted((run.data.tags["mlflow.parentRunId"], run.info.run_name) for run in children)
    assert len(set(found)) == len(found) == 2 * (3 + 1)
    for run in children:
        assert [m.step for m in client.get_metric_history(run.info.run_id, "train/total")] == [1, 2]
