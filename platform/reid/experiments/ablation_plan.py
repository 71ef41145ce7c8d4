"""What each component of FGSAM brings: the rows of the paper's Tables IV and V, and those that keep them honest, as
trainings with equal budgets.

The full model sets the budget: the person images that all its phases show. A row that lacks phases trains its last one
for so many more epochs, its schedule in proportion. Images with joints, which the pose phase shows, are counted apart,
as the paper's COCO is. Trainings that rows have in common are done once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reid.config import PhaseConfig, RunConfig, ScalingConfig, with_settings
from reid.data import REID, Dataset
from reid.experiments.experiment import Training
from reid.stages import find_stage, inherited, stage_of
from reid.training import epoch_images


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant of the model."""

    name: str
    slug: str
    """Name in folders and metrics."""
    stage: str = "final"
    """The stage of the configuration's phase that it ends with."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs from the full model, by dotted path."""
    phase: dict[str, Any] = field(default_factory=dict)
    """What differs in the phase that it ends with."""
    without: frozenset[str] = frozenset()
    """Stages that it does not start from, though its last would."""
    pose_budget: bool = False
    """Whether it is shown more person images, as many as the full model's pose phases show."""
    joints: bool = False
    """Whether it needs person images whose joints are known."""
    against: str | None = None
    """Slug of the row that it is compared with."""


FULL = Row(name="base + pose + alignment + focal triplet", slug="full", against="alignment")
NO_POSE = frozenset({"pose"})

ROWS = (
    Row(name="base", slug="base", stage="baseline"),
    Row(name="base, with the pose budget too", slug="base-longer", stage="baseline", pose_budget=True, against="base"),
    Row(
        name="base + attributes",
        slug="base-attributes",
        stage="intermediate",
        settings={"model.pose": False},
        without=NO_POSE,
        against="base",
    ),
    Row(
        name="strong baseline",
        slug="strong-baseline",
        stage="baseline",
        settings={
            "model.neck": "bnneck",
            "loss.label_smoothing": 0.1,
            "loss.triplet": "plain",
            "loss.mining": "batch_hard",
            "loss.alpha": 0.3,
        },
        phase={"stage": "strong_baseline", "images_per_identity": 4, "weight_decay": 5e-4},
        against="base",
    ),
    Row(
        name="base + pose",
        slug="pose",
        stage="intermediate",
        settings={"loss.attribute_weight": 0.0},
        against="base-longer",
    ),
    Row(name="base + pose + alignment", slug="alignment", settings={"loss.triplet_weight": 0.0}, against="pose"),
    FULL,
    Row(
        name="… without parse blocks",
        slug="no-parse-blocks",
        settings={"model.pose_net.parse_blocks": False},
        against="full",
    ),
    Row(name="… with the plain triplet loss", slug="plain-triplet", settings={"loss.triplet": "plain"}, against="full"),
    Row(
        name="… with the batch-hard triplet loss",
        slug="batch-hard",
        settings={"loss.triplet": "plain", "loss.mining": "batch_hard"},
        against="full",
    ),
    Row(
        name="… with parts at everyone's mean positions",
        slug="mean-positions",
        settings={"model.maps": "mean"},
        without=NO_POSE,
        joints=True,
        against="full",
    ),
    Row(
        name="… with the true joints, a ceiling",
        slug="true-joints",
        settings={"model.maps": "joints"},
        without=NO_POSE,
        joints=True,
        against="full",
    ),
)
"""Tables IV and V, and beside the paper's rows those that show what else the gains could come from."""

PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "market1501": {
        "base": (80.3, 69.8),
        "pose": (88.1, 75.6),
        "alignment": (90.3, 83.5),
        "full": (91.5, 86.4),
        "no-parse-blocks": (89.9, 85.4),
    },
    "dukemtmc": {"base": (74.1, 65.5), "pose": (82.9, 70.6), "alignment": (83.6, 72.0), "full": (85.9, 74.1)},
}
"""Rank-1 and mAP in per cent that the paper gives, by dataset and row."""


@dataclass(frozen=True, kw_only=True)
class AblationPlan:
    """All trainings of an ablation, each after those it starts from, and what each row ends with."""

    trainings: tuple[Training, ...]
    last: dict[str, dict[int, str]]
    """Name of the training that a row ends with, by slug and seed."""
    images: dict[str, int]
    """Person images that each row is shown in training, by slug."""
    pose_images: dict[str, int]
    """Other images, with joints, likewise."""


