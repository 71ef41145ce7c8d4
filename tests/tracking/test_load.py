"""The load of a node among a run's metrics: bounded, and never in the place of the run's end."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from reid.tracking import Recorder, RunRecord
from reid.tracking import load as load_module
from reid.tracking.load import LoadMonitor
from reid.tracking.outbox import Outbox

NAMES = {
    "cpu_utilization_percentage",
    "system_memory_usage_megabytes",
    "system_memory_usage_percentage",
    "disk_usage_percentage",
    "network_receive_megabytes",
}


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "PERIOD_S", 0.01)


def readings(count: int) -> LoadMonitor:
    """A monitor that has ended after so many readings."""
    told = threading.Semaphore(0)
    with LoadMonitor(told.release) as monitor:
        for _ in range(count):
            assert told.acquire(timeout=60)
    return monitor


def test_readings_have_mlflows_names_and_say_what_is() -> None:
    monitor = readings(3)
    for reading in monitor.readings:
        assert {name.removeprefix("system/") for name in reading.metrics} >= NAMES
        assert all(name.startswith("system/") for name in reading.metrics)
        assert reading.step == int(reading.time)
    memory = psutil.virtual_memory()
    assert 0 < monitor.readings[-1].metrics["system/system_memory_usage_megabytes"] < memory.total / 1e6


def test_they_are_bounded_and_cover_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "MOST", 8)
    monitor = readings(30)
    times = [reading.time for reading in monitor.readings]
    assert 4 <= len(times) <= 9
    assert times == sorted(times)
    assert monitor._period_s >= 4 * load_module.PERIOD_S


def test_records_of_the_watched_run_carry_them_to_mlflow(
    database: str, client: MlflowClient, parent: RunRecord, phase: RunRecord, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    kept: list[RunRecord] = []
    enough = threading.Event()
    keep = Outbox.keep

    def counted(outbox: Outbox, record: RunRecord) -> None:
        kept.append(record)
        keep(outbox, record)
        if len(record.measurements) > 3:
            enough.set()

    monkeypatch.setattr(Outbox, "keep", counted)
    runs = Recorder(
        uri=database, experiment="reid", artifacts=str(tmp_path / "artifacts"), outbox=tmp_path / "outbox", storage="/d"
    )
    with runs:
        runs.put(parent)
        with runs.watching(parent):
            runs.put(phase)
            assert enough.wait(60)
            runs.put(replace(parent, status="FINISHED", note="the end", tags=parent.tags | {"reid.winner": "1"}))
            ended, deadline = len(kept), time.monotonic() + 60
            while len(kept) < ended + 3:  # told by itself, and no older record follows the end
                assert time.monotonic() < deadline
                time.sleep(0.01)
    experiment = client.get_experiment_by_name("reid")
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    run = found["walk-1"]
    assert {f"system/{name}" for name in NAMES} <= set(run.data.metrics)
    assert (run.info.status, run.data.tags["reid.winner"]) == ("FINISHED", "1")
    assert run.data.tags["mlflow.note.content"] == "the end"
    assert not any(name.startswith("system/") for name in found["final"].data.metrics)


def test_a_failed_run_stays_failed(database: str, client: MlflowClient, parent: RunRecord, tmp_path: Path) -> None:
    runs = Recorder(
        uri=database, experiment="reid", artifacts=str(tmp_path / "artifacts"), outbox=tmp_path / "outbox", storage="/d"
    )
    with runs:
        with runs.watching(parent):
            runs.put(parent)
        runs.put(replace(parent, status="FAILED"))
        runs._tell_load()  # too late: nothing is watched any more
    (run,) = client.search_runs([client.get_experiment_by_name("reid").experiment_id])
    assert run.info.status == "FAILED"
