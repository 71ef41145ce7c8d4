"""The database file: there whole or not at all, its owner's alone, and damage no outage."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from reid.tracking import DamagedDatabaseError, Recorder, RunRecord
from reid.tracking.database import _ARTIFACT_COLUMNS, create_missing
from reid.tracking.store import connect

PLATFORM = Path(__file__).parents[2] / "platform"
OURS = "import sys; from reid.tracking.store import connect; connect(sys.argv[1], None)"


def recorder(file: Path) -> Recorder:
    return Recorder(
        uri=f"sqlite:///{file}",
        experiment="reid",
        artifacts=str(file.parent / "artifacts"),
        outbox=file.parent / "outbox",
        storage="/data",
    )


def kill_in_the_middle(folder: Path) -> None:
    """SIGKILL to a process that creates `mlflow.db`, as soon as a file in the folder has some of its tables."""
    process = subprocess.Popen([sys.executable, "-c", OURS, f"sqlite:///{folder}/mlflow.db"], cwd=PLATFORM)
    try:
        deadline = time.monotonic() + 120
        while not any(tables(file) > 5 for file in folder.iterdir() if file.name.endswith((".db", ".partial"))):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()


def tables(file: Path) -> int:
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return int(count)
    except sqlite3.OperationalError:  # it is being written
        return 0
    finally:
        connection.close()


@pytest.mark.slow
def test_a_kill_while_it_is_created_costs_nothing(tmp_path: Path, parent: RunRecord) -> None:
    kill_in_the_middle(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()
    with recorder(tmp_path / "mlflow.db") as runs:
        runs.put(parent)
    assert runs.kept() == []
    assert {path.name for path in tmp_path.glob("*mlflow.db*")} == {"mlflow.db", ".mlflow.db.lock"}


@pytest.mark.slow
def test_two_processes_create_it_once(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/mlflow.db"
    both = [subprocess.Popen([sys.executable, "-c", OURS, address], cwd=PLATFORM) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert [experiment.name for experiment in MlflowClient(address).search_experiments()] == ["Default"]


def test_it_is_its_owners_alone(tmp_path: Path, parent: RunRecord) -> None:
    (tmp_path / "mlflow.db").touch()  # SQLite takes an empty file for a new database
    before = os.umask(0o000)
    try:
        with recorder(tmp_path / "mlflow.db") as runs:
            runs.put(parent)
    finally:
        os.umask(before)
    assert runs.kept() == []
    assert stat.S_IMODE((tmp_path / "mlflow.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_what_sqlite_writes_beside_it_is_its_owners_alone_too(tmp_path: Path, mode: str) -> None:
    before = os.umask(0o000)
    try:
        create_missing(tmp_path / "mlflow.db", None)
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
            database.execute(f"PRAGMA journal_mode = {mode}")
            database.execute("INSERT INTO experiments (name) VALUES ('x')")
            beside = {path.name: path for path in tmp_path.glob("mlflow.db*")}
            names = {"mlflow.db-journal"} if mode == "delete" else {"mlflow.db-wal", "mlflow.db-shm"}
            assert set(beside) == names | {"mlflow.db"}
            assert {stat.S_IMODE(path.stat().st_mode) for path in beside.values()} == {0o600}
    finally:
        os.umask(before)


def overwritten(file: Path) -> None:
    file.write_text("no database at all, but long enough to be taken for one by its size" * 400)


def torn(file: Path) -> None:
    """A page that every query reads is another one's."""
    content = bytearray(file.read_bytes())
    content[100:4096] = b"\xff" * 3996
    file.write_bytes(content)


def outdated(file: Path) -> None:
    """As a kill leaves it that hits MLflow before the last step of creating it."""
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = '75868b020152'")
    database.close()


def half_created(file: Path) -> None:
    """As a kill leaves it that hits MLflow between a table and the note that the table is there."""
    outdated(file)
    with sqlite3.connect(file) as database:
        database.execute("DROP TABLE job_locks")
    database.close()


@pytest.mark.parametrize("damage", [overwritten, torn, outdated, half_created])
def test_a_damaged_one_is_an_error_at_every_turn(
    empty_database: Path, tmp_path: Path, parent: RunRecord, damage: Callable[[Path], None]
) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(empty_database.read_bytes())
    damage(file)
    runs = recorder(file)
    for attempt in (runs.require_sound, runs.__enter__):
        with pytest.raises(DamagedDatabaseError, match=rf"^{file} is damaged \(.+\): put a sound copy in its place"):
            attempt()
    runs.put(parent)
    with pytest.raises(DamagedDatabaseError):
        runs.__exit__(None, None, None)
    assert len(runs.kept()) == 1


