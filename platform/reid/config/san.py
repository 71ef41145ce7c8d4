"""Settings of SAN, the Semantics-Aligned Network: `models.san`."""

from typing import Literal

from pydantic import Field

from reid.config.section import Positive, Section
from reid.config.training import Weight


class SANConfig(Section):
    """Encoder, texture decoder, and the weights of the losses (Jin et al., AAAI 2020; sizes of the authors' code)."""

    trunk: str = "resnet50"
    """Any ResNet of torchvision's, with all four stages."""
    weights: str | None = "imagenet"
    """`imagenet` for torchvision's default weights, a local weights file, or none = from scratch."""
    last_stride: Literal[1, 2] = 1
    """Stride of the last stage; the decoder needs 1."""
    batch_norm: Literal["local", "synchronised", "frozen"] = "local"
    """Statistics per worker, over all workers (GPU only), or not updated at all."""
    embedding_dim: int | None = Field(512, ge=2, le=65536)
    """Length of the descriptor, a layer behind the pooled map; none = the pooled map itself, as the paper draws it."""
    decoder_widths: tuple[Positive, Positive, Positive, Positive, Positive] = (512, 256, 64, 32, 16)
    """Channels of the decoder's maps, the coarsest first."""
    skips: bool = True
    """Whether the decoder also sees the maps of the trunk's first three stages."""
    textures: Literal["generated", "own"] = "generated"
    """What is reconstructed: pseudo textures by a texture generator, or the dataset's own, which no camera knows."""
    generator: str | None = None
    """Checkpoint of a texture generator trained before; none = that of the run's own phase."""
    identity_weight: Weight = 1.0
    """Factor of the identity loss in the sum."""
    triplet_weight: Weight = 1.0
    """Factor of the triplet loss on descriptors."""
    reconstruction_weight: Weight = 1.0
    """Factor of the error of the texture."""
    map_triplet_weight: Weight = 1.0
    """Factor of the triplet loss on the decoder's maps."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Smoothing of the identity labels."""
    margin: float = Field(0.3, ge=0, le=100, allow_inf_nan=False)
    """Margin of the batch-hard triplet loss, of vectors that are not normalised."""
    map_margin: float = Field(0.3, ge=0, le=100, allow_inf_nan=False)
    """Margin of the triplet loss on the decoder's maps."""
    map_distance: Literal["raw", "unit"] = "raw"
    """Between maps as they are, the authors' way, which larger maps alone satisfy; or scaled to unit length."""
    decoder_rate: Weight = 1.0
    """Learning rate of the decoder, as a multiple of the phase's, where it is trained beside identities."""
