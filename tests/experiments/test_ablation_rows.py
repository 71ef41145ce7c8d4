"""Which rows a configuration is compared by, and those of SAN and of both models as trainings."""

from dataclasses import replace
from pathlib import Path

import pytest

from reid.config import RunConfig, load_config, with_settings
from reid.data import Dataset, open_dataset
from reid.experiments.ablation_plan import AblationPlan, plan_ablation
from reid.experiments.ablation_rows import COMPARISONS, Comparison, comparison_of
from reid.experiments.training import Training
from reid.stages import STAGES


@pytest.fixture(scope="module")
def datasets(stores: dict[str, Path]) -> dict[str, Dataset]:
    return {kind: open_dataset(path) for kind, path in stores.items()}


def config(preset: str) -> RunConfig:
    small = {"data.height": 64, "data.width": 32, "ablation.epoch_share": 1.0, "ablation.seeds": 1}
    loaded = load_config(preset=preset)
    batches = {f"phases.{name}.batch_size": 16 for name in loaded.phases}
    return with_settings(loaded, small | batches)


def chain(plan: AblationPlan, slug: str) -> list[Training]:
    by_name = {training.name: training for training in plan.trainings}
    last = by_name[plan.last[slug][0]]
    return [*(by_name[name] for name in last.after), last]


@pytest.mark.parametrize("comparison", COMPARISONS.values(), ids=map(" ".join, COMPARISONS))
def test_rows_are_told_apart_and_compared_with_one_of_the_table(comparison: Comparison) -> None:
    rows = comparison.rows
    slugs = [row.slug for row in rows]
    assert len(set(slugs)) == len({row.name for row in rows}) == len(rows)
    assert all(row.against is None or row.against in slugs for row in rows)
    assert comparison.full in rows
    assert all(row.stage in STAGES for row in rows)


@pytest.mark.parametrize(
    ("preset", "families"), [("demo", ("fgsam",)), ("san_demo", ("san",)), ("models_demo", ("fgsam", "san"))]
)
def test_the_models_of_the_phases_say_what_is_compared(preset: str, families: tuple[str, ...]) -> None:
    assert comparison_of(load_config(preset=preset)) is COMPARISONS[families]


def test_a_model_without_rows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "baseline", replace(STAGES["baseline"], family="other"))
    with pytest.raises(ValueError, match="phases: no ablation is known for fgsam and other, only for fgsam; san"):
        comparison_of(load_config(preset="demo"))


def test_rows_of_san(datasets: dict[str, Dataset]) -> None:
    plan = plan_ablation(config("san_demo"), datasets)
    phases = {slug: [training.phase for training in chain(plan, slug)] for slug in plan.last}
    assert phases == {
        "san-baseline": ["san_baseline"],
        "reconstruction": ["texture_generator", "san"],
        "san": ["texture_generator", "san"],
        "unit-maps": ["texture_generator", "san"],
        "no-skips": ["texture_generator", "san"],
        "true-textures": ["san"],
    }
    settings = {slug: chain(plan, slug)[-1].config.models["san"] for slug in plan.last}
    full = settings["san"].model_dump()
    differing = {
        slug: {name: value for name, value in one.model_dump().items() if value != full[name]}
        for slug, one in settings.items()
        if slug != "san"
    }
    assert differing == {
        "san-baseline": {},
        "reconstruction": {"map_triplet_weight": 0.0},
        "unit-maps": {"map_distance": "unit"},
        "no-skips": {"skips": False},
        "true-textures": {"textures": "own"},
    }
    generators = {chain(plan, slug)[0].name for slug in ("reconstruction", "san", "unit-maps")}
    assert len(generators) == 1, "one generator writes the textures of all that differ in losses alone"
    assert not chain(plan, "no-skips")[0].config.models["san"].skips  # type: ignore[attr-defined]


def test_rows_of_san_see_as_many_person_images(datasets: dict[str, Dataset]) -> None:
    plan = plan_ablation(config("san_demo"), datasets)
    assert len(set(plan.images.values())) == 1
    others = {slug: count for slug, count in plan.other_images.items() if count}
    assert others.keys() == {"reconstruction", "san", "unit-maps", "no-skips"}
    assert len(set(others.values())) == 1


def test_true_textures_are_left_out_where_nobody_knows_them(datasets: dict[str, Dataset]) -> None:
    class Untextured(Dataset):
        has_textures = False

    blind = datasets["reid"]
    without = Untextured(blind.path, blind._manifest)
    plan = plan_ablation(config("san_demo"), datasets | {"reid": without})
    assert "true-textures" not in plan.last


def test_both_models_see_as_many_person_images_as_fgsam_in_all_its_phases(datasets: dict[str, Dataset]) -> None:
    plan = plan_ablation(config("models_demo"), datasets)
    assert [row.name for row in plan.comparison.rows] == ["strong baseline", "FGSAM", "SAN's baseline", "SAN"]
    assert {slug: [training.phase for training in chain(plan, slug)] for slug in plan.last} == {
        "full": ["pose", "baseline", "intermediate", "final"],
        "strong-baseline": ["baseline"],
        "san-baseline": ["san_baseline"],
        "san": ["texture_generator", "san"],
    }
    budget = plan.images["full"]
    assert all(abs(images - budget) <= 64 for images in plan.images.values())
    assert plan.other_images["strong-baseline"] == plan.other_images["san-baseline"] == 0
    assert min(plan.other_images["full"], plan.other_images["san"]) > 0
    assert plan.comparison.costs
