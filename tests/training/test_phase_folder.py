"""Checkpoints of a phase: the last two are kept, and a damaged one is passed over."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from reid.config import RunConfig, ScalingConfig
from reid.storage import Place
from reid.training import (
    Cadence,
    CheckpointError,
    EpochRecord,
    PhaseState,
    best_checkpoint,
    last_sound_checkpoint,
    phase_folder,
    write_checkpoint,
)
from reid.training.checkpoint import Save
from reid.training.phase_folder import checkpoints_in

Damage = Callable[[Path], object]
DAMAGES: dict[str, Damage] = {
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "emptied": lambda file: file.write_bytes(b""),
    "missing": Path.unlink,
    "zeros at the end": lambda file: file.write_bytes(file.read_bytes()[:-16] + bytes(16)),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.fixture(params=["path", "uri"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    root = tmp_path / "baseline"
    return Place(root if request.param == "path" else root.as_uri())


def save_of(config: RunConfig, epochs: int) -> Save:
    model = nn.Linear(4, 4)
    history = tuple(EpochRecord(epoch=n + 1, time=1.5, metrics={"train/total": 0.5}) for n in range(epochs))
    state = PhaseState(phase="baseline", config=config, num_identities=12, attributes={}, history=history)
    return Save.of(model, torch.optim.Adam(model.parameters()), state, {"a.png": b"a"})


@pytest.fixture
def written(config: RunConfig, folder: Place) -> list[Place]:
    for epoch in (1, 2, 3):
        write_checkpoint(folder, epoch, save_of(config, epoch))
    return checkpoints_in(folder)


def on_disk(place: Place) -> Path:
    return Path(place.removeprefix("file://"))


def test_the_last_two_are_kept_and_nothing_else(written: list[Place], folder: Place) -> None:
    assert [place.name for place in written] == ["epoch_0002", "epoch_0003"]
    assert sorted(path.name for path in on_disk(folder).iterdir()) == ["epoch_0002", "epoch_0003"]
    assert last_sound_checkpoint(folder) == written[-1]


@pytest.mark.parametrize(
    ("epochs", "minutes", "first", "expected"),
    [
        (1, 0, 1, [1, 2, 3, 4, 5, 6, 7]),
        (3, 0, 1, [3, 6, 7]),
        (3, 0, 3, [5, 7]),
        (9, 0, 1, [7]),
        (1, 3, 1, [2, 4, 6, 7]),
        (3, 3, 1, [3, 6, 7]),
        (1, 60, 1, [7]),
    ],
)
def test_a_checkpoint_is_due_after_so_many_epochs_and_minutes_and_after_the_last(
    monkeypatch: pytest.MonkeyPatch, epochs: int, minutes: float, first: int, expected: list[int]
) -> None:
    """Of seven epochs of two minutes each, gone on with before the first."""
    now = [0.0]
    monkeypatch.setattr(phase_folder.time, "monotonic", lambda: now[0])
    cadence = Cadence(ScalingConfig(checkpoint_epochs=epochs, checkpoint_minutes=minutes), 7)
    due = []
    for epoch in range(first, 8):
        now[0] += 120
        if cadence.is_due(epoch):
            due.append(epoch)
    assert due == expected


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.1, 0.5, 0.3, 0.2, 0.4], [2, 4, 5]),
        ([0.5, 0.1, 0.5, 0.2, 0.4], [1, 4, 5]),
        ([0.1, 0.2, 0.3, 0.4, 0.5], [4, 5]),
        ([None, 0.1, None, None, None], [2, 4, 5]),
        ([None] * 5, [4, 5]),
    ],
)
def test_the_best_on_held_out_identities_is_kept_beside_the_last(
    config: RunConfig, folder: Place, scores: list[float | None], kept: list[int]
) -> None:
    for epoch in range(1, 6):
        save = save_of(config, epoch)
        history = [
            replace(record, metrics={} if score is None else {"eval/mAP": score})
            for record, score in zip(save.state.history, scores[:epoch], strict=True)
        ]
        save = replace(save, state=replace(save.state, history=tuple(history)))
        write_checkpoint(folder, epoch, save, judged_by="eval/mAP")
    assert [place.name for place in checkpoints_in(folder)] == [f"epoch_{epoch:04d}" for epoch in kept]
    best = best_checkpoint(folder, save.state.history, "eval/mAP")
    assert best == (folder / f"epoch_{kept[0] if len(kept) == 3 else 5:04d}" if any(scores) else None)
    assert last_sound_checkpoint(folder) == folder / "epoch_0005"


def test_there_may_be_none(folder: Place) -> None:
    assert last_sound_checkpoint(folder) is None


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "phase.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_last_one_is_passed_over_in_one_line(
    written: list[Place], folder: Place, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    DAMAGES[damage](on_disk(written[-1]) / name)
    with caplog.at_level(logging.WARNING):
        assert last_sound_checkpoint(folder) == written[0]
    if (damage, name) == ("missing", "phase.json"):
        return  # as of a kill while it was uploaded, or deleted: no checkpoint was there
    (line,) = caplog.messages
    assert f"{written[-1]}/{name} " in line
    assert line.endswith(f": going on from {written[0]}, the one before")


def test_where_none_is_sound_the_error_says_what_to_do(written: list[Place], folder: Place) -> None:
    for place in written:
        DAMAGES["emptied"](on_disk(place) / "model.safetensors")
    said = f"{written[0]}/model.safetensors is damaged .*delete the folder {folder} and give the same command"
    with pytest.raises(CheckpointError, match=said):
        last_sound_checkpoint(folder)


def test_a_damaged_one_is_replaced(written: list[Place], folder: Place, config: RunConfig) -> None:
    DAMAGES["emptied"](on_disk(written[-1]) / "optimizer.safetensors")
    write_checkpoint(folder, 3, save_of(config, 3))
    assert checkpoints_in(folder) == written
    assert last_sound_checkpoint(folder) == written[-1]


def test_its_size_is_known_before_it_is_written(written: list[Place], config: RunConfig) -> None:
    files = [file for file in on_disk(written[-1]).rglob("*") if file.is_file()]
    size = save_of(config, 3).size
    assert 0.5 * size < sum(file.stat().st_size for file in files) < 1.5 * size
