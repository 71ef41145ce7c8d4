"""The configuration of a run: a frozen, typed tree; presets; one override path. And what is known of datasets."""

from reid.config.atlas import TEXTURE_GRID, TEXTURE_LAYOUTS, TextureLayout
from reid.config.body import (
    AFFINITY_CHANNELS,
    CONFIDENCE_CHANNELS,
    JOINTS,
    LAYOUTS,
    LIMB_NAMES,
    LIMBS,
    POSE_CHANNELS,
    Layout,
    Part,
    Region,
)
from reid.config.data import AugmentationConfig, DataConfig
from reid.config.environment import environment, set_until_exit
from reid.config.errors import ConfigError, DataError, JobStoppedError, complaints
from reid.config.extensions import load_extensions
from reid.config.files import read_file, require_file
from reid.config.load import flatten, load_config, validate_config, with_settings
from reid.config.manifests import Attribute, AttributeProtocol, Manifest, file_name_rule, is_own, load_manifest
from reid.config.model import MODELS, ModelConfig, PoseNetConfig
from reid.config.presets import PRESETS
from reid.config.run import CACHE_GB, AblationConfig, EvaluationConfig, RunConfig, TrackingConfig, default_storage
from reid.config.san import SANConfig
from reid.config.search import Objective, SearchConfig
from reid.config.secrets import require_no_password, without_passwords
from reid.config.section import Count, Positive, Section
from reid.config.training import LossConfig, PhaseConfig, ScalingConfig

__all__ = [
    "AFFINITY_CHANNELS",
    "CACHE_GB",
    "CONFIDENCE_CHANNELS",
    "JOINTS",
    "LAYOUTS",
    "LIMBS",
    "LIMB_NAMES",
    "MODELS",
    "POSE_CHANNELS",
    "PRESETS",
    "TEXTURE_GRID",
    "TEXTURE_LAYOUTS",
    "AblationConfig",
    "Attribute",
    "AttributeProtocol",
    "AugmentationConfig",
    "ConfigError",
    "Count",
    "DataConfig",
    "DataError",
    "EvaluationConfig",
    "JobStoppedError",
    "Layout",
    "LossConfig",
    "Manifest",
    "ModelConfig",
    "Objective",
    "Part",
    "PhaseConfig",
    "PoseNetConfig",
    "Positive",
    "Region",
    "RunConfig",
    "SANConfig",
    "ScalingConfig",
    "SearchConfig",
    "Section",
    "TextureLayout",
    "TrackingConfig",
    "complaints",
    "default_storage",
    "environment",
    "file_name_rule",
    "flatten",
    "is_own",
    "load_config",
    "load_extensions",
    "load_manifest",
    "read_file",
    "require_file",
    "require_no_password",
    "set_until_exit",
    "validate_config",
    "with_settings",
    "without_passwords",
]
