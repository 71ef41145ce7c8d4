# ruff: noqa: N815 - fields carry their shape as a suffix
"""What a model is trained on.

Legend: B images, C = 3 channels, H × W input pixels, A attributes, M people at most,
        J = 18 joints (`config.body.JOINTS`), of maps the 57 pose channels; h × w map cells.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ReIDBatch:
    """Person images with their identities and attributes."""

    images_BCHW: Tensor
    """float32, normalised by ImageNet's mean and standard deviation."""
    labels_B: Tensor
    """int64 identity labels: positions in the sorted identities of the split."""
    attributes_BA: Tensor
    """int64 class of every attribute; -1 = missing, ignored by losses and metrics."""
    attribute_names: tuple[str, ...]
    """Names of the A columns."""
    maps_BJhw: Tensor | None = None
    """float32 pose maps that were computed before, if any, moved as the images were."""
    textures_BCHW: Tensor | None = None
    """float32 textures of the people in the images in [−1, 1], if any, as high and as wide as the input is high; of the
    mirrored person where an image was flipped, if the textures are in one of our layouts."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a model is called with."""
        return (self.images_BCHW,) if self.maps_BJhw is None else (self.images_BCHW, self.maps_BJhw)


@dataclass(frozen=True, kw_only=True)
class PoseBatch:
    """Images of people with the joints of everyone in them, the subject's in row 0."""

    images_BCHW: Tensor
    """float32, normalised by ImageNet's mean and standard deviation."""
    keypoints_BMJ3: Tensor
    """float32 (x, y, v): input pixels, pixel centres at whole numbers; v = 0 not labelled, 1 occluded, 2 visible."""
    ignore_BHW: Tensor
    """bool at 1/8 of the input size: True where people are not annotated and nothing is to be learnt."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a model is called with."""
        return (self.images_BCHW,)
