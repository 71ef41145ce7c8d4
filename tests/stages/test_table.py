"""The stage table: what is asked of a stage is asked of its bundle."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from reid.config import ConfigError, RunConfig, load_config
from reid.data import open_dataset
from reid.models import FGSAM
from reid.stages import STAGES, built_on, check_phases, find_stage, load_describer, load_model, stage_of
from reid.training import (
    CheckpointError,
    Labels,
    PhaseState,
    Save,
    make_optimizer,
    require_trainable,
    without_training_modules,
)

CPU = torch.device("cpu")


@pytest.fixture
def config(config: RunConfig) -> RunConfig:
    """The smoke preset with a phase of every stage."""
    phases = {
        name: config.phases.get(name, config.phases["baseline"]).model_copy(update={"stage": name}) for name in STAGES
    }
    models = load_config(preset="san_smoke").models
    return config.model_copy(update={"phases": phases, "models": models})


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_stands_under_its_name_and_inherits_from_stages_that_are_there(name: str) -> None:
    stage = STAGES[name]
    assert stage.name == name
    assert set(stage.inherits) <= STAGES.keys()


@pytest.mark.parametrize("name", STAGES)
def test_modules_that_a_stage_names_are_its_models(name: str, config: RunConfig, stores: dict[str, Path]) -> None:
    stage = STAGES[name]
    labels = Labels.of(open_dataset(stores[stage.data.name]))
    state = torch.get_rng_state()
    model = stage.build(config, labels, pretrained=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert {*stage.pretrained, *stage.training_only} <= dict(model.named_children()).keys()


def test_an_unknown_stage_is_named_beside_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"invalid stage 'finale', expected one of pose, baseline, .*extensions="):
        find_stage("finale")


def test_all_phases_that_cannot_be_are_named_at_once() -> None:
    settings = ["phases.final.stage=finale", "phases.pose.images_per_identity=4"]
    with pytest.raises(ConfigError) as caught:
        check_phases(load_config(preset="smoke", overrides=settings))
    heading, pose, final = str(caught.value).splitlines()
    assert heading == "the configuration has errors:"
    assert pose == "  phases.pose: stage pose has no identities: leave images_per_identity out"
    assert final.startswith("  phases.final.stage: invalid stage 'finale'")


def test_what_no_data_could_make_fit_is_named_once_however_many_phases_have_it() -> None:
    missing = ("model.weights=nowhere.pth", "model.pose_net.weights=nowhere.pth")
    with pytest.raises(ConfigError) as caught:
        check_phases(load_config(preset="smoke", overrides=missing))
    _, *problems = str(caught.value).splitlines()
    assert [problem.split()[0] for problem in problems] == ["model.pose_net.weights:", "model.weights:"]
    with pytest.raises(ConfigError, match=r"model\.trunk: invalid trunk 'resnet999', expected one of "):
        check_phases(load_config(preset="smoke", overrides=["model.trunk=resnet999"]))
    without = ["model.pose_net.weights=nowhere.pth", "phases.pose=null", "model.pose=false"]
    check_phases(load_config(preset="smoke", overrides=without))


def test_a_phase_inherits_from_the_stages_that_its_own_names(config: RunConfig) -> None:
    former = {"first": "pose", "second": "baseline", "third": "intermediate"}
    assert built_on(config, "baseline", former) == ("second", "third")
    assert built_on(config, "pose", former) == ("first", "third")
    assert built_on(config, "final", former) == ("first", "second", "third")
    assert built_on(config, "strong_baseline", former) == ("second",)


@pytest.mark.parametrize("name", STAGES)
def test_a_rate_of_a_module_that_a_stage_lacks_is_found_before_training(
    name: str, config: RunConfig, stores: dict[str, Path]
) -> None:
    dataset = open_dataset(stores[STAGES[name].data.name])
    require_trainable(STAGES[name], config, name, dataset)
    phase = config.phases[name].model_copy(update={"rates": {"sunroof": 0.1}})
    changed = config.model_copy(update={"phases": {name: phase}})
    with pytest.raises(ValueError, match=rf"phases\.{name}: rates: the model has no module 'sunroof'"):
        require_trainable(STAGES[name], changed, name, dataset)


def saved(config: RunConfig, model: nn.Module, labels: Labels, folder: Path, phase: str) -> str:
    attributes = dict(labels.attributes)
    state = PhaseState(
        phase=phase, config=config, num_identities=labels.num_identities, attributes=attributes, history=()
    )
    folder.mkdir()
    Save.of(model, make_optimizer(model, config.phases[phase]), state, {})(folder)
    return str(folder)


@pytest.mark.parametrize("name", STAGES)
def test_a_checkpoint_gives_its_model_back(
    name: str, config: RunConfig, stores: dict[str, Path], tmp_path: Path
) -> None:
    labels = Labels.of(open_dataset(stores[STAGES[name].data.name]))
    model = STAGES[name].build(config, labels, pretrained=False)
    place = saved(config, model, labels, tmp_path / name, name)
    trained = load_model(place, config, CPU)
    assert trained.stage is stage_of(config, name)
    assert not trained.model.training
    for key, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key])
    if not trained.stage.describes:
        with pytest.raises(CheckpointError, match=f"is of stage {name}, which has no descriptor: take another phase"):
            load_describer(place, config, CPU)


def test_what_only_training_needs_is_gone_from_a_loaded_model(
    config: RunConfig, stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder beside the baseline: trained, saved, and no part of what is used; the descriptor is the same."""

    class WithDecoder(FGSAM):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            self.decoder = nn.Conv2d(512, 3, 1)

    def build(config: RunConfig, labels: Labels, *, pretrained: bool) -> nn.Module:
        return WithDecoder(
            config.model, stage="baseline", num_identities=labels.num_identities, attributes=labels.attributes
        )

    stage = replace(STAGES["baseline"], build=build, training_only=("decoder",))
    monkeypatch.setitem(STAGES, "baseline", stage)
    labels = Labels.of(open_dataset(stores["reid"]))
    model = build(config, labels, pretrained=False).eval()
    place = saved(config, model, labels, tmp_path / "baseline", "baseline")
    trained = load_model(place, config, CPU)
    assert [name for name in trained.model.state_dict() if name.startswith("decoder")] == []
    images_BCHW = torch.rand(2, 3, 32, 16)
    with torch.no_grad():
        expected_BD = model(images_BCHW).descriptor_BD
        assert torch.equal(trained.model(images_BCHW).descriptor_BD, expected_BD)
        assert torch.equal(without_training_modules(model, stage)(images_BCHW).descriptor_BD, expected_BD)
