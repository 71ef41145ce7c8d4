"""What all experiments have in common: one claim, records that end with it, exports where the storage is."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from reid.cluster import PhaseFailedError
from reid.config import RunConfig, load_config
from reid.experiments import run_flush
from reid.experiments.experiment import Training, TrainingsStoppedError, Workspace
from reid.export import CARD, ONNX, PT2
from reid.stages import STAGES
from reid.storage import LeaseLostError, lease
from reid.tracking import Measurement
from reid.training import load_state

WITHOUT = {"ablation": True, "search": True}
SETTINGS = ("data.height=32", "data.width=16", "scaling.num_workers=0", "precision=fp32", "phases.baseline.epochs=1")
BASELINE_ALONE = tuple(f"phases.{phase}=null" for phase in ("pose", "intermediate", "final"))


def config(*overrides: str) -> RunConfig:
    return load_config(preset="smoke", overrides=[*SETTINGS, *BASELINE_ALONE, *overrides])


def training(settings: RunConfig, name: str, after: Sequence[str] = ()) -> Training:
    return Training(name=name, config=settings, phase="baseline", after=tuple(after), scoring="plain")


def opened(settings: RunConfig) -> Workspace:
    return Workspace.open(settings, [settings.scaling])


def runs_in(storage: Path) -> dict[str, Run]:
    browser = MlflowClient(tracking_uri=f"sqlite:///{storage}/mlflow.db")
    (experiment,) = [found for found in browser.search_experiments() if found.name == "reid"]
    return {run.info.run_name: run for run in browser.search_runs([experiment.experiment_id])}


def test_what_is_under_way_when_an_experiment_fails_is_recorded_as_failed(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config()

    def power_goes(*_: Any) -> Any:
        raise RuntimeError("the power went")

    with suppress(RuntimeError), opened(settings).claim("test", without=WITHOUT, digests=()) as experiment:
        experiment.train([training(settings, "first")])
        monkeypatch.setitem(STAGES, "baseline", replace(STAGES["baseline"], loss=power_goes))
        experiment.train([training(settings, "first"), training(settings, "second", ["first"])])
    runs = runs_in(storage)
    statuses = {name: run.info.status for name, run in runs.items()}
    assert statuses == {"first": "FINISHED", "second": "FAILED", experiment.run.key: "FAILED"}


def test_a_driver_that_stood_still_records_nothing_more(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config()

    def train_and_stand_still() -> None:
        with opened(settings).claim("test", without=WITHOUT, digests=()) as experiment:
            experiment.train([training(settings, "first")])
            start = experiment._start

            def start_and_stand_still(fit: Any, second: Training) -> Any:
                started = start(fit, second)
                assert experiment.run.lease is not None
                experiment.run.lease.claim.delete()  # another driver has taken the run, and let go of it again
                now = lease.clock() + 100
                monkeypatch.setattr(lease, "clock", lambda: now)
                return started

            monkeypatch.setattr(experiment, "_start", start_and_stand_still)
            experiment.train([training(settings, "second", ["first"])])

    with pytest.raises(LeaseLostError, match=r"is no longer this process's, .* not renewed for 1.. s: nobody has it"):
        train_and_stand_still()
    (folder,) = storage.glob("runs/*-test-*")
    assert list(json.loads((folder / "phases.json").read_text())) == ["first"]
    statuses = {name: run.info.status for name, run in runs_in(storage).items()}
    assert statuses == {"first": "FINISHED", "second": "RUNNING", folder.name: "RUNNING"}


def test_a_worker_writes_no_checkpoint_of_a_run_that_another_driver_has(storage: Path) -> None:
    settings = config()

    def train_what_is_anothers() -> None:
        with opened(settings).claim("test", without=WITHOUT, digests=()) as experiment:
            assert experiment.run.lease is not None
            experiment.run.lease.claim.delete()
            experiment.train([training(settings, "only")])

    with pytest.raises(PhaseFailedError, match="phase baseline stopped: phase only is no longer this process's"):
        train_what_is_anothers()
    assert not list(storage.glob("runs/*/only/baseline/epoch_*"))


def test_the_rest_is_trained_where_one_training_stops(storage: Path) -> None:
    settings = config()
    workspace = opened(settings)
    diverging = settings.model_copy(update={"loss": settings.loss.model_copy(update={"identity_weight": float("inf")})})
    trainings = [training(diverging, "bad"), training(settings, "after-bad", ["bad"]), training(settings, "good")]
    with suppress(TrainingsStoppedError), workspace.claim("test", without=WITHOUT, digests=()) as experiment:
        experiment.train(trainings, at_once=lambda: 1)
    assert list(experiment.finished) == ["good"]
    statuses = {name: run.info.status for name, run in runs_in(storage).items()}
    assert statuses == {"bad": "FAILED", "good": "FINISHED", experiment.run.key: "FAILED"}
    with workspace.claim("test", without=WITHOUT, digests=()) as again:
        assert again.run.key == experiment.run.key
        assert list(again.finished) == ["good"]


def test_one_after_another_ends_with_the_first_that_stops(storage: Path) -> None:
    settings = config()
    diverging = settings.model_copy(update={"loss": settings.loss.model_copy(update={"identity_weight": float("inf")})})
    workspace = opened(settings)
    trainings = [training(diverging, "bad"), training(settings, "good")]
    with (
        pytest.raises(PhaseFailedError, match=r"^phase baseline stopped: the loss is not finite"),
        workspace.claim("test", without=WITHOUT, digests=()) as experiment,
    ):
        experiment.train(trainings)
    assert experiment.finished == {}


def test_every_epoch_is_there_once_after_a_flush_where_mlflow_was_away_all_along(storage: Path) -> None:
    settings = config("phases.baseline.epochs=3")
    (storage / "mlflow.db").mkdir(parents=True)  # no file can be opened here
    with opened(settings).claim("test", without=WITHOUT, digests=()) as experiment:
        experiment.train([training(settings, "first")])
        experiment.finish([], {}, table="")
    (storage / "mlflow.db").rmdir()
    assert run_flush(settings) == 2
    run = runs_in(storage)["first"]
    browser = MlflowClient(tracking_uri=f"sqlite:///{storage}/mlflow.db")
    assert [metric.step for metric in browser.get_metric_history(run.info.run_id, "train/total")] == [1, 2, 3]
    assert {run.info.status for run in runs_in(storage).values()} == {"FINISHED"}


def test_the_same_settings_in_a_fresh_storage_are_another_run_of_the_same_server(tmp_path: Path) -> None:
    scores = {"first": 0.3, "second": 0.55}
    for folder, score in scores.items():
        settings = config(f"storage={tmp_path / folder}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
        for _ in range(2):  # the second time the unfinished run is found again
            with opened(settings).claim("test", without=WITHOUT, digests=()) as experiment:
                experiment.finish([Measurement(step=0, time=1.7e9, metrics={"eval/mAP": score})], {}, table="")
    browser = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    runs = browser.search_runs([browser.get_experiment_by_name("reid").experiment_id])
    assert sorted(run.data.metrics["eval/mAP"] for run in runs) == sorted(scores.values())
    assert len({run.data.tags["reid.run"] for run in runs}) == 2
    assert {run.info.run_name for run in runs} == {experiment.run.key}


@pytest.mark.slow
@pytest.mark.parametrize("remote", [False, True])
def test_every_export_lies_in_the_storage_under_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: bool
) -> None:
    """Two trainings of one phase, as a sweep's champion and the paper's values are: each its own checkpoint and run."""
    root = tmp_path / "storage"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tracking = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    settings = config(f"storage={root.as_uri() if remote else root}", tracking)
    other = settings.model_copy(update={"seed": 1})
    trainings = [training(settings, "champion"), training(other, "paper")]
    with opened(settings).claim("test", without=WITHOUT, digests=()) as experiment:
        experiment.train(trainings)
        for each in trainings:
            key = f"{experiment.run.identity}.{each.name}"
            assert (root / "runs" / experiment.run.key / each.name / "baseline" / "epoch_0001" / "phase.json").is_file()
            assert load_state(experiment.finished[each.name]).run == key
        published = experiment.publish(trainings[1], alias="best")
        assert published.place == experiment.workspace.storage.place("exports", key)
        assert {file.name for file in (root / "exports" / key).glob("[!.]*")} == {PT2, ONNX, CARD, "README.md"}
    browser = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    version = browser.get_model_version_by_alias("reid-descriptor", "best")
    assert browser.get_run(version.run_id).info.run_name == "paper"
