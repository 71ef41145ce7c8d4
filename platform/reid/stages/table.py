"""The stage table, and the models in checkpoints."""

from dataclasses import dataclass

import torch
from torch import nn

from reid.config import ConfigError, RunConfig
from reid.data import open_store
from reid.evaluation import Evaluation
from reid.stages.fgsam import BASELINE, FINAL, INTERMEDIATE, POSE, STRONG_BASELINE
from reid.stages.san import SAN_BASELINE, SAN_STAGE, TEXTURE_GENERATOR
from reid.storage import Storage
from reid.training import (
    CheckpointError,
    PhaseState,
    Stage,
    load_into,
    load_state,
    resolve_precision,
    without_training_modules,
)

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        POSE,
        BASELINE,
        STRONG_BASELINE,
        INTERMEDIATE,
        FINAL,
        TEXTURE_GENERATOR,
        SAN_BASELINE,
        SAN_STAGE,
    )
}
"""Every stage by name; `phases.<name>.stage` is a key of it, and an extension may add to it."""


def find_stage(name: str) -> Stage:
    """
    Raises:
        ValueError: there is no such stage.
    """
    if name not in STAGES:
        raise ValueError(
            f"invalid stage '{name}', expected one of {', '.join(STAGES)}, or one of an extension: extensions=[FILE.py]"
        )
    return STAGES[name]


def stage_of(config: RunConfig, phase: str) -> Stage:
    """The stage that a phase trains."""
    return find_stage(config.phases[phase].stage)


def built_on(config: RunConfig, phase: str, former: dict[str, str]) -> tuple[str, ...]:
    """Which of the trainings before a phase it starts from or consults.

    Args:
        former: the phase that each trained, by the training's name, oldest first.
    """
    stage = stage_of(config, phase)
    stages = (*stage.inherits, *stage.consults)
    return tuple(name for name, trained in former.items() if config.phases[trained].stage in stages)


def check_phases(config: RunConfig) -> None:
    """
    Raises:
        ConfigError: naming every phase whose stage is unknown, or has no identities to make P×K batches of, and
            all else that no data could make fit.
    """
    problems = []
    for name, phase in config.phases.items():
        try:
            stage = find_stage(phase.stage)
        except ValueError as error:
            problems.append(f"phases.{name}.stage: {error}")
            continue
        try:
            stage.check_settings(config)
        except ValueError as error:
            problems.append(str(error))
        if phase.images_per_identity and not stage.data.identities:
            problems.append(f"phases.{name}: stage {stage.name} has no identities: leave images_per_identity out")
    if problems:
        listed = [f"  {problem}" for problem in dict.fromkeys(problems)]
        raise ConfigError("\n".join(["the configuration has errors:", *listed]))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The model in a checkpoint, as it is used: in evaluation mode, without what only training needs."""

    model: nn.Module
    stage: Stage
    state: PhaseState


def load_model(location: str, config: RunConfig, device: torch.device) -> Trained:
    """The model in a checkpoint.

    Args:
        location: the checkpoint's folder or URI.
        config: holds the model's settings, which must be those it was trained with.

    Raises:
        CheckpointError: the checkpoint is damaged, or a tensor is missing, left over or of another shape.
    """
    state = load_state(location)
    stage = find_stage(state.stage)
    model = stage.build(config, state.labels, pretrained=False)
    load_into(location, model)
    return Trained(model=without_training_modules(model, stage).to(device).eval(), stage=stage, state=state)


def load_describer(location: str, config: RunConfig, device: torch.device) -> Trained:
    """The model in a checkpoint, which describes images.

    Raises:
        CheckpointError: as `load_model`, or its stage has no descriptor.
    """
    stage = find_stage(load_state(location).stage)
    if not stage.describes:
        raise CheckpointError(f"{location} is of stage {stage.name}, which has no descriptor: take another phase's")
    return load_model(location, config, device)


def score_checkpoint(config: RunConfig, *, checkpoint: str, store: str, device: torch.device) -> Evaluation:
    """Metrics and pictures of the model in a checkpoint on a prepared dataset.

    Raises:
        CheckpointError: as `load_describer`.
    """
    trained = load_describer(checkpoint, config, device)
    dataset, dtype = open_store(store, Storage.of(config)), resolve_precision(config, device)
    evaluate = trained.stage.evaluate
    return evaluate(
        trained.model, dataset, config, device, dtype, labels=trained.state.labels, illustrated=True, beside={}
    )
