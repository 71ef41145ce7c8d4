"""What a job could not send, sent by another; a damaged database stops every job before it trains."""

import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient

from reid import jobs
from reid.config import load_config
from reid.experiments.records import open_recorder
from reid.storage import Storage
from reid.tracking import Measurement, RunRecord

flush = partial(jobs.flush.main, standalone_mode=False)
full_pipeline = partial(jobs.pipeline.main, standalone_mode=False)


ROOT = Path(__file__).parents[2]
RECORD = RunRecord(
    key="walk-1",
    name="walk-1",
    status="RUNNING",
    measurements=tuple(Measurement(step=step, time=1.7e9 + step, metrics={"a": 1.0}) for step in (1, 2)),
)


def refused(job: Callable[[Sequence[str]], None], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        job(list(arguments))
    return str(caught.value.code)


def test_what_a_job_could_not_send_is_sent_once(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = storage / "mlflow.db"
    blocked.mkdir(parents=True)  # no file can be opened here
    with open_recorder(load_config(preset="smoke"), Storage(str(storage))) as runs:
        runs.put(replace(RECORD, measurements=RECORD.measurements[:1]))
        runs.put(RECORD)
    (folder,) = (storage / "outbox").iterdir()
    (folder / "torn.json").write_text('{"key": "to')
    message = refused(flush)
    assert message.startswith(f"error: MLflow at sqlite:///{blocked} lacks 1 of 2 records, which wait in {folder}")
    assert f"{folder}/torn.damaged was damaged" in capsys.readouterr().out
    blocked.rmdir()
    for sent in (1, 0):
        flush([])
        assert f"has all records; {sent} were sent now" in capsys.readouterr().out
    client = MlflowClient(tracking_uri=f"sqlite:///{blocked}")
    (run,) = client.search_runs([client.get_experiment_by_name("reid").experiment_id])
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "a")] == [1, 2]
    assert stat.S_IMODE(blocked.stat().st_mode) == 0o600


@pytest.mark.slow
def test_a_job_says_why_mlflow_took_nothing(storage: Path) -> None:
    (storage / "mlflow.db").mkdir(parents=True)
    with open_recorder(load_config(preset="smoke"), Storage(str(storage))) as runs:
        runs.put(RECORD)
    job = subprocess.run([sys.executable, "jobs/flush.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert job.returncode == 1
    assert f"took no record, it is kept in {runs.kept()[0]}: (sqlite3.OperationalError) unable to open" in job.stderr


@pytest.mark.parametrize("job", [flush, full_pipeline])
def test_a_damaged_database_stops_a_job_before_it_does_anything(
    storage: Path, job: Callable[[Sequence[str]], None]
) -> None:
    storage.mkdir()
    (storage / "mlflow.db").write_text("no database at all, but long enough to be taken for one by its size" * 40)
    message = refused(job, "--preset", "smoke")
    assert message.startswith(f"error: {storage}/mlflow.db is damaged (file is not a database): put a sound copy")
    assert [path.name for path in storage.iterdir()] == ["mlflow.db"]
