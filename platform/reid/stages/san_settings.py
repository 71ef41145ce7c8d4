"""What SAN's settings must be, so that nothing is rendered, prepared or trained in vain."""

from collections.abc import Collection

import torch

from reid.config import RunConfig, SANConfig
from reid.data import Dataset
from reid.losses import IMAGES_PER_IDENTITY
from reid.models import SAN, Trunk, require_weights
from reid.training import CheckpointError, load_state

STAGE = "san"
"""The stage that these are for."""
GENERATOR_STAGE = "texture_generator"
"""The stage that trains what writes pseudo textures."""
WIDTH_MULTIPLE = 16
"""Pixels that the input's width must be a multiple of: what the trunk halves four times, the decoder doubles again."""


def settings_of(config: RunConfig) -> SANConfig:
    settings = config.settings_of("san")
    assert isinstance(settings, SANConfig)
    return settings


def learns_textures(config: RunConfig) -> bool:
    """Whether SAN has textures to reconstruct."""
    return settings_of(config).reconstruction_weight > 0


def check_encoder(config: RunConfig) -> None:
    """
    Raises:
        ValueError: the trunk is unknown, or a local file of weights is missing.
    """
    settings = settings_of(config)
    require_weights(settings.weights, "models.san.weights")
    try:
        with torch.device("meta"):
            Trunk(settings.trunk, last_stride=settings.last_stride)
    except ValueError as error:
        raise ValueError(f"models.san.trunk: {error}") from error


def check_decoder(config: RunConfig) -> None:
    """
    Raises:
        ValueError: as `check_encoder`, or the decoder's maps would not fit the encoder's or the texture.
    """
    check_encoder(config)
    settings, data = settings_of(config), config.data
    if settings.last_stride != 1 or data.height != 2 * data.width or data.width % WIDTH_MULTIPLE:
        raise ValueError(
            f"models.san.last_stride = {settings.last_stride}, data.height × data.width = {data.height} × "
            f"{data.width}: the texture decoder needs last_stride=1 and an input twice as high as wide, its width a "
            f"multiple of {WIDTH_MULTIPLE}"
        )
    with torch.device("meta"):
        SAN(settings, stage=GENERATOR_STAGE, num_identities=1, pretrained=False)


def check_san(config: RunConfig) -> None:
    """
    Raises:
        ValueError: as `check_decoder`; batches are not what the map triplets need; or nothing makes the textures.
    """
    check_decoder(config)
    settings = settings_of(config)
    generates = _generates(config)
    if generates and settings.generator is not None:
        _require_generator(settings.generator)
    before: set[str] = set()
    for name, phase in config.phases.items():
        if phase.stage == STAGE and phase.images_per_identity != IMAGES_PER_IDENTITY:
            raise ValueError(
                f"phases.{name}.images_per_identity: the triplets of the decoder's maps need {IMAGES_PER_IDENTITY}"
            )
        if phase.stage == STAGE and generates and settings.generator is None and GENERATOR_STAGE not in before:
            raise ValueError(
                f"models.san.textures: nothing generates them for phase {name}: add a phase of stage {GENERATOR_STAGE} "
                "before it, name the checkpoint of one as models.san.generator, or set models.san.textures=own where "
                "the dataset has some"
            )
        before.add(phase.stage)


def untrained_generator(config: RunConfig, trained: Collection[str]) -> str | None:
    """See `Stage.untrained`."""
    settings = settings_of(config)
    if not _generates(config) or settings.generator is not None or GENERATOR_STAGE in trained:
        return None
    return (
        "which would learn textures that nothing generates: name the checkpoint of a generator, "
        "models.san.generator=PLACE, or do without, models.san.reconstruction_weight=0"
    )


def _generates(config: RunConfig) -> bool:
    """Whether a generator makes the textures."""
    return learns_textures(config) and settings_of(config).textures == "generated"


def _require_generator(place: str) -> None:
    """
    Raises:
        ValueError: there is no checkpoint of a texture generator.
    """
    try:
        stage = load_state(place).stage
    except CheckpointError as error:
        raise ValueError(f"models.san.generator: {error}") from error
    if stage != GENERATOR_STAGE:
        raise ValueError(f"models.san.generator: {place} is of stage {stage}, not {GENERATOR_STAGE}")


def require_textures(config: RunConfig, dataset: Dataset) -> None:
    """
    Raises:
        ValueError: the dataset's own textures are asked for, and it has none.
    """
    if settings_of(config).textures == "own" and not dataset.has_textures:
        raise ValueError(f"models.san.textures: {dataset.name} has no textures of its people; set it to generated")
