"""The rows of an ablation as trainings with equal budgets.

The full model sets the budget: the person images that all its phases show. A row that lacks phases trains its last one
for so many more epochs, its schedule in proportion. Other images, with joints or textures, are counted apart, as the
papers do with COCO and with rendered people. Trainings that rows have in common are done once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reid.config import PhaseConfig, RunConfig, ScalingConfig, with_settings
from reid.data import REID, Dataset
from reid.experiments.ablation_rows import Comparison, Row, comparison_of
from reid.experiments.training import Training
from reid.stages import built_on, find_stage, stage_of
from reid.training import epoch_images

EpochImages = Callable[[RunConfig, str], int]
"""Images that an epoch of a phase shows."""


@dataclass(frozen=True, kw_only=True)
class AblationPlan:
    """All trainings of an ablation, each after those it starts from, and what each row ends with."""

    comparison: Comparison
    trainings: tuple[Training, ...]
    last: dict[str, dict[int, str]]
    """Name of the training that a row ends with, by slug and seed."""
    images: dict[str, int]
    """Person images that each row is shown in training, by slug."""
    other_images: dict[str, int]
    """Images with joints or textures, likewise."""


def scaling_of(config: RunConfig) -> ScalingConfig:
    """How each training is spread over the cluster."""
    return _base_settings(config).scaling


def plan_ablation(config: RunConfig, datasets: Mapping[str, Dataset]) -> AblationPlan:
    """Lay out the trainings of every row that the datasets permit, and seed.

    Args:
        datasets: by kind of data.

    Raises:
        ValueError: a stage that a row ends with has no phase, or model and dataset do not fit together.
    """

    def shown(config: RunConfig, phase: str) -> int:
        return epoch_images(config, phase, datasets[stage_of(config, phase).data.name])

    return lay_out(config, comparison_of(config).possible_with(datasets[REID.name]), shown)


def lay_out(config: RunConfig, rows: Sequence[Row], epoch_images: EpochImages) -> AblationPlan:
    """The trainings of some rows and every seed.

    Raises:
        ValueError: a stage that a row ends with has no phase.
    """
    base, comparison = _base_settings(config), comparison_of(config)
    trainings: dict[str, Training] = {}
    names: dict[object, str] = {}
    full = comparison.full
    last: dict[str, dict[int, str]] = {row.slug: {} for row in rows}
    images: dict[str, int] = {}
    other_images: dict[str, int] = {}
    for seed in range(config.seed, config.seed + config.ablation.seeds):
        for row in (full, *(row for row in rows if row is not full)):
            chain: dict[str, str] = {}
            for phase, settings in _phases(config, base, row, full, epoch_images).items():
                reads = find_stage(settings.stage).reads
                own = {path: value for path, value in row.settings.items() if path.startswith(reads)}
                after = built_on(base, phase, chain)
                new = f"seed{seed}-{phase}" if row is full else f"seed{seed}-{phase}-{row.slug}"
                name = names.setdefault((seed, phase, settings.model_dump_json(), tuple(own.items()), after), new)
                if name not in trainings:
                    changed = with_settings(base, {"seed": seed, f"phases.{phase}": settings.model_dump(), **own})
                    trainings[name] = Training(name=name, config=changed, phase=phase, after=after, keeps_model=False)
                chain[name] = phase
            last[row.slug][seed] = list(chain)[-1]
            of_persons, others = _all_shown(
                ((trainings[name].config, trainings[name].phase) for name in chain), epoch_images
            )
            images[row.slug], other_images[row.slug] = of_persons, others
    return AblationPlan(
        comparison=comparison,
        trainings=tuple(trainings.values()),
        last=last,
        images=images,
        other_images=other_images,
    )


def _base_settings(config: RunConfig) -> RunConfig:
    """The configuration with shortened phases, scored at their ends alone, and the workers that each training gets."""
    changes: dict[str, Any] = {"evaluation.sample": 0}
    if config.scaling.num_workers != 0:
        changes["scaling.num_workers"] = config.ablation.workers
    for name, phase in config.phases.items():
        shortened = _stretched(phase, max(1, round(phase.epochs * config.ablation.epoch_share)))
        changes[f"phases.{name}"] = shortened.model_dump()
    return with_settings(config, changes)


def _phases(
    config: RunConfig, base: RunConfig, row: Row, full: Row, epoch_images: EpochImages
) -> dict[str, PhaseConfig]:
    """The phases of a row: the last one of its stage, trained for as long as the budget lasts, and those that it builds
    on.

    Args:
        config: its last phase is stretched, in one step, so that nothing is rounded twice.
    """
    *former, last = _chain(base, row)
    budget, others = _all_shown(((base, phase) for phase in _chain(base, full)), epoch_images)
    spent, _ = _all_shown(((base, phase) for phase in former), epoch_images)
    left = budget - spent + (others if row.pose_budget else 0)
    epochs = max(1, round(left / epoch_images(base, last)))
    stretched = _stretched(config.phases[last], epochs).model_copy(update=row.phase)
    return {**{name: base.phases[name] for name in former}, last: stretched}


def _chain(base: RunConfig, row: Row) -> tuple[str, ...]:
    """Names of a row's phases."""
    ends = [name for name, phase in base.phases.items() if phase.stage == row.stage]
    if not ends:
        raise ValueError(f"phases: the ablation's row '{row.name}' ends with a phase of stage {row.stage}: add one")
    last = ends[-1]
    before = list(base.phases)[: list(base.phases).index(last)]
    former = built_on(base, last, dict(zip(before, before, strict=True)))
    return (*(name for name in former if base.phases[name].stage not in row.without), last)


def _stretched(phase: PhaseConfig, epochs: int) -> PhaseConfig:
    """The phase over another number of epochs, its schedule in proportion; a warm-up does not vanish."""
    factor = epochs / phase.epochs
    return phase.model_copy(
        update={
            "epochs": epochs,
            "halve_every": max(1, round(phase.halve_every * factor)),
            "warmup": max(1, round(phase.warmup * factor)) if phase.warmup else 0,
        }
    )


def _all_shown(phases: Iterable[tuple[RunConfig, str]], epoch_images: EpochImages) -> tuple[int, int]:
    """Person images and others that phases show in training."""
    shown = {True: 0, False: 0}
    for config, phase in phases:
        is_of_persons = stage_of(config, phase).data is REID
        shown[is_of_persons] += config.phases[phase].epochs * epoch_images(config, phase)
    return shown[True], shown[False]
