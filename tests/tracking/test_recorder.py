"""Records survive a server that is away, two writers, and say no password."""

import logging
import pickle
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from reid.config import flatten, load_config
from reid.tracking import Recorder, RunRecord
from reid.tracking.store import RunStore


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def recorder(uri: str, outbox: Path) -> Recorder:
    return Recorder(
        uri=uri, experiment="reid", artifacts=str(outbox.parent / "artifacts"), outbox=outbox, storage="/data"
    )


def steps(client: MlflowClient, name: str) -> list[tuple[int, int]]:
    """(step, timestamp) of the total loss of the one run of a name."""
    experiment = client.get_experiment_by_name("reid")
    (run,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    return [(m.step, m.timestamp) for m in client.get_metric_history(run.info.run_id, "train/total")]


TIMES = [(1, 1700000010250), (2, 1700000020250), (3, 1700000030250)]


@pytest.mark.cluster
def test_a_killed_server_neither_stops_nor_stalls_nor_loses(
    server: Any, outbox: Path, parent: RunRecord, phase: RunRecord
) -> None:
    runs = recorder(server.uri, outbox)
    running = replace(phase, status="RUNNING", checkpoint=None)
    runs.put(parent)
    runs.put(replace(running, measurements=phase.measurements[:1]))
    assert runs.kept() == []
    server.kill()
    started = time.monotonic()
    runs.put(replace(running, measurements=phase.measurements[:2]))
    assert time.monotonic() - started < 15
    started = time.monotonic()
    runs.put(phase)
    runs.put(replace(parent, status="FINISHED"))
    assert time.monotonic() - started < 1, "a server that was away a moment ago is left alone"
    assert [path.name for path in runs.kept()] == ["walk-1.json", "walk-1.final.json"]
    server.start()
    again = pickle.loads(pickle.dumps(runs))  # noqa: S301 - as another process gets it
    assert again.send()
    assert again.kept() == []
    client = MlflowClient(tracking_uri=server.uri)
    assert steps(client, "final") == TIMES
    experiment = client.get_experiment_by_name("reid").experiment_id
    assert {run.info.status for run in client.search_runs([experiment])} == {"FINISHED"}
    (model,) = client.search_logged_models([experiment])
    assert str(model.status) == "READY"
    assert [file.path for file in client.list_logged_model_artifacts(model.model_id)] == ["model.safetensors"]


def test_two_recorders_of_one_outbox_send_everything_once(
    database: str, client: MlflowClient, outbox: Path, parent: RunRecord, phase: RunRecord
) -> None:
    first, second = recorder(database, outbox), recorder(database, outbox)
    first.put(parent)
    running = replace(phase, status="RUNNING", checkpoint=None)
    threads = [
        threading.Thread(target=runs.put, args=(replace(running, measurements=phase.measurements[:epochs]),))
        for runs, epochs in ((first, 1), (second, 2), (first, 3), (second, 3))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.put(phase)
    assert first.kept() == []
    assert steps(client, "final") == TIMES


def test_a_record_put_while_an_older_one_is_sent_is_not_lost(
    database: str,
    client: MlflowClient,
    outbox: Path,
    parent: RunRecord,
    phase: RunRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver, controller = recorder(database, outbox), recorder(database, outbox)
    driver.put(parent)
    sync = RunStore.sync
    later: list[RunRecord] = [phase]

    def slow(self: RunStore, record: RunRecord) -> str:
        if later:
            controller.keep(later.pop())  # what another process does while this one sends
        return sync(self, record)

    monkeypatch.setattr(RunStore, "sync", slow)
    driver.put(replace(phase, status="RUNNING", measurements=phase.measurements[:1], checkpoint=None))
    assert [path.name for path in driver.kept()] == ["walk-1.final.json"]
    assert driver.send()
    assert steps(client, "final") == TIMES


@pytest.mark.cluster
def test_a_password_opens_the_server_and_is_recorded_nowhere(
    server: Any, outbox: Path, parent: RunRecord, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = server.uri.replace("//", "//someone:s3cret@")
    config = load_config(preset="smoke", overrides=[f"tracking.uri={uri}", "tracking.experiment=secrets"])
    assert config.tracking.uri == uri
    runs = Recorder(uri=uri, experiment="secrets", artifacts=None, outbox=outbox, storage="/data")
    runs.put(replace(parent, params=flatten(config)))
    assert runs.kept() == []
    client = MlflowClient(tracking_uri=server.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("secrets").experiment_id])
    assert run.data.params["tracking.uri"] == server.uri.replace("//", "//someone:***@")
    printed = capfd.readouterr()
    for held in (str(run.to_dictionary()), runs.uri, printed.out, printed.err, config.model_dump_json()):
        assert "s3cret" not in held


def test_no_password_is_shown(outbox: Path, parent: RunRecord, caplog: pytest.LogCaptureFixture) -> None:
    runs = recorder("http://someone:s3cret@127.0.0.1:1", outbox)
    with caplog.at_level(logging.INFO):
        runs.put(parent)
    assert "someone:***@127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text + runs.uri + "".join(path.read_text() for path in runs.kept())


def test_what_was_kept_for_one_server_and_storage_is_sent_to_no_other(
    database: str, client: MlflowClient, outbox: Path, parent: RunRecord
) -> None:
    def recorder_of(uri: str, storage: str, experiment: str = "reid") -> Recorder:
        artifacts = str(outbox.parent / "artifacts")
        return Recorder(uri=uri, experiment=experiment, artifacts=artifacts, outbox=outbox, storage=storage)

    recorder_of("http://127.0.0.1:1", "/data").put(parent)
    recorder_of(database, "/other").keep(replace(parent, key="other", name="other"))
    recorder_of(database, "/data", "else").keep(replace(parent, key="else", name="else"))
    here = recorder_of(database, "/data")
    here.put(replace(parent, key="here", name="here"))
    assert here.kept() == []
    (experiment,) = [found for found in client.search_experiments() if found.name == "reid"]
    assert [run.info.run_name for run in client.search_runs([experiment.experiment_id])] == ["here"]
    for others in (recorder_of("http://127.0.0.1:1", "/data"), recorder_of(database, "/other")):
        assert len(others.kept()) == 1
