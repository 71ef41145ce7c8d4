"""Bringing MLflow into line with a record, again and again, and after a crash at any request."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pyarrow import fs

from reid.storage import Place
from reid.tracking import Measurement, RunRecord, Status
from reid.tracking.store import RunStore

REQUESTS = (
    "create_run",
    "create_logged_model",
    "log_batch",
    "log_inputs",
    "log_artifact",
    "log_artifacts",
    "log_model_artifact",
    "finalize_logged_model",
    "set_terminated",
)


@pytest.fixture
def open_store(database: str, tmp_path: Path) -> Callable[[], RunStore]:
    return lambda: RunStore(database, "reid", str(tmp_path / "artifacts"))


def contents(client: MlflowClient) -> dict[str, dict[str, Any]]:
    """All that MLflow holds, by name of the run."""
    experiment = client.get_experiment_by_name("reid")
    runs = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in runs}) == len(runs), "a run is there twice"
    names = {run.info.run_id: run.info.run_name for run in runs}
    return {
        run.info.run_name: {
            "status": run.info.status,
            "parent": names.get(run.data.tags.get("mlflow.parentRunId", "")),
            "params": run.data.params,
            "metrics": {
                name: [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            },
            "inputs": [(item.dataset.name, item.dataset.digest) for item in run.inputs.dataset_inputs],
            "artifacts": artifacts(client, run.info.run_id),
            "models": [
                (
                    model.name,
                    str(model.status),
                    sorted(file.path for file in client.list_logged_model_artifacts(model.model_id)),
                )
                for model in client.search_logged_models(
                    [experiment.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
                )
            ],
        }
        for run in runs
    }


def artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> list[str]:
    """Paths of all files among a run's artifacts."""
    found = client.list_artifacts(run_id, folder)
    return [path for file in found for path in (artifacts(client, run_id, file.path) if file.is_dir else [file.path])]


EXPECTED = {
    "status": "FINISHED",
    "parent": "walk-1",
    "params": {"seed": "0", "loss.alpha": "0.5"},
    "metrics": {
        "train/total": [(1, 1.0, 1700000010250), (2, 0.5, 1700000020250), (3, 1 / 3, 1700000030250)],
        "eval/mAP": [(3, 0.5, 1700000030250)],
    },
    "inputs": [("d", "ab" * 18)],
    "artifacts": ["notes.md", "pictures/cmc.png", "pictures/parts.png"],
    "models": [("final", "READY", ["README.md", "model.safetensors"])],
}


def test_everything_arrives_with_the_times_of_measuring(
    open_store: Callable[[], RunStore], client: MlflowClient, parent: RunRecord, phase: RunRecord
) -> None:
    store = open_store()
    store.sync(parent)
    store.sync(phase)
    assert contents(client)["final"] == EXPECTED
    assert contents(client)["walk-1"]["status"] == "RUNNING"


@pytest.mark.parametrize("same_process", [True, False])
def test_a_second_time_changes_nothing(
    open_store: Callable[[], RunStore], client: MlflowClient, parent: RunRecord, phase: RunRecord, same_process: bool
) -> None:
    store = open_store()
    store.sync(parent)
    store.sync(phase)
    store = store if same_process else open_store()
    store.sync(phase)
    assert contents(client)["final"] == EXPECTED


@pytest.mark.parametrize(
    ("ended", "later", "seconds", "expected"),
    [
        ("FINISHED", "RUNNING", -1, "FINISHED"),
        ("FINISHED", "RUNNING", +1, "FINISHED"),
        ("FINISHED", "FAILED", -1, "FINISHED"),
        ("FINISHED", "FAILED", +1, "FAILED"),
        ("FAILED", "RUNNING", -1, "FAILED"),
        ("FAILED", "RUNNING", +1, "RUNNING"),
        ("FAILED", "FINISHED", -1, "FINISHED"),
        ("FAILED", "FINISHED", +1, "FINISHED"),
    ],
)
def test_only_what_was_kept_later_reopens_a_run_and_nothing_one_that_finished(
    open_store: Callable[[], RunStore],
    client: MlflowClient,
    parent: RunRecord,
    phase: RunRecord,
    ended: Status,
    later: Status,
    seconds: int,
    expected: Status,
) -> None:
    store = open_store()
    store.sync(parent)
    store.sync(replace(phase, status=ended, time=1_700_000_100.0))
    store.sync(replace(phase, status=later, time=1_700_000_100.0 + seconds))
    assert contents(client)["final"] == EXPECTED | {"status": expected}


def test_what_was_deleted_while_a_record_waited_holds_up_nothing(
    open_store: Callable[[], RunStore], client: MlflowClient, parent: RunRecord, phase: RunRecord, tmp_path: Path
) -> None:
    store = open_store()
    store.sync(parent)
    gone = {str(tmp_path / "gone.md"): "", f"mock://{tmp_path}/gone/pictures": "pictures"}
    store.sync(replace(phase, artifacts=gone, checkpoint=f"mock://{tmp_path}/gone"))
    found = contents(client)["final"]
    assert found["status"] == "FINISHED"
    assert found["metrics"] == EXPECTED["metrics"]
    assert found["artifacts"] == []
    assert [status for _, status, _ in found["models"]] == ["PENDING"]


