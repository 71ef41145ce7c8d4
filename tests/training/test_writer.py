"""Checkpoints that are written while training goes on: what is written is what was, and what goes wrong is heard of."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reid.config import RunConfig, with_settings
from reid.stages import stage_of
from reid.storage import DiskFullError, Place
from reid.training import CheckpointWriter, EpochRecord, PhaseJob, PhaseState, checkpoints_in, load_weights, writer
from reid.training.checkpoint import Save

EPOCHS = 4
Begin = Callable[[], CheckpointWriter]


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    return Place(tmp_path / "baseline")


@pytest.fixture
def job(config: RunConfig) -> PhaseJob:
    config = with_settings(config, {"phases.baseline.epochs": EPOCHS})
    return PhaseJob(config=config, phase="baseline", stage=stage_of(config, "baseline"), store="", start_from=())


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before it is set."""
    gate, write = threading.Event(), writer.write_checkpoint

    def waiting(*arguments: Any, **named: Any) -> Place:
        assert gate.wait(30)
        return write(*arguments, **named)

    monkeypatch.setattr(writer, "write_checkpoint", waiting)
    return gate


class Training:
    """A weight that counts the epochs."""

    def __init__(self, config: RunConfig) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.epoch, self._config = 0, config

    def __call__(self) -> Save:
        self.epoch += 1
        with torch.no_grad():
            self.model.weight.fill_(self.epoch)
        history = tuple(EpochRecord(epoch=epoch + 1, time=1.5, metrics={}) for epoch in range(self.epoch))
        state = PhaseState(phase="baseline", config=self._config, num_identities=2, attributes={}, history=history)
        return Save.of(self.model, self.optimizer, state, {})


def test_training_goes_on_while_what_was_is_written(
    job: PhaseJob, folder: Place, config: RunConfig, gate: threading.Event
) -> None:
    train = Training(config)
    with CheckpointWriter(folder, job) as checkpoints:
        assert checkpoints.after(train()) is None
        assert checkpoints_in(folder) == []
        second = train()  # the weight has moved on, and the first epoch's is written now
        threading.Timer(0.2, gate.set).start()
        told = checkpoints.after(second)
        assert told is not None
        assert told.epoch == 1, "at most one is under way"
        assert load_weights(folder / "epoch_0001")["weight"].item() == 1
        checkpoints.after(train())
        last = checkpoints.after(train())
        assert last is not None
        assert last.epoch == EPOCHS, "the last is waited for"
    assert [place.name for place in checkpoints_in(folder)] == ["epoch_0003", "epoch_0004"]
    assert [load_weights(place)["weight"].item() for place in checkpoints_in(folder)] == [3, 4]


@pytest.mark.parametrize("failing", [1, EPOCHS])
def test_what_could_not_be_written_is_raised_at_the_next_or_at_the_end(
    job: PhaseJob, folder: Place, config: RunConfig, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    write = writer.write_checkpoint

    def full(folder: Place, epoch: int, save: Save, **named: Any) -> Place:
        if epoch == failing:
            raise DiskFullError("the disk is full")
        return write(folder, epoch, save, **named)

    monkeypatch.setattr(writer, "write_checkpoint", full)
    train = Training(config)
    with CheckpointWriter(folder, job) as checkpoints:
        for epoch in range(1, EPOCHS + 1):
            if epoch == min(failing + 1, EPOCHS):
                with pytest.raises(DiskFullError):
                    checkpoints.after(train())
                break
            checkpoints.after(train())


def test_what_is_under_way_as_training_fails_is_finished_or_said(
    job: PhaseJob, folder: Place, config: RunConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_after_an_epoch() -> None:
        with CheckpointWriter(folder, job) as checkpoints:
            checkpoints.after(Training(config)())
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        fail_after_an_epoch()
    assert [place.name for place in checkpoints_in(folder)] == ["epoch_0001"]

    def full(*_: Any, **__: Any) -> Place:
        raise DiskFullError("the disk is full")

    monkeypatch.setattr(writer, "write_checkpoint", full)
    with pytest.raises(RuntimeError, match="the power went"):
        fail_after_an_epoch()
    assert caplog.messages == [f"a checkpoint in {folder} was not written: the disk is full"]


def test_one_that_was_written_meanwhile_is_told_of_though_none_is_due(
    job: PhaseJob, folder: Place, config: RunConfig
) -> None:
    rare = replace(job, config=with_settings(job.config, {"scaling.checkpoint_epochs": 2}))
    train = Training(config)
    with CheckpointWriter(folder, rare) as checkpoints:
        assert checkpoints.after(train()) is None
        assert checkpoints.after(train()) is None
        checkpoints._thread.submit(int).result()  # after it in the one thread
        told = checkpoints.after(train())
        assert told is not None
        assert told.epoch == 2
        last = checkpoints.after(train())
        assert last is not None
        assert last.epoch == EPOCHS