def test_one_that_is_damaged_while_a_job_runs_is_an_error_at_its_end(database: str, parent: RunRecord) -> None:
    with pytest.raises(DamagedDatabaseError):
        job_that_outlives_its_database(Path(database.removeprefix("sqlite:///")), parent)


def test_a_job_that_fails_says_its_own_error_and_that_of_the_database_beside(
    database: str, parent: RunRecord, caplog: pytest.LogCaptureFixture
) -> None:
    file = Path(database.removeprefix("sqlite:///"))
    with pytest.raises(RuntimeError, match="the power went"):
        job_that_outlives_its_database(file, parent, RuntimeError("the power went"))
    assert f"{file} is damaged" in caplog.text


def job_that_outlives_its_database(file: Path, parent: RunRecord, error: Exception | None = None) -> None:
    with recorder(file) as runs:
        overwritten(file)
        runs.put(parent)
        if error is not None:
            raise error


@pytest.mark.parametrize(
    "address", ["sqlite:////proc/nowhere/mlflow.db", "sqlite:///{folder}", "sqlite:///{folder}/file/mlflow.db"]
)
def test_one_that_cannot_be_opened_is_an_outage_of_seconds(tmp_path: Path, parent: RunRecord, address: str) -> None:
    (tmp_path / "file").touch()
    uri = address.format(folder=tmp_path)
    runs = Recorder(uri=uri, experiment="reid", artifacts=None, outbox=tmp_path / "outbox", storage="/data")
    started = time.monotonic()
    runs.require_sound()
    with runs:
        runs.put(parent)
    assert time.monotonic() - started < 10
    assert len(runs.kept()) == 1


def moving_recorder(storage: Path) -> Recorder:
    return Recorder(
        uri=f"sqlite:///{storage}/mlflow.db",
        experiment="reid",
        artifacts=str(storage / "mlartifacts"),
        outbox=storage / "outbox",
        storage=str(storage),
    )


def locations(file: Path) -> list[str]:
    """All that the database says of where artifacts lie."""
    with closing(sqlite3.connect(file)) as connection:
        return [
            str(location)
            for table, column in _ARTIFACT_COLUMNS
            for (location,) in connection.execute(f"SELECT {column} FROM {table}")  # noqa: S608 - ours
        ]


def test_one_that_was_moved_with_its_artifacts_names_them_where_they_are(
    tmp_path: Path, parent: RunRecord, phase: RunRecord
) -> None:
    before, after = tmp_path / "before's 100%", tmp_path / "after"
    with moving_recorder(before) as runs:
        runs.put(parent)
        runs.put(phase)
    before.rename(after)
    with moving_recorder(after) as runs:  # what is new lies beside what was there
        runs.put(replace(phase, key="walk-1.second", name="second"))
    assert not before.exists()
    client = MlflowClient(tracking_uri=f"sqlite:///{after}/mlflow.db")
    experiment = client.get_experiment_by_name("reid")
    for run in client.search_runs([experiment.experiment_id], "attributes.run_name != 'walk-1'"):
        assert (Path(client.download_artifacts(run.info.run_id, "pictures")) / "cmc.png").read_bytes() == b"png"
        (model,) = client.search_logged_models(
            [experiment.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
        )
        assert (Path(model.artifact_location) / "model.safetensors").is_file()
    assert {Path(place).is_relative_to(after / "mlartifacts") for place in locations(after / "mlflow.db")} == {True}


def test_a_copy_leaves_to_the_original_what_is_there(tmp_path: Path, parent: RunRecord, phase: RunRecord) -> None:
    with moving_recorder(tmp_path / "original") as runs:
        runs.put(parent)
        runs.put(phase)
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    said = locations(tmp_path / "copy" / "mlflow.db")
    with moving_recorder(tmp_path / "copy"):
        pass
    assert locations(tmp_path / "copy" / "mlflow.db") == said


def test_artifacts_that_do_not_lie_beside_it_are_left_alone(tmp_path: Path, parent: RunRecord) -> None:
    """Of a database that several storages write to, none decides where the others' artifacts are."""
    file = tmp_path / "shared" / "mlflow.db"
    create_missing(file, str(tmp_path / "gone" / "mlartifacts"))
    said = locations(file)
    connect(f"sqlite:///{file}", str(tmp_path / "another" / "mlartifacts"))
    assert locations(file) == said
    connect(f"sqlite:///{file}", str(tmp_path / "shared" / "mlartifacts"))
    assert locations(file) != said
