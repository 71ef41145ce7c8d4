"""The configuration of a run: a frozen, typed tree; presets; one override path."""

from reid.config.body import JOINTS, LAYOUTS, LIMB_NAMES, LIMBS, Layout, Part
from reid.config.load import ConfigError, flatten, load_config, validate_config, with_settings
from reid.config.presets import PRESETS
from reid.config.schema import (
    AblationConfig,
    AugmentationConfig,
    DataConfig,
    EvaluationConfig,
    LossConfig,
    ModelConfig,
    PhaseConfig,
    PoseNetConfig,
    RunConfig,
    ScalingConfig,
    TrackingConfig,
)
from reid.config.search import SearchConfig

__all__ = [
    "JOINTS",
    "LAYOUTS",
    "LIMBS",
    "LIMB_NAMES",
    "PRESETS",
    "AblationConfig",
    "AugmentationConfig",
    "ConfigError",
    "DataConfig",
    "EvaluationConfig",
    "Layout",
    "LossConfig",
    "ModelConfig",
    "Part",
    "PhaseConfig",
    "PoseNetConfig",
    "RunConfig",
    "ScalingConfig",
    "SearchConfig",
    "TrackingConfig",
    "flatten",
    "load_config",
    "validate_config",
    "with_settings",
]