def test_what_lies_in_remote_storage_is_fetched_and_sent(
    open_store: Callable[[], RunStore],
    client: MlflowClient,
    parent: RunRecord,
    phase: RunRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(Place, "resolve", lambda place: (bucket, place.removeprefix("bucket://")))
    remote = {"bucket://notes.md": "", "bucket://drawn": "pictures"}
    store = open_store()
    store.sync(parent)
    store.sync(replace(phase, artifacts=remote, checkpoint="bucket://checkpoint"))
    assert contents(client)["final"] == EXPECTED


def test_a_growing_record_sends_only_what_is_new(
    open_store: Callable[[], RunStore],
    client: MlflowClient,
    parent: RunRecord,
    phase: RunRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[str, int]] = []
    log_batch = MlflowClient.log_batch

    def counting(self: MlflowClient, run_id: str, metrics: Any = (), **kwargs: Any) -> None:
        sent.extend((metric.key, metric.step) for metric in metrics)
        log_batch(self, run_id, metrics=metrics, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", counting)
    driver, controller = open_store(), open_store()
    driver.sync(parent)
    running = replace(phase, status="RUNNING", measurements=(), checkpoint=None)
    driver.sync(running)
    for epochs in (1, 2, 3):
        controller.sync(replace(running, measurements=phase.measurements[:epochs]))
    driver.sync(phase)
    assert sent == [("train/total", 1), ("train/total", 2), ("train/total", 3), ("eval/mAP", 3)]
    assert contents(client)["final"] == EXPECTED


@pytest.mark.parametrize("answered", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("request_name", REQUESTS)
def test_a_crash_at_a_request_leaves_nothing_twice_and_nothing_out(
    open_store: Callable[[], RunStore],
    client: MlflowClient,
    parent: RunRecord,
    phase: RunRecord,
    monkeypatch: pytest.MonkeyPatch,
    request_name: str,
    answered: bool,
) -> None:
    open_store().sync(parent)
    original = getattr(MlflowClient, request_name)

    def crashing(*args: Any, **kwargs: Any) -> Any:
        if answered:
            original(*args, **kwargs)
        raise MlflowException("the connection broke")

    with monkeypatch.context() as crash:
        crash.setattr(MlflowClient, request_name, crashing)
        with pytest.raises(MlflowException, match="the connection broke"):
            open_store().sync(phase)
    open_store().sync(phase)
    assert contents(client)["final"] == EXPECTED


def test_more_metrics_than_fit_one_request_arrive(
    open_store: Callable[[], RunStore], client: MlflowClient, parent: RunRecord
) -> None:
    metrics = {f"train/{number}": float(number) for number in range(600)}
    points = tuple(Measurement(step=step, time=1.7e9 + step, metrics=metrics) for step in (1, 2, 3))
    open_store().sync(replace(parent, measurements=points))
    histories = contents(client)["walk-1"]["metrics"]
    assert len(histories) == 600
    assert {tuple(step for step, _, _ in history) for history in histories.values()} == {(1, 2, 3)}


def test_a_note_is_read_with_links_that_lead_somewhere(
    open_store: Callable[[], RunStore], client: MlflowClient, parent: RunRecord, phase: RunRecord
) -> None:
    noted = replace(
        parent, note="**pipeline** [final](run:walk-1.final) ![cmc](file:pictures/cmc.png) http://u:s3cret@h"
    )
    store = open_store()
    run_id = store.sync(noted)
    note = client.get_run(run_id).data.tags["mlflow.note.content"]
    assert "searchFilter=" in note
    assert "s3cret" not in note
    child = store.sync(phase)
    store.sync(noted)
    note = client.get_run(run_id).data.tags["mlflow.note.content"]
    assert f"[final](#/experiments/{store.experiment_id}/runs/{child}?workflowType=machine_learning)" in note
    assert f"![cmc](get-artifact?path=pictures%2Fcmc.png&run_uuid={run_id})" in note
    store.sync(parent)
    assert client.get_run(run_id).data.tags["mlflow.note.content"] == note, "a record without a note leaves it"


def test_an_experiment_new_or_old_is_one_of_training_with_columns_that_compare(
    open_store: Callable[[], RunStore], client: MlflowClient
) -> None:
    client.create_experiment("reid", tags={"mlflow.note.content": "mine"})
    open_store()
    tags = client.get_experiment_by_name("reid").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags["mlflow.note.content"] == "mine"
    columns = json.loads(tags["mlflow.sharedViewState.reid"])["selectedColumns"]
    assert {"metrics.`eval/mAP`", "metrics.`eval/rank1`", "params.`phase.stage`"} <= set(columns)
