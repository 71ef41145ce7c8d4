"""Search spaces: named functions that draw settings, by dotted path, for one trial.

A space is define-by-run: it may draw a parameter only where another has a certain value. It sees the configuration that
is searched around, so that bounds can be relative to it. A parameter is best named by the dotted path of its setting:
its value in the configuration, the paper's in the presets, then is its value in the first trial.
"""

from collections.abc import Callable, Mapping
from typing import Any

import optuna

from reid.config import ConfigError, RunConfig
from reid.search.layouts import branch_layout, layout_start
from reid.stages import stage_of

SMOOTHING = ("loss.label_smoothing", "models.san.label_smoothing")
"""Smoothing of the identity labels, by the models that have one."""

Settings = dict[str, Any]
Space = Callable[[optuna.trial.BaseTrial, RunConfig], Mapping[str, Any]]
"""Draws the settings of a trial."""


def focal_triplet(trial: optuna.trial.BaseTrial, config: RunConfig) -> Settings:
    """The focal triplet loss (eq. 10), mining, and the weights of the total loss (eq. 11)."""
    settings: Settings = {
        "loss.triplet": trial.suggest_categorical("loss.triplet", ("focal", "plain")),
        "loss.alpha": trial.suggest_float("loss.alpha", 0.1, 1.0),
        "loss.mining": trial.suggest_categorical("loss.mining", ("batch_all", "batch_hard")),
    }
    if settings["loss.triplet"] == "focal":
        settings["loss.beta"] = trial.suggest_float("loss.beta", 1e-3, 0.3, log=True)
        settings["loss.gamma"] = trial.suggest_float("loss.gamma", 0.0, 4.0)
    for weight in ("identity_weight", "attribute_weight", "triplet_weight"):
        settings[f"loss.{weight}"] = trial.suggest_float(f"loss.{weight}", 0.1, 10.0, log=True)
    return settings


def optimizer(trial: optuna.trial.BaseTrial, config: RunConfig) -> Settings:
    """How the searched phase is trained: learning rate and its schedule, P×K, label smoothing."""
    name = searched_phase(config)
    phase, path = config.phases[name], f"phases.{name}"
    settings: Settings = {
        f"{path}.learning_rate": trial.suggest_float(
            f"{path}.learning_rate", phase.learning_rate / 10, min(1.0, phase.learning_rate * 10), log=True
        ),
        f"{path}.halve_every": trial.suggest_int(f"{path}.halve_every", 1, max(phase.epochs, phase.halve_every)),
        f"{path}.warmup": trial.suggest_int(f"{path}.warmup", 0, max(phase.epochs // 4, phase.warmup)),
    }
    for smoothing in SMOOTHING:
        if smoothing.startswith(stage_of(config, name).searched):
            settings[smoothing] = trial.suggest_float(smoothing, 0.0, 0.3)
    if phase.images_per_identity:
        most_workers = max(2, config.search.workers)
        fitting = [k for k in (2, 4, 8, 16) if phase.batch_size % k == 0 and phase.batch_size // k >= most_workers]
        choices = sorted({phase.images_per_identity, *fitting})
        settings[f"{path}.images_per_identity"] = trial.suggest_categorical(f"{path}.images_per_identity", choices)
    return settings


def san(trial: optuna.trial.BaseTrial, config: RunConfig) -> Settings:
    """SAN's weights and margins, and the decoder's rate."""
    settings: Settings = {}
    for weight in ("triplet_weight", "reconstruction_weight", "map_triplet_weight"):
        path = f"models.san.{weight}"
        settings[path] = trial.suggest_float(path, 0.01, 10.0, log=True)
    for margin in ("margin", "map_margin"):
        path = f"models.san.{margin}"
        settings[path] = trial.suggest_float(path, 0.05, 2.0, log=True)
    path = "models.san.decoder_rate"
    return settings | {path: trial.suggest_float(path, 0.005, 2.0, log=True)}


def joint(trial: optuna.trial.BaseTrial, config: RunConfig) -> Settings:
    """Loss, layout and optimiser together."""
    return {**focal_triplet(trial, config), **branch_layout(trial, config), **optimizer(trial, config)}


SPACES: dict[str, Space] = {
    "focal_triplet": focal_triplet,
    "branch_layout": branch_layout,
    "optimizer": optimizer,
    "joint": joint,
    "san": san,
}


def searched_phase(config: RunConfig) -> str:
    """The phase that a trial trains: the last one."""
    return list(config.phases)[-1]


def descriptor_dim(config: RunConfig) -> int:
    """Length of the descriptor of the searched phase's model.

    Raises:
        ConfigError: its stage does not say.
    """
    stage = stage_of(config, searched_phase(config))
    if stage.descriptor_dim is None:
        raise ConfigError(f"search.objectives: descriptor_dim is not known of stage {stage.name}: leave it out")
    return stage.descriptor_dim(config)


def start_values(config: RunConfig) -> dict[str, Any]:
    """The configuration's own value of every parameter that is named by a dotted path, and of `branch_layout`'s."""
    values: dict[str, Any] = {}

    def visit(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(f"{path}.{key}" if path else key, inner)
        elif isinstance(value, bool | int | float | str | None):
            values[path] = value

    visit("", config.model_dump())
    return values | layout_start(config)
