"""Descriptors of single images, however they are shared out, are those that the evaluation compares."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid.config import RunConfig
from reid.data import open_dataset
from reid.data.shards import numeric
from reid.experiments.describing import Extractor, shares_of
from reid.models import FGSAM
from reid.stages import describe, load_describer
from reid.storage import Storage
from reid.training.checkpoint import CheckpointError, PhaseState, Save

CPU = torch.device("cpu")


def saved(config: RunConfig, stores: dict[str, Path], folder: Path, stage: str) -> str:
    attributes = open_dataset(stores["reid"]).attributes
    model = FGSAM(config.model, stage=stage, num_identities=12, attributes=attributes)
    state = PhaseState(phase=stage, config=config, num_identities=12, attributes=attributes, history=())
    folder.mkdir()
    Save.of(model, torch.optim.Adam(model.parameters()), state, {})(folder)
    return str(folder)


@pytest.fixture
def checkpoint(config: RunConfig, stores: dict[str, Path], tmp_path: Path) -> str:
    return saved(config, stores, tmp_path / "final", "final")


def test_a_store_is_described_as_the_evaluation_does(
    config: RunConfig, stores: dict[str, Path], checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid.experiments.describing.SHARE_ROWS", 17)
    dataset = open_dataset(stores["reid"])
    shares = shares_of(str(stores["reid"]), Storage.of(config), None)
    assert len(shares) == sum(-(-len(split) // 17) for split in dataset.splits.values())
    extractor = Extractor(config, checkpoint, str(stores["reid"]), CPU)
    rows = [extractor(share).rows for share in shares]
    model = load_describer(checkpoint, config, CPU).model
    for name, split in dataset.splits.items():
        own = [batch for batch, share in zip(rows, shares, strict=True) if share.split == name]
        assert [text for batch in own for text in batch["name"].to_pylist()] == split.names
        assert [pid for batch in own for pid in batch["pid"].to_pylist()] == split.pids_N.tolist()
        assert [camid for batch in own for camid in batch["camid"].to_pylist()] == split.camids_N.tolist()
        assert {text for batch in own for text in batch["split"].to_pylist()} == {name}
        expected_ND, _ = describe(model, dataset, name, config, CPU, torch.float32)
        found_ND = torch.from_numpy(np.concatenate([numeric(batch["descriptor"]) for batch in own]))
        torch.testing.assert_close(found_ND, expected_ND, rtol=0, atol=1e-5)


def test_a_folder_gives_what_can_be_read_and_names_the_rest(
    config: RunConfig, stores: dict[str, Path], checkpoint: str, tmp_path: Path
) -> None:
    split = open_dataset(stores["reid"]).splits["query"]
    folder = tmp_path / "images"
    folder.mkdir()
    names = [f"{index}.png" for index in range(5)]
    for name, image_HW3 in zip(names, split.gather(range(5)).numpy(), strict=True):
        Image.fromarray(image_HW3).save(folder / name)
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:100])
    (folder / "3.png").write_text("<html>")
    (share,) = shares_of(str(folder), Storage.of(config), names)
    described = Extractor(config, checkpoint, str(folder), CPU)(share)
    assert described.rows["name"].to_pylist() == ["0.png", "2.png", "4.png"]
    assert described.rows["pid"].to_pylist() == [None] * 3
    for name, complaint in zip(("1.png", "3.png"), described.unreadable, strict=True):
        assert str(folder / name) in complaint
    model = load_describer(checkpoint, config, CPU).model
    expected_ND, _ = describe(model, open_dataset(stores["reid"]), "query", config, CPU, torch.float32)
    found_ND = torch.from_numpy(np.array(numeric(described.rows["descriptor"])))
    torch.testing.assert_close(found_ND, expected_ND[[0, 2, 4]], rtol=0, atol=1e-5)

    (share,) = shares_of(str(folder), Storage.of(config), ["1.png", "3.png"])
    described = Extractor(config, checkpoint, str(folder), CPU)(share)
    assert described.rows is None
    assert len(described.unreadable) == 2


def test_the_pose_phase_has_no_descriptors(config: RunConfig, stores: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = saved(config, stores, tmp_path / "pose", "pose")
    with pytest.raises(CheckpointError, match="is of stage pose, which has no descriptor: take another phase's"):
        load_describer(checkpoint, config, CPU)
