import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from reid.config import RunConfig, load_config
from reid.data import open_dataset
from reid.models import FGSAM
from reid.training import EpochRecord
from reid.training.checkpoint import (
    CheckpointError,
    PhaseState,
    Save,
    load_state,
    load_weights,
    restore,
)


def model_of(config: RunConfig, stores: dict[str, Path]) -> tuple[FGSAM, torch.optim.Optimizer]:
    dataset = open_dataset(stores["reid"])
    model = FGSAM(config.model, stage="baseline", num_identities=12, attributes=dataset.attributes, seed=config.seed)
    return model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)


def step(model: FGSAM, optimizer: torch.optim.Optimizer) -> None:
    images_BCHW = torch.rand(4, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    output = model(images_BCHW)
    assert output.identity_logits_BK is not None
    optimizer.zero_grad()
    torch.autograd.backward(output.identity_logits_BK.square().sum())
    optimizer.step()


@pytest.fixture
def state(config: RunConfig, stores: dict[str, Path]) -> PhaseState:
    return PhaseState(
        phase="baseline",
        config=config,
        num_identities=12,
        attributes=open_dataset(stores["reid"]).attributes,
        history=(
            EpochRecord(epoch=1, time=1.5, metrics={"train/total": 0.1}),
            EpochRecord(epoch=2, time=2.5, metrics={"train/total": 1e-9}),
        ),
    )


@pytest.fixture
def saved(config: RunConfig, stores: dict[str, Path], state: PhaseState, tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    model, optimizer = model_of(config, stores)
    step(model, optimizer)
    Save.of(model, optimizer, state, {"cmc.png": b"png"})(folder)
    return folder


@pytest.mark.parametrize("as_location", [str, Path.as_uri])
def test_a_step_after_restoring_is_the_step_that_would_have_come(
    config: RunConfig, stores: dict[str, Path], state: PhaseState, saved: Path, as_location: Callable[[Path], str]
) -> None:
    went_on, its_optimizer = model_of(config, stores)
    step(went_on, its_optimizer)
    step(went_on, its_optimizer)
    restored, optimizer = model_of(replace_seed(config, 1), stores)
    assert restore(as_location(saved), restored, optimizer) == state
    assert state.epoch == 2
    step(restored, optimizer)
    for (name, expected), found in zip(went_on.state_dict().items(), restored.state_dict().values(), strict=True):
        assert torch.equal(expected, found), name
    for expected, found in zip(went_on.parameters(), restored.parameters(), strict=True):
        moments, others = its_optimizer.state[expected], optimizer.state[found]
        assert moments.keys() == others.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(moments[key], others[key]) for key in moments)


def replace_seed(config: RunConfig, seed: int) -> RunConfig:
    return config.model_copy(update={"seed": seed})


def test_a_checkpoint_holds_tensors_text_and_pictures_alone(saved: Path) -> None:
    files = {file.relative_to(saved).as_posix(): file for file in saved.rglob("*") if file.is_file()}
    assert files.keys() == {"model.safetensors", "optimizer.safetensors", "phase.json", "pictures/cmc.png"}
    assert files["pictures/cmc.png"].read_bytes() == b"png"
    assert set(load_weights(str(saved))) == set(safetensors.torch.load_file(saved / "model.safetensors"))
    json.loads((saved / "phase.json").read_text())


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("kept", [0, 7, 0.5])
def test_a_truncated_tensor_file_is_named(
    config: RunConfig, stores: dict[str, Path], saved: Path, name: str, kept: float
) -> None:
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    with pytest.raises(CheckpointError, match=f"{re.escape(str(saved))}/{name} is damaged .*use another checkpoint"):
        restore(str(saved), *model_of(config, stores))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 2}', "\x00\x01"])
def test_a_damaged_phase_file_is_named(saved: Path, text: str) -> None:
    (saved / "phase.json").write_text(text)
    with pytest.raises(CheckpointError, match=f"{re.escape(str(saved))}/phase.json is damaged"):
        load_state(str(saved))


@pytest.mark.parametrize("other", [1, 3])
def test_a_checkpoint_of_an_older_or_newer_release_is_refused(
    config: RunConfig, stores: dict[str, Path], saved: Path, other: int
) -> None:
    tree = json.loads((saved / "phase.json").read_text())
    (saved / "phase.json").write_text(json.dumps(tree | {"format": other}))
    for read in (load_state, lambda place: restore(place, *model_of(config, stores))):
        with pytest.raises(CheckpointError, match=f"format {other} is not 2: use the release that wrote it"):
            read(str(saved))


def test_a_checkpoint_states_the_run_that_records_it(state: PhaseState) -> None:
    assert PhaseState.from_json(replace(state, run="walk-1.champion").to_json()).run == "walk-1.champion"


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path}/nowhere is no checkpoint: it has no phase.json"):
        load_state(f"{tmp_path}/nowhere")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("model.trunk=resnet34", "lacks trunk.layer"),
        ("model.trunk=resnet50", "another architecture"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused(
    stores: dict[str, Path], saved: Path, override: str, complaint: str
) -> None:
    other = load_config(preset="smoke", overrides=[override])
    model, optimizer = model_of(other, stores)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"{complaint}.*use the configuration that wrote it"):
        restore(str(saved), model, optimizer)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_state_reads_back_as_it_was_written(state: PhaseState) -> None:
    assert PhaseState.from_json(json.loads(json.dumps(state.to_json()))) == state
    assert PhaseState.from_json(replace(state, history=()).to_json()).epoch == 0
