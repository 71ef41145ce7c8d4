"""Equal budgets, shared trainings, and rows that differ from the full model in what their name says."""

import re
from pathlib import Path

import pytest

from reid.config import RunConfig, load_config
from reid.data import Dataset, map_in_process, open_dataset, prepare
from reid.embedded import SIZES, render_coco, render_market1501
from reid.experiments.ablation_plan import AblationPlan, plan_ablation
from reid.experiments.ablation_rows import FGSAM_ROWS, PUBLISHED_FGSAM, Row
from reid.experiments.training import Training
from reid.training.loop import epoch_images

SEEDS = (0, 1, 2)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    root = tmp_path_factory.mktemp("stores")
    render_market1501(root / "market1501", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    render_coco(root / "coco", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    reid = open_dataset(prepare("embedded", root / "market1501", root / "reid", height=32, width=16).path)
    pose = open_dataset(prepare("coco", root / "coco", root / "pose", height=32, width=16).path)
    manifest = (ROOT / "datasets" / "embedded.yaml").read_text()
    (root / "jointless.yaml").write_text(re.sub("keypoints: .*", "", manifest))
    jointless = open_dataset(prepare(f"{root}/jointless.yaml", root / "market1501", root / "jointless").path)
    return {"pose": pose, "reid": reid, "jointless": jointless}


def config(*overrides: str) -> RunConfig:
    epochs = {"pose": 6, "baseline": 8, "intermediate": 4, "final": 10}
    phases = [f"phases.{name}.{key}={n}" for name, n in epochs.items() for key in ("epochs", "halve_every")]
    return load_config(preset="smoke", overrides=[*phases, "ablation.epoch_share=1", *overrides])


@pytest.fixture(scope="module")
def plan(datasets: dict[str, Dataset]) -> AblationPlan:
    return plan_ablation(config(), datasets)


def chain(plan: AblationPlan, slug: str, seed: int = 0) -> list[Training]:
    """The trainings of a row, in order."""
    by_name = {training.name: training for training in plan.trainings}
    last = by_name[plan.last[slug][seed]]
    return [*(by_name[name] for name in last.after), last]


def shown(trainings: list[Training], datasets: dict[str, Dataset]) -> dict[str, int]:
    """Images that trainings show, by kind of data."""
    total = {"pose": 0, "reid": 0}
    for training in trainings:
        phase, kind = training.config.phases[training.phase], training.stage.data.name
        total[kind] += phase.epochs * epoch_images(training.config, training.phase, datasets[kind])
    return total


@pytest.mark.parametrize("batch_size", [16, 20])
@pytest.mark.parametrize("row", FGSAM_ROWS, ids=lambda row: row.slug)
def test_every_row_is_shown_as_many_person_images_as_the_full_model_or_the_pose_budget_more(
    datasets: dict[str, Dataset], row: Row, batch_size: int
) -> None:
    """Of two sizes of the baseline's batches, so that its epochs are no multiples of the others'."""
    plan = plan_ablation(config(f"phases.baseline.batch_size={batch_size}", "ablation.seeds=1"), datasets)
    budget = shown(chain(plan, "full"), datasets)
    trainings = chain(plan, row.slug)
    found = shown(trainings, datasets)
    last = trainings[-1].config.phases[trainings[-1].phase]
    one_epoch = epoch_images(trainings[-1].config, trainings[-1].phase, datasets["reid"])
    more = budget["pose"] if row.slug == "base-longer" else 0
    assert abs(found["reid"] - budget["reid"] - more) <= one_epoch / 2
    assert (plan.images[row.slug], plan.other_images[row.slug]) == (found["reid"], found["pose"])
    trains_pose = "pose" in [training.phase for training in trainings]
    assert found["pose"] == (budget["pose"] if trains_pose else 0)
    assert last.stage == ("strong_baseline" if row.slug == "strong-baseline" else row.stage)


def test_a_longer_phase_keeps_the_shape_of_its_schedule(plan: AblationPlan) -> None:
    (base,) = chain(plan, "base")
    phase = base.config.phases["baseline"]
    assert phase.epochs > 8
    assert phase.halve_every == phase.epochs


@pytest.mark.parametrize(
    ("slug", "phases"),
    [
        ("base", ["baseline"]),
        ("base-longer", ["baseline"]),
        ("base-attributes", ["baseline", "intermediate"]),
        ("strong-baseline", ["baseline"]),
        ("pose", ["pose", "baseline", "intermediate"]),
        ("alignment", ["pose", "baseline", "intermediate", "final"]),
        ("full", ["pose", "baseline", "intermediate", "final"]),
        ("no-parse-blocks", ["pose", "baseline", "intermediate", "final"]),
        ("mean-positions", ["baseline", "intermediate", "final"]),
        ("true-joints", ["baseline", "intermediate", "final"]),
    ],
)
def test_phases_of_a_row(plan: AblationPlan, slug: str, phases: list[str]) -> None:
    assert [training.phase for training in chain(plan, slug)] == phases
    for earlier, training in enumerate(chain(plan, slug)):
        before = [
            other.name for other in chain(plan, slug)[:earlier] if (training.phase, other.phase) != ("baseline", "pose")
        ]
        assert training.after == tuple(before)


def test_what_distinguishes_the_rows(plan: AblationPlan) -> None:
    full, pose, alignment, plain, hard = (
        chain(plan, slug)[-1].config for slug in ("full", "pose", "alignment", "plain-triplet", "batch-hard")
    )
    assert (full.loss.triplet, full.loss.mining, full.loss.triplet_weight) == ("focal", "batch_all", 1)
    assert pose.loss.attribute_weight == 0
    assert alignment.loss.triplet_weight == 0
    assert alignment.loss.attribute_weight == 1
    assert (plain.loss.triplet, plain.loss.mining) == ("plain", "batch_all")
    assert (hard.loss.triplet, hard.loss.mining) == ("plain", "batch_hard")
    assert all(training.config.model.pose_net.parse_blocks for training in chain(plan, "full"))
    without = {
        training.phase: training.config.model.pose_net.parse_blocks for training in chain(plan, "no-parse-blocks")
    }
    assert without == {"pose": False, "baseline": True, "intermediate": False, "final": False}  # no pose in baseline


def test_what_distinguishes_the_rows_beyond_the_paper(plan: AblationPlan) -> None:
    attributes, strong, base = (chain(plan, slug)[-1].config for slug in ("base-attributes", "strong-baseline", "base"))
    assert not attributes.model.pose
    assert attributes.loss == load_config(preset="smoke").loss
    phase = strong.phases["baseline"]
    assert (phase.stage, phase.images_per_identity, phase.weight_decay) == ("strong_baseline", 4, 5e-4)
    assert (phase.epochs, phase.batch_size) == (base.phases["baseline"].epochs, base.phases["baseline"].batch_size)
    assert (strong.model.neck, strong.loss.label_smoothing) == ("bnneck", 0.1)
    assert (strong.loss.triplet, strong.loss.mining, strong.loss.alpha) == ("plain", "batch_hard", 0.3)
    assert (base.model.neck, base.loss.label_smoothing, base.phases["baseline"].stage) == ("none", 0, "baseline")
    for slug, maps in (("mean-positions", "mean"), ("true-joints", "joints")):
        changed = {training.phase: training.config.model.maps for training in chain(plan, slug)}
        assert changed == {"baseline": "net", "intermediate": maps, "final": maps}  # no maps in baseline


def test_rows_that_need_joints_are_left_out_where_nobody_knows_them(datasets: dict[str, Dataset]) -> None:
    settings = config("ablation.seeds=1")
    plan = plan_ablation(settings, {"pose": datasets["pose"], "reid": datasets["jointless"]})
    left_out = {"mean-positions", "true-joints"}
    slugs = {row.slug for row in FGSAM_ROWS}
    for told in (plan.last, plan.images, plan.other_images):
        assert set(told) == slugs - left_out
    assert plan.images["full"] == plan_ablation(settings, datasets).images["full"]
    assert {training.config.model.maps for training in plan.trainings} == {"net"}


def test_every_row_but_the_first_is_compared_with_another() -> None:
    slugs = [row.slug for row in FGSAM_ROWS]
    assert len(set(slugs)) == len({row.name for row in FGSAM_ROWS}) == len(FGSAM_ROWS)
    assert [row.slug for row in FGSAM_ROWS if row.against not in slugs or row.against == row.slug] == ["base"]


def test_common_trainings_are_done_once(plan: AblationPlan) -> None:
    names = [training.name for training in plan.trainings]
    assert len(set(names)) == len(names)
    full = [training.name for training in chain(plan, "full")]
    for slug in ("mean-positions", "true-joints", "base-attributes"):
        assert chain(plan, slug)[0].name == full[1]
    for slug in ("alignment", "plain-triplet", "batch-hard"):
        assert [training.name for training in chain(plan, slug)][:-1] == full[:-1]
    assert [training.name for training in chain(plan, "pose")][:2] == full[:2]
    assert chain(plan, "no-parse-blocks")[1].name == full[1]
    baselines, others = 3, 1 + 1 + 3 + 3 + 2 + 2
    assert len(names) == len(SEEDS) * (len(full) + baselines + others)


def test_every_seed_has_trainings_of_its_own(plan: AblationPlan) -> None:
    for seed in SEEDS:
        assert {training.config.seed for training in chain(plan, "full", seed)} == {seed}


def test_trainings_come_after_what_they_build_on(plan: AblationPlan) -> None:
    seen: set[str] = set()
    for training in plan.trainings:
        assert seen >= set(training.after)
        seen.add(training.name)


def test_shorter_for_every_row_alike(datasets: dict[str, Dataset]) -> None:
    half = plan_ablation(config("ablation.epoch_share=0.5", "ablation.seeds=1"), datasets)
    epochs = {training.phase: training.config.phases[training.phase].epochs for training in chain(half, "full")}
    assert epochs == {"pose": 3, "baseline": 4, "intermediate": 2, "final": 5}
    alike = [images for slug, images in half.images.items() if slug != "base-longer"]
    assert max(alike) - min(alike) <= 100


def test_a_warm_up_does_not_vanish_where_phases_are_shorter(datasets: dict[str, Dataset]) -> None:
    """Half of one epoch is none by rounding, and without any SAN's identity loss never leaves its first value."""
    halves = plan_ablation(config("phases.final.warmup=1", "ablation.epoch_share=0.5"), datasets)
    assert {training.config.phases["final"].warmup for training in chain(halves, "full")} == {1}
    none = plan_ablation(config("phases.final.warmup=0", "ablation.epoch_share=0.5"), datasets)
    assert {training.config.phases["final"].warmup for training in chain(none, "full")} == {0}


def test_workers_of_a_training(datasets: dict[str, Dataset]) -> None:
    plan = plan_ablation(config("ablation.workers=2", "scaling.num_workers=1", "ablation.seeds=1"), datasets)
    assert {training.config.scaling.num_workers for training in plan.trainings} == {2}
    here = plan_ablation(config("ablation.workers=2", "scaling.num_workers=0", "ablation.seeds=1"), datasets)
    assert {training.config.scaling.num_workers for training in here.trainings} == {0}


def test_without_pose_pre_training_the_rows_still_end_where_they_should(datasets: dict[str, Dataset]) -> None:
    plan = plan_ablation(config("phases.pose=null", "ablation.seeds=1"), datasets)
    assert [training.phase for training in chain(plan, "full")] == ["baseline", "intermediate", "final"]
    assert set(plan.other_images.values()) == {0}
    assert plan.last["base-longer"] == plan.last["base"], "there is no pose budget"


def test_a_row_without_its_phase_is_an_error(datasets: dict[str, Dataset]) -> None:
    with pytest.raises(
        ValueError, match=r"phases: the ablation's row 'base \+ attributes' ends with .* intermediate: add one"
    ):
        plan_ablation(config("phases.intermediate=null"), datasets)


def test_more_workers_than_a_batch_feeds_are_an_error(datasets: dict[str, Dataset]) -> None:
    with pytest.raises(ValueError, match=r"phases.final.batch_size: .*scaling.num_workers = 8"):
        plan_ablation(config("ablation.workers=8"), datasets)


def test_the_papers_figures_belong_to_rows() -> None:
    slugs = {row.slug for row in FGSAM_ROWS}
    assert all(figures.keys() <= slugs for figures in PUBLISHED_FGSAM.values())
    assert PUBLISHED_FGSAM["market1501"]["full"] == (91.5, 86.4)
    assert PUBLISHED_FGSAM["dukemtmc"]["base"] == (74.1, 65.5)