def scaling_of(config: RunConfig) -> ScalingConfig:
    """How each training is spread over the cluster."""
    return _base_settings(config).scaling


def plan_ablation(config: RunConfig, datasets: Mapping[str, Dataset]) -> AblationPlan:
    """Lay out the trainings of every row and seed.

    Args:
        datasets: by kind of data.

    Raises:
        ValueError: a stage that a row ends with has no phase, or model and dataset do not fit together.
    """
    base = _base_settings(config)
    trainings: dict[str, Training] = {}
    names: dict[object, str] = {}
    rows = [row for row in ROWS if datasets[REID.name].has_keypoints or not row.joints]
    last: dict[str, dict[int, str]] = {row.slug: {} for row in rows}
    images: dict[str, int] = {}
    pose_images: dict[str, int] = {}
    for seed in range(config.seed, config.seed + config.ablation.seeds):
        for row in (FULL, *(row for row in rows if row is not FULL)):
            chain: dict[str, str] = {}
            for phase, settings in _phases(base, row, datasets).items():
                reads = find_stage(settings.stage).reads
                own = {path: value for path, value in row.settings.items() if path.startswith(reads)}
                after = inherited(base, phase, chain)
                new = f"seed{seed}-{phase}" if row is FULL else f"seed{seed}-{phase}-{row.slug}"
                name = names.setdefault((seed, phase, settings.model_dump_json(), tuple(own.items()), after), new)
                if name not in trainings:
                    changed = with_settings(base, {"seed": seed, f"phases.{phase}": settings.model_dump(), **own})
                    trainings[name] = Training(name=name, config=changed, phase=phase, after=after, keeps_model=False)
                chain[name] = phase
            last[row.slug][seed] = list(chain)[-1]
            of_persons, others = _all_shown(
                ((trainings[name].config, trainings[name].phase) for name in chain), datasets
            )
            images[row.slug], pose_images[row.slug] = of_persons, others
    return AblationPlan(trainings=tuple(trainings.values()), last=last, images=images, pose_images=pose_images)


def _base_settings(config: RunConfig) -> RunConfig:
    """The configuration with shortened phases and with the workers that each training gets."""
    changes: dict[str, Any] = {}
    if config.scaling.num_workers != 0:
        changes["scaling.num_workers"] = config.ablation.workers
    for name, phase in config.phases.items():
        shortened = _stretched(phase, max(1, round(phase.epochs * config.ablation.epoch_share)))
        changes[f"phases.{name}"] = shortened.model_dump()
    return with_settings(config, changes)


def _phases(base: RunConfig, row: Row, datasets: Mapping[str, Dataset]) -> dict[str, PhaseConfig]:
    """The phases of a row: the last one of its stage, trained for as long as the budget lasts, and those before it that
    it inherits from."""
    ends = [name for name, phase in base.phases.items() if phase.stage == row.stage]
    if not ends:
        raise ValueError(f"phases: the ablation's row '{row.name}' ends with a phase of stage {row.stage}: add one")
    last = ends[-1]
    before = list(base.phases)[: list(base.phases).index(last)]
    former = [
        name
        for name in inherited(base, last, dict(zip(before, before, strict=True)))
        if base.phases[name].stage not in row.without
    ]
    budget, pose_budget = _all_shown(((base, phase) for phase in base.phases), datasets)
    spent, _ = _all_shown(((base, phase) for phase in former), datasets)
    left = budget - spent + (pose_budget if row.pose_budget else 0)
    epochs = max(1, round(left / epoch_images(base, last, datasets[stage_of(base, last).data.name])))
    stretched = _stretched(base.phases[last], epochs).model_copy(update=row.phase)
    return {**{name: base.phases[name] for name in former}, last: stretched}


def _stretched(phase: PhaseConfig, epochs: int) -> PhaseConfig:
    """The phase over another number of epochs, its schedule in proportion."""
    factor = epochs / phase.epochs
    return phase.model_copy(
        update={
            "epochs": epochs,
            "halve_every": max(1, round(phase.halve_every * factor)),
            "warmup": round(phase.warmup * factor),
        }
    )


def _all_shown(phases: Iterable[tuple[RunConfig, str]], datasets: Mapping[str, Dataset]) -> tuple[int, int]:
    """Person images and others that phases show in training."""
    shown = {True: 0, False: 0}
    for config, phase in phases:
        kind = stage_of(config, phase).data.name
        shown[kind == REID.name] += config.phases[phase].epochs * epoch_images(config, phase, datasets[kind])
    return shown[True], shown[False]
