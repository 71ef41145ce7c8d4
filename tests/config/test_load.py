"""From preset, file and overrides to one configuration, and back."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from reid.config import (
    LAYOUTS,
    MODELS,
    PRESETS,
    ConfigError,
    Layout,
    ModelConfig,
    RunConfig,
    Section,
    flatten,
    load_config,
    validate_config,
    with_settings,
)


def problems(**kwargs: Any) -> list[str]:
    """The lines of the error that a configuration raises, without its heading."""
    with pytest.raises(ConfigError) as error:
        load_config(**kwargs)
    heading, *lines = str(error.value).splitlines()
    assert heading == "the configuration has errors:"
    return [line.strip() for line in lines]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_complete_and_valid(preset: str) -> None:
    config = load_config(preset=preset)
    fgsam = ["pose", "baseline", "intermediate", "final"]
    san = ["texture_generator", "san_baseline", "san"]
    kind = preset.partition("_")[0]
    expected = {"strong": ["strong_baseline"], "san": san, "models": [*fgsam, *san]}.get(kind, fgsam)
    assert list(config.phases) == expected
    assert [phase.stage for phase in config.phases.values()] == list(config.phases)


def test_the_paper_preset_holds_the_papers_figures() -> None:
    config = load_config(preset="paper")
    schedule = {
        name: (phase.learning_rate, phase.halve_every, phase.epochs)
        for name, phase in config.phases.items()
        if name != "pose"
    }
    assert schedule == {"baseline": (1e-3, 50, 150), "intermediate": (1e-3, 50, 60), "final": (1e-4, 100, 400)}
    assert (config.loss.alpha, config.loss.beta, config.loss.gamma) == (0.5, 0.01, 2)
    assert config.model.layout == "six_parts"
    assert config.model.resolved_layout().descriptor_dim == 2048
    assert (config.phases["final"].batch_size, config.phases["final"].images_per_identity) == (64, 4)


def test_an_override_beats_the_file_and_the_file_beats_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("seed: 7\nloss: {gamma: 3, alpha: 0.25}\n")
    config = load_config(preset="smoke", file=file, overrides=["loss.gamma=4"])
    preset = load_config(preset="smoke")
    assert (config.seed, config.loss.alpha, config.loss.gamma) == (7, 0.25, 4)
    assert config.loss.beta == preset.loss.beta
    assert config.phases == preset.phases


def test_the_same_settings_by_file_and_by_override_are_the_same_run(tmp_path: Path) -> None:
    settings = {"phases": {"final": {"epochs": 3}}, "model": {"layout": "whole_body"}, "data": {"source": None}}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(settings))
    overrides = ["phases.final.epochs=3", "model.layout=whole_body", "data.source=null"]
    assert load_config(file=file) == load_config(overrides=overrides)


@pytest.mark.parametrize(
    ("value", "expected"), [("2", (2, 2)), ("0", (0, 0)), ("[1, 4]", (1, 4)), ("[3, 3]", (3, 3)), ("[1,4]", (1, 4))]
)
def test_workers_are_a_number_or_a_range(value: str, expected: tuple[int, int]) -> None:
    scaling = load_config(overrides=[f"scaling.num_workers={value}"]).scaling
    assert (scaling.min_workers, scaling.max_workers) == expected


@pytest.mark.parametrize("preset", ["demo", "paper"])
def test_a_layout_may_be_written_out(preset: str) -> None:
    written = "{plenary_dim: 8, parts: [{name: face, joints: [nose], dim: 4}]}"
    layout = load_config(preset=preset, overrides=[f"model.layout={written}"]).model.resolved_layout()
    assert isinstance(layout, Layout)
    assert layout.descriptor_dim == 12


def test_a_new_phase_may_be_added() -> None:
    config = load_config(overrides=["phases.more={stage: final, epochs: 1, learning_rate: 0.1, halve_every: 1}"])
    assert list(config.phases)[-1] == "more"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("scaling.num_workers=-1", "scaling.num_workers: must be a whole number from 0 to 4096, or [min, max]"),
        ("scaling.num_workers=two", "(given: 'two')"),
        ("scaling.num_workers=[3, 1]", "with 1 ≤ min ≤ max for an elastic run (given: [3, 1])"),
        ("scaling.num_workers=[0, 2]", "(given: [0, 2])"),
        ("scaling.num_workers=[1, 2, 3]", "(given: [1, 2, 3])"),
        ("scaling.num_workers=1.5", "(given: 1.5)"),
        ("scaling.num_workers=null", "(given: None)"),
        ("model.layout=six_part", "model.layout: invalid layout 'six_part', expected one of dataset, six_parts"),
        ("model.layout=3", "model.layout: must be text"),
        ("model.layout={parts: 3}", "model.layout.parts: must be a list (given: 3)"),
        ("model.layout={parst: []}", "model.layout.parst: unknown key (did you mean 'parts'?)"),
        ("model.layout={parts: [{name: a, joint: [nose], limbs: [neck-nose]}]}", "model.layout.parts.0.joint: unknown"),
        ("model.layout={parts: [{name: a, joints: [nos]}]}", "parts.0: part 'a': invalid joint 'nos', expected one of"),
        ("model.layout={parts: [{name: a, limbs: [nose]}]}", "parts.0: part 'a': invalid limb 'nose', expected one of"),
        ("model.layout={parts: [{name: a}]}", "model.layout.parts.0: part 'a' has neither joints nor limbs"),
        ("model.layout={parts: [{name: plenary, joints: [nose]}]}", "model.layout: part name 'plenary' is taken"),
        ("phases.final.epoch=3", "phases.final.epoch: unknown key (did you mean 'epochs'?)"),
        ("phases.final.epochs=0", "phases.final.epochs: must be greater than or equal to 1 (given: 0)"),
        ("phases.final.epochs=many", "phases.final.epochs: must be a whole number (given: 'many')"),
        (
            "phases.fnal.epochs=3",
            "phases.fnal: is not in the preset (did you mean 'final'?); to add it, give it stage,",
        ),
        (
            "phases={a/b: {stage: pose, epochs: 1, learning_rate: 0.1, halve_every: 1}}",
            "phases.a/b: must match pattern",
        ),
        ("phases=3", "phases: must be a mapping of settings (given: 3)"),
        ("phases=[1]", "phases: must be a mapping of settings (given: [1])"),
        ("phases.final.batch_size=10", "phases.final: batch_size = 10 is no multiple of images_per_identity = 4"),
        ("phases.final.batch_size=4", "phases.final: a P×K batch needs two identities"),
        ("loss=3", "loss: must be a mapping of settings (given: 3)"),
        ("loss.gama=2", "loss.gama: unknown key (did you mean 'gamma'?)"),
        ("loss.alpha=.nan", "loss.alpha: must be a finite number"),
        ("loss.mining=all", "loss.mining: must be 'batch_all' or 'batch_hard' (given: 'all')"),
        ("gpu=2", "gpu: unknown key, expected one of name, storage, cache_gb, seed"),
        ("data.height=100", "data.height: must be a multiple of 8 (given: 100)"),
        ("channels_last=maybe", "channels_last: must be true or false (given: 'maybe')"),
        ("storage=''", "storage: is empty: give a folder, or a URI"),
        ("name=../elsewhere", "name: must match pattern"),
    ],
)
def test_each_problem_is_one_line_with_its_place(override: str, problem: str) -> None:
    (line,) = problems(overrides=[override])
    assert problem in line


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("loss: {alpha: -1, gama: 2}\nmodel: {layout: seven}\n")
    lines = problems(file=file, overrides=["phases.final.epochs=x", "phases.fnal.epochs=1", "scaling.num_workers=-1"])
    places = [line.split(": ")[0] for line in lines]
    assert sorted(places) == [
        "loss.alpha",
        "loss.gama",
        "model.layout",
        "phases.final.epochs",
        "phases.fnal",
        "scaling.num_workers",
    ]


def test_every_phase_too_small_for_the_workers_is_named() -> None:
    lines = problems(preset="paper", overrides=["scaling.num_workers=[1, 65]"])
    assert [line.split(":")[0] for line in lines] == [
        f"phases.{phase}.batch_size" for phase in ("pose", "baseline", "intermediate", "final")
    ]
    assert "gives 64 images a batch for scaling.num_workers = 65" in lines[0]
    assert "gives 16 identities a batch" in lines[-1]


def test_malformed_settings_are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"invalid settings \['seed', '=3', 'a..b=1'\]: write dotted.key=value"):
        load_config(overrides=["seed", "=3", "seed=1", "a..b=1"])


@pytest.mark.parametrize("override", ["data.source=[a", "data.source=${nowhere}"])
def test_a_value_that_is_no_yaml_names_its_setting(override: str) -> None:
    with pytest.raises(ConfigError, match=r"invalid setting 'data\.source=.*put the value in quotes"):
        load_config(overrides=[override])


def test_an_unknown_preset_names_the_others() -> None:
    with pytest.raises(ConfigError, match="invalid preset 'papper' \\(did you mean 'paper'\\?\\)"):
        load_config(preset="papper")
    with pytest.raises(
        ConfigError, match="invalid preset 'x', expected one of demo, models_demo, paper, san, san_demo"
    ):
        load_config(preset="x")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"seed: [1", "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"- seed", "must hold a mapping of settings"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"run\.yaml {problem}"):
        load_config(file=file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no configuration file .*nowhere\.yaml: check --config"):
        load_config(file=tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("tree", [None, [], {}, {"phases": {}}, {"phases": {0: {"stage": "pose"}}}, {1: 2}])
def test_any_tree_is_answered_with_a_config_error(tree: Any) -> None:
    with pytest.raises(ConfigError, match="the configuration has errors"):
        validate_config(tree)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("mode", ["python", "json"])
def test_dump_and_validate_round_trip(preset: str, mode: str) -> None:
    config = load_config(preset=preset, overrides=["scaling.num_workers=[1, 2]"])
    dumped = config.model_dump(mode=mode)
    if mode == "json":
        dumped = json.loads(json.dumps(dumped))
    assert validate_config(dumped) == config


@settings(deadline=None)
@given(
    alpha=st.floats(0, 4),
    epochs=st.integers(1, 10**6),
    workers=st.one_of(st.integers(0, 8), st.tuples(st.integers(1, 4), st.integers(4, 8))),
)
def test_settings_survive_the_text_of_an_override(alpha: float, epochs: int, workers: int | tuple[int, int]) -> None:
    written = list(workers) if isinstance(workers, tuple) else workers
    config = load_config(
        overrides=[f"loss.alpha={alpha!r}", f"phases.final.epochs={epochs}", f"scaling.num_workers={written}"]
    )
    assert config.loss.alpha == alpha
    assert config.phases["final"].epochs == epochs
    assert config.scaling.num_workers == workers


def test_nothing_in_the_tree_can_be_changed() -> None:
    config = load_config()

    def sections(section: BaseModel) -> list[BaseModel]:
        values = [getattr(section, name) for name in type(section).model_fields]
        values += list(config.phases.values()) if section is config else []
        return [section, *(inner for value in values if isinstance(value, BaseModel) for inner in sections(value))]

    found = sections(config)
    assert len(found) > 10
    for section in found:
        name = next(iter(type(section).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, name, None)


def test_storage_comes_from_the_environment_and_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REID_STORAGE", str(tmp_path / "a"))
    assert load_config().storage == str(tmp_path / "a")
    assert load_config(overrides=["storage=s3://bucket/reid"]).storage == "s3://bucket/reid"
    monkeypatch.chdir(tmp_path)
    assert load_config(overrides=["storage=b"]).storage == str(tmp_path / "b")
    monkeypatch.delenv("REID_STORAGE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config().storage == str(tmp_path / "reid")
    assert load_config(overrides=["storage=~/c"]).storage == str(tmp_path / "c")


def test_flatten_names_every_setting_once() -> None:
    config = load_config(preset="paper", overrides=["scaling.num_workers=[1, 2]"])
    flat = flatten(config)
    assert flat["phases.final.epochs"] == "400"
    assert flat["model.layout"] == "six_parts"
    assert flat["scaling.num_workers"] == "[1, 2]"
    assert flat["data.source"] == "None"
    assert flatten(load_config(preset="demo"))["model.layout.plenary_dim"] == "128"

    def leaves(value: Any) -> int:
        return sum(map(leaves, value.values())) if isinstance(value, dict) and value else 1

    assert len(flat) == leaves(config.model_dump())


def test_every_setting_says_what_it_means() -> None:
    undocumented = {"epochs", "identity_weight", "attribute_weight", "triplet_weight", "cpus_per_worker"}
    undocumented |= {"experiment", "seed", "name", "parts"}  # plain from the name

    def visit(section: type[BaseModel]) -> None:
        assert section.__doc__
        for name, field in section.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                visit(field.annotation)
            elif name not in undocumented:
                assert field.description, f"{section.__name__}.{name}"

    visit(RunConfig)


def test_null_takes_a_phase_out() -> None:
    assert list(load_config(preset="demo", overrides=["phases.pose=null"]).phases) == [
        "baseline",
        "intermediate",
        "final",
    ]


def test_a_configuration_is_complete_however_it_was_loaded(tmp_path: Path) -> None:
    paper = load_config(preset="paper")
    (tmp_path / "manifest.yaml").write_text("layout: three_parts\n")
    own = [f"data.source={tmp_path}", "data.name=folder"]
    for config, layout in (
        (paper, "six_parts"),
        (validate_config(paper.model_dump() | {"model": {"layout": "dataset"}}), "six_parts"),
        (with_settings(paper, {"model.layout": "dataset"}), "six_parts"),
        (load_config(preset="paper", overrides=own), "three_parts"),
    ):
        assert config.model.resolved_layout() == LAYOUTS[layout]
    with pytest.raises(ConfigError, match=r"model\.layout: the manifest of coco names none; choose one"):
        load_config(preset="paper", overrides=["data.name=coco"])


def test_a_layout_of_no_dataset_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"model\.layout: dataset is of no dataset here: name a layout, or"):
        ModelConfig(layout="dataset").resolved_layout()


class OtherModel(Section):
    width: int = Field(8, ge=1)


def test_another_models_settings_are_checked_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "other", OtherModel)
    assert load_config(preset="smoke").settings_of("other") == OtherModel()
    config = load_config(preset="smoke", overrides=["models.other.width=3"])
    assert config.settings_of("other") == OtherModel(width=3)
    assert validate_config(config.model_dump()) == config
    assert with_settings(config, {"models.other.width": 5}).settings_of("other") == OtherModel(width=5)
    assert flatten(config)["models.other.width"] == "3"
    assert problems(
        overrides=["models.other.widht=1", "models.another.x=1", "loss.alpha=-1", "models.other.width=0"]
    ) == [
        "loss.alpha: must be greater than or equal to 0 (given: -1)",
        "models.another: unknown model (did you mean 'other'?); load the extension that has it (extensions)",
        "models.other.width: must be greater than or equal to 1 (given: 0)",
        "models.other.widht: unknown key (did you mean 'width'?)",
    ]


def test_layouts_to_search_must_exist() -> None:
    (line,) = problems(overrides=["search.layouts=[six_parts, seven_parts]"])
    assert line.startswith("search.layouts: invalid layout 'seven_parts', expected some of six_parts")
