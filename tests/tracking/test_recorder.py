"""Records hold up nobody, survive a server that is away and two writers, and say no password."""

import logging
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from reid.config import flatten, load_config
from reid.storage import LeaseLostError
from reid.tracking import Measurement, Recorder, RunRecord

HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def recorder(uri: str, outbox: Path) -> Recorder:
    return Recorder(
        uri=uri, experiment="reid", artifacts=str(outbox.parent / "artifacts"), outbox=outbox, storage="/data"
    )


def wait_until_sent(runs: Recorder) -> None:
    deadline = time.monotonic() + 60
    while runs.kept():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def server_that_says(answer: bytes) -> Iterator[str]:
    """Accepts whoever comes and says this, or nothing at all."""
    with ThreadPoolExecutor() as pool, socket.create_server(("127.0.0.1", 0)) as listener:
        connections: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # it was shut down
                    return
                connections.append(connection)
                if answer:
                    connection.recv(65536)
                    connection.sendall(answer)
                    connection.close()

        pool.submit(serve)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                connection.close()


def steps(client: MlflowClient, name: str) -> list[tuple[int, int]]:
    """(step, timestamp) of the total loss of the one run of a name."""
    experiment = client.get_experiment_by_name("reid")
    (run,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    return [(m.step, m.timestamp) for m in client.get_metric_history(run.info.run_id, "train/total")]


TIMES = [(1, 1700000010250), (2, 1700000020250), (3, 1700000030250)]


@pytest.mark.cluster
@pytest.mark.parametrize(("away", "back"), [("kill", "start"), ("freeze", "thaw")])
def test_a_server_that_is_away_neither_stops_nor_stalls_nor_loses(
    server: Any,
    outbox: Path,
    parent: RunRecord,
    phase: RunRecord,
    away: str,
    back: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    key = f"{away}-1"
    parent, phase = replace(parent, key=key, name=key), replace(phase, key=f"{key}.final", name=away, parent=key)
    running = replace(phase, status="RUNNING", checkpoint=None)
    with recorder(server.uri, outbox) as runs:
        runs.put(parent)
        runs.put(replace(running, measurements=phase.measurements[:1]))
        wait_until_sent(runs)
        getattr(server, away)()
        for record in (
            replace(running, measurements=phase.measurements[:2]),
            phase,
            replace(parent, status="FINISHED"),
        ):
            started = time.monotonic()
            runs.put(record)
            assert time.monotonic() - started < 1
            time.sleep(0.5)  # the thread is at it now
        started = time.monotonic()
    assert time.monotonic() - started < 45, "the end waits for one answer at most"
    assert [path.name for path in runs.kept()] == [f"{key}.json", f"{key}.final.json"]
    getattr(server, back)()
    again = pickle.loads(pickle.dumps(runs))  # noqa: S301 - as another process gets it
    assert again.send() == "sent"
    assert again.kept() == []
    client = MlflowClient(tracking_uri=server.uri)
    assert steps(client, away) == TIMES
    experiment = client.get_experiment_by_name("reid").experiment_id
    found = client.search_runs([experiment], f"tags.`reid.run` LIKE '{key}%'")
    assert {run.info.status for run in found} == {"FINISHED"}
    (child,) = [run.info.run_id for run in found if run.info.run_name == away]
    (model,) = client.search_logged_models([experiment], filter_string=f"source_run_id = '{child}'")
    assert str(model.status) == "READY"
    files = {file.path for file in client.list_logged_model_artifacts(model.model_id)}
    assert files == {"README.md", "model.safetensors"}
    assert "View run" not in capfd.readouterr().out


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 500 No\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>hello</html>"])
def test_whatever_a_server_answers_a_record_is_put_in_a_moment_and_kept(
    outbox: Path, parent: RunRecord, answer: bytes
) -> None:
    with server_that_says(answer) as uri, recorder(uri, outbox) as runs:
        for _ in range(3):
            started = time.monotonic()
            runs.put(parent)
            assert time.monotonic() - started < 1
            time.sleep(0.2)
    assert len(runs.kept()) == 1


def test_the_end_says_what_is_still_unsent(outbox: Path, parent: RunRecord, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), recorder("http://127.0.0.1:1", outbox) as runs:
        runs.put(parent)
    assert f"lacks 1 records, which wait in {runs.kept()[0].parent} for the next job or jobs/flush.py" in caplog.text


def test_another_jobs_slow_upload_holds_up_nobody(database: str, outbox: Path, parent: RunRecord) -> None:
    runs = recorder(database, outbox)
    runs.put(parent)
    wait_until_sent(runs)
    (folder,) = outbox.iterdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with runs:
            started = time.monotonic()
            runs.put(replace(parent, status="FINISHED"))
            assert time.monotonic() - started < 1
        assert time.monotonic() - started < 20
        assert len(runs.kept()) == 1
    finally:
        holder.kill()
        holder.communicate()
    assert runs.send() == "sent"
    assert runs.kept() == []


def test_two_recorders_of_one_outbox_send_everything_once(
    database: str, client: MlflowClient, outbox: Path, parent: RunRecord, phase: RunRecord
) -> None:
    running = replace(phase, status="RUNNING", checkpoint=None)
    with recorder(database, outbox) as first, recorder(database, outbox) as second:
        first.put(parent)
        wait_until_sent(first)
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


def test_a_record_that_is_refused_or_lacks_its_parent_holds_up_no_other(
    database: str, client: MlflowClient, outbox: Path, parent: RunRecord, phase: RunRecord
) -> None:
    with recorder(database, outbox) as runs:
        runs.put(replace(parent, key="a-refused", params={"no such name allowed: ?": "1"}))
        runs.put(replace(phase, key="b-orphan", parent="nobody"))
        runs.put(parent)
        runs.put(phase)
    assert [path.stem for path in runs.kept()] == ["a-refused", "b-orphan"]
    assert steps(client, "final") == TIMES


@pytest.mark.cluster
def test_a_password_opens_the_server_and_is_recorded_nowhere(
    server: Any, outbox: Path, parent: RunRecord, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = server.uri.replace("//", "//someone:s3cret@")
    config = load_config(preset="smoke", overrides=[f"tracking.uri={uri}", "tracking.experiment=secrets"])
    assert config.tracking.uri == uri
    with Recorder(uri=uri, experiment="secrets", artifacts=None, outbox=outbox, storage="/data") as runs:
        runs.put(replace(parent, params=flatten(config)))
    assert runs.kept() == []
    client = MlflowClient(tracking_uri=server.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("secrets").experiment_id])
    assert run.data.params["tracking.uri"] == server.uri.replace("//", "//someone:***@")
    printed = capfd.readouterr()
    for held in (str(run.to_dictionary()), runs.uri, printed.out, printed.err, config.model_dump_json()):
        assert "s3cret" not in held


def test_no_password_is_shown(outbox: Path, parent: RunRecord, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), recorder("http://someone:s3cret@127.0.0.1:1", outbox) as runs:
        runs.put(parent)
    assert "someone:***@127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text + runs.uri + "".join(path.read_text() for path in runs.kept())


def test_what_was_kept_for_one_server_and_storage_is_sent_to_no_other(
    database: str, client: MlflowClient, outbox: Path, parent: RunRecord
) -> None:
    def recorder_of(uri: str, storage: str, experiment: str = "reid") -> Recorder:
        artifacts = str(outbox.parent / "artifacts")
        return Recorder(uri=uri, experiment=experiment, artifacts=artifacts, outbox=outbox, storage=storage)

    with recorder_of("http://127.0.0.1:1", "/data") as away:
        away.put(parent)
    (kept,) = away.kept()
    with recorder_of(database, "/data") as here:
        here.put(replace(parent, key="here", name="here"))
    for other in (recorder_of(database, "/other"), recorder_of(database, "/data", "else")):
        other.send()
    assert here.kept() == []
    (experiment,) = [found for found in client.search_experiments() if found.name == "reid"]
    assert [run.info.run_name for run in client.search_runs([experiment.experiment_id])] == ["here"]
    assert away.kept() == [kept]


def test_what_two_processes_send_in_turn_arrives_once(
    database: str, outbox: Path, client: MlflowClient, parent: RunRecord, phase: RunRecord
) -> None:
    """Each has trained all epochs, the last of which the other has sent: MLflow would keep both, of different times."""
    runs = [recorder(database, outbox), recorder(database, outbox)]
    for epochs in range(1, 6):
        measured = tuple(
            Measurement(step=s, time=100.0 * epochs + s, metrics={"train/total": 1 / s}) for s in range(1, epochs + 1)
        )
        record = replace(phase, status="RUNNING", measurements=measured)
        with runs[epochs % 2] as writer:
            writer.put(parent)
            writer.put(record)
    assert [step for step, _ in steps(client, "final")] == [1, 2, 3, 4, 5]


def test_nothing_is_kept_by_whoever_may_not_write_any_more(database: str, outbox: Path, parent: RunRecord) -> None:
    def refuse() -> None:
        raise LeaseLostError("another's")

    with recorder(database, outbox) as runs:
        with runs.watching(parent, refuse), pytest.raises(LeaseLostError):
            runs.put(parent)
        assert runs.kept() == []
        runs.put(parent)
