"""What each component of FGSAM brings: the rows of the paper's Tables IV and V, as trainings with equal budgets.

The full model sets the budget: the images that all its phases show, pose pre-training included. A row that lacks
phases trains its last one for so many more epochs, with its learning rate halved as much more slowly. Trainings that
rows have in common are done once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reid.config import PhaseConfig, RunConfig, with_settings
from reid.config.schema import Stage
from reid.data import Dataset
from reid.training.loop import epoch_images

STAGES: tuple[Stage, ...] = ("baseline", "intermediate", "final")
"""Of the model itself, in the order in which they build on each other; pose pre-training is part of the last two."""

READ_IN: dict[str, tuple[Stage, ...]] = {
    "model.pose_net.parse_blocks": ("pose", "intermediate", "final"),
    "loss.attribute_weight": ("intermediate", "final"),
    "loss.triplet_weight": ("final",),
    "loss.triplet": ("final",),
    "loss.mining": ("final",),
}
"""The stages that a setting makes a difference in: trainings of the others are shared."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant of the model."""

    name: str
    slug: str
    """Name in folders and metrics."""
    stage: Stage = "final"
    """The stage that its last phase trains."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs from the full model, by dotted path."""


FULL = Row(name="base + pose + alignment + focal triplet", slug="full")

ROWS = (
    Row(name="base", slug="base", stage="baseline"),
    Row(name="base + pose", slug="pose", stage="intermediate", settings={"loss.attribute_weight": 0.0}),
    Row(name="base + pose + alignment", slug="alignment", settings={"loss.triplet_weight": 0.0}),
    FULL,
    Row(name="… without parse blocks", slug="no-parse-blocks", settings={"model.pose_net.parse_blocks": False}),
    Row(name="… with the plain triplet loss", slug="plain-triplet", settings={"loss.triplet": "plain"}),
    Row(
        name="… with the batch-hard triplet loss",
        slug="batch-hard",
        settings={"loss.triplet": "plain", "loss.mining": "batch_hard"},
    ),
)
"""Tables IV and V; the last two rows go beyond the paper."""

PAPER: dict[str, dict[str, tuple[float, float]]] = {
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
class Training:
    """One phase of one row, or of several that share it, with one seed."""

    name: str
    config: RunConfig
    """Its own phase is as it will be trained; the others are not trained under this configuration."""
    phase: str
    after: tuple[str, ...]
    """Names of the trainings whose weights it starts from, oldest first."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All trainings of an ablation, each after those it starts from, and what each row ends with."""

    trainings: tuple[Training, ...]
    last: dict[str, dict[int, str]]
    """Name of the training that a row ends with, by slug and seed."""
    images: dict[str, int]
    """Training images that each row is shown, by slug."""


def plan_ablation(config: RunConfig, datasets: Mapping[Stage, Dataset]) -> Plan:
    """Lay out the trainings of every row and seed.

    Args:
        datasets: what each stage is trained on.

    Raises:
        ValueError: a stage that a row ends with has no phase, or model and dataset do not fit together.
    """
    base = _base_settings(config)
    trainings: dict[str, Training] = {}
    names: dict[object, str] = {}
    last: dict[str, dict[int, str]] = {row.slug: {} for row in ROWS}
    images: dict[str, int] = {}
    budget = sum(_shown(base, phase, datasets) for phase in base.phases)
    for seed in range(config.seed, config.seed + config.ablation.seeds):
        for row in (FULL, *(row for row in ROWS if row is not FULL)):
            phases = _phases(base, row, budget, datasets)
            chain: tuple[str, ...] = ()
            for phase, settings in phases.items():
                own = {path: value for path, value in row.settings.items() if settings.stage in READ_IN[path]}
                after = tuple(name for name in chain if settings.stage != "baseline" or not _is_pose(trainings[name]))
                new = f"seed{seed}-{phase}" if row is FULL else f"seed{seed}-{phase}-{row.slug}"
                name = names.setdefault((seed, phase, settings.epochs, tuple(own.items()), after), new)
                if name not in trainings:
                    changed = with_settings(base, {"seed": seed, f"phases.{phase}": settings.model_dump(), **own})
                    trainings[name] = Training(name=name, config=changed, phase=phase, after=after)
                chain = (*chain, name)
            last[row.slug][seed] = chain[-1]
            images[row.slug] = sum(_shown(trainings[name].config, trainings[name].phase, datasets) for name in chain)
    return Plan(trainings=tuple(trainings.values()), last=last, images=images)


def _base_settings(config: RunConfig) -> RunConfig:
    """The configuration with shortened phases and with the workers that each training gets."""
    changes: dict[str, Any] = {}
    if config.scaling.num_workers != 0:
        changes["scaling.num_workers"] = config.ablation.workers
    for name, phase in config.phases.items():
        shortened = _stretched(phase, max(1, round(phase.epochs * config.ablation.epoch_share)))
        changes[f"phases.{name}"] = shortened.model_dump()
    return with_settings(config, changes)


def _phases(base: RunConfig, row: Row, budget: int, datasets: Mapping[Stage, Dataset]) -> dict[str, PhaseConfig]:
    """The phases of a row; the last one is trained for as long as the budget lasts."""
    stages = STAGES[: STAGES.index(row.stage) + 1] + (("pose",) if row.stage != "baseline" else ())
    phases = {name: phase for name, phase in base.phases.items() if phase.stage in stages}
    if row.stage not in {phase.stage for phase in phases.values()}:
        raise ValueError(f"phases: the ablation's row '{row.name}' ends with a phase of stage {row.stage}: add one")
    final = next(name for name in reversed(phases) if phases[name].stage == row.stage)
    left = budget - sum(_shown(base, name, datasets) for name in phases if name != final)
    stage = phases[final].stage
    epochs = max(1, round(left / epoch_images(base, final, datasets[stage])))
    return {**phases, final: _stretched(phases[final], epochs)}


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


def _is_pose(training: Training) -> bool:
    """Whether it trains the pose net alone, which a baseline has no use for."""
    return training.config.phases[training.phase].stage == "pose"


def _shown(config: RunConfig, phase: str, datasets: Mapping[Stage, Dataset]) -> int:
    settings = config.phases[phase]
    return settings.epochs * epoch_images(config, phase, datasets[settings.stage])
