"""Settings of the images: which, from where, at what size, and how they are augmented."""

from typing import Literal

from pydantic import Field

from reid.config.section import Section


class AugmentationConfig(Section):
    """Random changes to training images, drawn for the whole global batch; the paper names none."""

    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a horizontal flip."""
    pad: int = Field(0, ge=0, le=64)
    """Pixels of zero padding around the image before a crop of the original size; 0 = no crop."""
    erase: float = Field(0.0, ge=0, le=1)
    """Probability of erasing one random rectangle."""
    colour: float = Field(0.0, ge=0, lt=1)
    """Largest relative change of each colour channel's gain and of the contrast, e.g. 0.2."""


class DataConfig(Section):
    """Which images, from where, at what size."""

    name: str = "embedded"
    """A manifest in `datasets/`, such as `market1501`, or one of your own, `FILE.yaml`; `embedded` renders the
    benchmark that comes with the project."""
    source: str | None = None
    """Folder of the dataset in its original format; not used by `embedded`."""
    pose_source: str | None = None
    """Folder of COCO (`annotations/`, `train2017/`) for the pose phase; not used by `embedded`."""
    texture_source: str | None = None
    """Folder of image–texture pairs (`train/` and `val/`, each with `images/` and `textures/`) for phases that learn
    textures; not used by `embedded`."""
    pose_images: Literal["crops", "whole"] = "crops"
    """What the pose phase sees: an upright crop of each person, or whole images fitted into the model's input, where
    people are smaller."""
    size: Literal["smoke", "demo", "market"] = "demo"
    """How much `embedded` renders."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of what `embedded` renders; apart from the run's, so that runs with other seeds see the same people."""
    height: int = Field(256, ge=16, le=1024, multiple_of=8)
    """Height of the model's input in pixels."""
    width: int = Field(128, ge=16, le=1024, multiple_of=8)
    """Width of the model's input in pixels."""
    encoding: Literal["raw", "compressed"] = "raw"
    """Pixels in the Arrow store, or the original JPEG/PNG bytes (smaller, decoded anew for each batch)."""
    augmentation: AugmentationConfig = AugmentationConfig()
