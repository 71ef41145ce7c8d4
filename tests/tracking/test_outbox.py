"""What is kept: one record for each run, nothing measured lost, one bad file no matter to the others."""

import logging
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from reid.tracking import Measurement, RunRecord
from reid.tracking.outbox import Outbox


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


def the_one(outbox: Outbox) -> RunRecord:
    (path,) = outbox.kept()
    record = outbox.read(path)
    assert record is not None
    return record


def test_a_record_is_read_as_it_was_kept(outbox: Outbox, phase: RunRecord) -> None:
    outbox.keep(phase)
    found = the_one(outbox)
    assert found.time > 0
    assert replace(found, time=0.0) == phase


def test_a_record_kept_while_an_older_one_is_sent_is_not_dropped(outbox: Outbox, phase: RunRecord) -> None:
    outbox.keep(replace(phase, status="RUNNING"))
    sent = the_one(outbox)
    outbox.keep(phase)
    (path,) = outbox.kept()
    outbox.drop(path, sent)
    assert the_one(outbox).status == "FINISHED"
    outbox.drop(path, the_one(outbox))
    assert outbox.kept() == []
    assert outbox.read(path) is None


def test_a_metric_that_is_no_number_is_dropped_once_it_is_sent(outbox: Outbox, parent: RunRecord) -> None:
    outbox.keep(replace(parent, measurements=(Measurement(step=1, time=1.0, metrics={"a": float("nan")}),)))
    (path,) = outbox.kept()
    outbox.drop(path, the_one(outbox))
    assert outbox.kept() == []


def test_a_failure_that_states_no_epochs_leaves_those_that_were_never_sent(outbox: Outbox, phase: RunRecord) -> None:
    outbox.keep(replace(phase, status="RUNNING"))
    outbox.keep(replace(phase, status="FAILED", measurements=()))
    found = the_one(outbox)
    assert found.status == "FAILED"
    assert found.measurements == phase.measurements


def test_two_measurements_at_one_step_are_both_kept_and_the_later_value_counts(
    outbox: Outbox, parent: RunRecord
) -> None:
    def measured(time: float, **metrics: float) -> Measurement:
        return Measurement(step=1, time=time, metrics=metrics)

    outbox.keep(replace(parent, measurements=(measured(1.0, a=1.0, b=2.0),)))
    outbox.keep(replace(parent, measurements=(measured(2.0, a=3.0), measured(3.0, c=4.0))))
    assert the_one(outbox).measurements == (measured(1.0, b=2.0), measured(2.0, a=3.0), measured(3.0, c=4.0))


def test_who_has_not_heard_that_a_run_finished_does_not_make_it_go_on(outbox: Outbox, phase: RunRecord) -> None:
    outbox.keep(phase)
    outbox.keep(replace(phase, status="RUNNING", checkpoint=None, artifacts={}, measurements=phase.measurements[:1]))
    assert replace(the_one(outbox), time=0.0) == phase
    outbox.keep(replace(phase, status="FAILED"))
    assert the_one(outbox).status == "FAILED"


@pytest.mark.parametrize("content", [b"", b'{"key": "wa', b"\0" * 64, b"[]", b'{"key": "walk-1"}', b"\xff\xfe"])
def test_a_damaged_file_is_put_aside_and_said(
    outbox: Outbox, parent: RunRecord, phase: RunRecord, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.keep(parent)
    (path,) = outbox.kept()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert outbox.read(path) is None
    assert [file.read_bytes() for file in outbox.damaged()] == [content]
    assert f"{path} holds no run record: it is now {outbox.damaged()[0]}" in caplog.text
    assert outbox.kept() == []
    outbox.keep(phase)
    assert replace(the_one(outbox), time=0.0) == phase
    (path,) = outbox.kept()
    path.write_bytes(content)
    outbox.keep(phase)
    assert replace(the_one(outbox), time=0.0) == phase
    assert len(outbox.damaged()) == 2


def test_a_record_holds_no_password(outbox: Outbox, parent: RunRecord) -> None:
    address = "s3://key:s3/cr et@bucket/x?secret_key=t0p"
    outbox.keep(replace(parent, tags={"reid.checkpoint": address}, params={"data.source": address, "seed": "0"}))
    assert the_one(outbox).params == {"data.source": "s3://key:***@bucket/x?secret_key=***", "seed": "0"}
    (path,) = outbox.kept()
    assert not {"cr et", "t0p"} & set(path.read_text().split('"'))
    assert "cr et" not in path.read_text() + str(the_one(outbox))


def test_it_is_its_owners_alone(outbox: Outbox, parent: RunRecord) -> None:
    before = os.umask(0o000)
    try:
        outbox.keep(parent)
    finally:
        os.umask(before)
    assert stat.S_IMODE(outbox.folder.stat().st_mode) == 0o700
