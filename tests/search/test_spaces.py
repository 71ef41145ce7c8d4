"""The spaces that come with the project: what they draw is trainable, and they begin with the paper's values."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from reid.config import LAYOUTS, Layout, Part, RunConfig, load_config, with_settings
from reid.config.body import POSE_CHANNELS
from reid.search.chosen import check_space, find_space
from reid.search.layouts import branch_layout
from reid.search.spaces import SPACES, focal_triplet, start_values

CONFIGS = {
    "smoke": (),
    "demo": (),
    "paper": ("model.layout=dataset", "data.name=embedded"),
    "eight parts": ("model.layout=eight_parts",),
    "whole body": ("model.layout=whole_body",),
    "shuffled": ("phases.final.images_per_identity=null",),
}
OF_SAN = {"san_demo": (), "san": ("data.name=embedded",)}
TRIED = [(preset, name) for preset in CONFIGS for name in SPACES if name != "san"] + [
    (preset, name) for preset in OF_SAN for name in ("san", "optimizer")
]


def config_of(name: str) -> RunConfig:
    preset = name if name in ("smoke", "demo", "paper", *OF_SAN) else "demo"
    config = load_config(preset=preset, overrides=(CONFIGS | OF_SAN)[name])
    return with_settings(config, {"model.layout": "six_parts"}) if config.model.layout == "dataset" else config


def draws(space: Callable[..., Any], config: RunConfig, count: int = 150) -> list[tuple[dict[str, Any], RunConfig]]:
    """Parameters and configurations of random trials."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = []
    for _ in range(count):
        trial = study.ask()
        settings = space(trial, config)
        drawn.append((trial.params, with_settings(config, settings)))
    return drawn


@pytest.mark.parametrize(("preset", "name"), TRIED)
def test_the_first_trial_is_the_configuration_as_it_is(preset: str, name: str, dataset: Any) -> None:
    config, space = config_of(preset), find_space(name)
    first = check_space(space, config, dataset)
    assert first
    _, changed = space.configure(optuna.trial.FixedTrial(first), config)
    assert changed.model.resolved_layout() == config.model.resolved_layout()
    same_layout = {"model": config.model.model_copy(update={"layout": changed.model.layout})}
    assert changed == config.model_copy(update=same_layout)


def test_the_papers_values_are_those_of_its_text() -> None:
    values = start_values(config_of("paper"))
    assert {name: values[f"loss.{name}"] for name in ("alpha", "beta", "gamma", "mining", "triplet")} == {
        "alpha": 0.5,
        "beta": 0.01,
        "gamma": 2.0,
        "mining": "batch_all",
        "triplet": "focal",
    }
    assert values["layout"] == "six_parts"
    assert {values[f"layout.six_parts.{part.name}.dim"] for part in LAYOUTS["six_parts"].parts} == {256}


def test_what_only_the_focal_loss_has_is_drawn_for_it_alone() -> None:
    kinds: set[str] = set()
    for params, _ in draws(focal_triplet, config_of("demo"), count=40):
        is_focal = params["loss.triplet"] == "focal"
        assert ("loss.beta" in params) == ("loss.gamma" in params) == is_focal
        kinds.add(params["loss.triplet"])
    assert kinds == {"focal", "plain"}


@pytest.fixture(scope="module")
def layouts() -> list[tuple[dict[str, Any], Layout]]:
    return [(params, config.model.resolved_layout()) for params, config in draws(branch_layout, config_of("demo"), 400)]


def test_every_layout_and_every_fate_comes_up(layouts: list[tuple[dict[str, Any], Layout]]) -> None:
    seen = Counter(value for params, _ in layouts for value in params.values() if isinstance(value, str))
    assert seen.keys() == {*LAYOUTS, "keep", "drop", "merge", "split"}
    for flag in ("attributes", "triplet"):
        values = {value for params, _ in layouts for name, value in params.items() if name.endswith(flag)}
        assert values == {True, False}


def test_branches_are_drawn_only_for_parts_that_are_there(layouts: list[tuple[dict[str, Any], Layout]]) -> None:
    for params, layout in layouts:
        base, channels = LAYOUTS[params["layout"]], set[int]()
        fates = {part.name: params[f"layout.{params['layout']}.{part.name}"] for part in base.parts}
        for part in base.parts:
            has_dim = f"layout.{params['layout']}.{part.name}.dim" in params
            assert has_dim <= (fates[part.name] != "drop")
            if fates[part.name] != "drop":
                channels |= set(part.channels())
        assert (
            {channel for part in layout.parts for channel in part.channels()} == channels <= set(range(POSE_CHANNELS))
        )
        assert layout.plenary_dim == params["layout.plenary.dim"]
        assert layout.plenary_triplet == params["layout.plenary.triplet"]


def test_a_merged_part_adds_to_the_branch_before(layouts: list[tuple[dict[str, Any], Layout]]) -> None:
    merged = [
        layout
        for params, layout in layouts
        if [params.get(f"layout.three_parts.{name}") for name in ("head", "upper", "lower")]
        == ["keep", "merge", "drop"]
    ]
    assert merged
    head, upper = LAYOUTS["three_parts"].parts[:2]
    for layout in merged:
        first = layout.parts[0]
        assert first.name == "head"
        assert set(first.channels()) == set(head.channels()) | set(upper.channels())
        assert first.attributes == () or first.regions == (*head.regions, *upper.regions)


def test_a_split_part_becomes_a_right_and_a_left_branch(layouts: list[tuple[dict[str, Any], Layout]]) -> None:
    lower = LAYOUTS["three_parts"].parts[2]
    halves = [layout.parts[-2:] for params, layout in layouts if params.get("layout.three_parts.lower") == "split"]
    assert halves
    for right, left in halves:
        assert (right.name, left.name) == ("right_lower", "left_lower")
        assert set(right.channels()) | set(left.channels()) == set(lower.channels())
        assert not any("left" in name for name in right.joints + right.limbs)
        assert not any("right" in name for name in left.joints + left.limbs)
        assert right.triplet
        assert left.triplet


def test_a_layout_that_is_no_variation_of_a_named_one_is_refused(dataset: Any) -> None:
    own = Layout(parts=(Part(name="nose", joints=("nose",)),))
    config = with_settings(config_of("demo"), {"model.layout": own.model_dump()})
    with pytest.raises(ValueError, match=r"model\.layout: divides the body as none of six_parts, .* does"):
        check_space(find_space("branch_layout"), config, dataset)
    check_space(find_space("focal_triplet"), config, dataset)
