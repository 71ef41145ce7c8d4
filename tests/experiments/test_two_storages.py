"""Two people, each with a storage of their own, give the same commands to one MLflow server at the same second."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
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
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(Path(sys.executable).with_name("mlflow"), "server", "--workers=1"),
                *("--host=127.0.0.1", f"--port={port}", f"--backend-store-uri=sqlite:///{folder}/server.db"),
                *("--serve-artifacts", f"--artifacts-destination={folder}/artifacts"),
            ],
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    try:
        while not _answers(address):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            member.kill()
        process.wait()
        psutil.wait_procs(family, timeout=10)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=1) as answer:  # noqa: S310 - http
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


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
    for name in ("alice", "bob"):
        if name == "bob":
            for part in ("sources", "stores"):
                shutil.copytree(tmp_path / "alice" / part, tmp_path / "bob" / part)
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
        assert places == {str(tmp_path / "alice"), str(tmp_path / "bob")}
    children = [run for run in runs if run.info.run_id not in parents]
    found = sorted((run.data.tags["mlflow.parentRunId"], run.info.run_name) for run in children)
    assert len(set(found)) == len(found) == 2 * (3 + 1)
    for run in children:
        assert [m.step for m in client.get_metric_history(run.info.run_id, "train/total")] == [1, 2]
