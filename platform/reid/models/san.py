# ruff: noqa: N815 - fields carry their shape as a suffix
"""SAN: an encoder that describes people, and a decoder that it must serve too while it is trained.

Legend: B images, H × W input pixels, C channels, K identities, D length of the descriptor, S texels a side.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.config import SANConfig
from reid.models.normalisation import freeze_batch_norm
from reid.models.precision import at_least_fp32
from reid.models.texture_decoder import TextureDecoder
from reid.models.trunk import Trunk

STAGES = 4
"""Of the trunk, all of which the decoder sees."""


@dataclass(frozen=True, kw_only=True)
class SANOutput:
    """What SAN says of a batch, whatever its stage; what the stage or the mode lacks is None or empty."""

    vector_BD: Tensor | None = None
    """What identity classifier and triplet loss read, of any length."""
    identity_logits_BK: Tensor | None = None
    attribute_logits: dict[str, Tensor] = field(default_factory=dict)
    descriptor_BD: Tensor | None = None
    """`vector_BD` scaled to unit length, to compare images by."""
    texture_BCSS: Tensor | None = None
    """In training mode: the reconstructed texture, within [-1, 1] when it is right."""
    decoded: tuple[Tensor, ...] = ()
    """In training mode: the decoder's maps, the coarsest first."""


@dataclass(frozen=True, kw_only=True)
class _Form:
    describes: bool = True
    decodes: bool = True


SAN_FORMS = {
    "texture_generator": _Form(describes=False),
    "san_baseline": _Form(decodes=False),
    "san": _Form(),
}
"""Of SAN, by training stage."""


class SAN(nn.Module):
    """Semantics-Aligned Network (Jin et al., AAAI 2020), in one of its training stages.

    - `texture_generator`: encoder and decoder, which reconstruct textures (the paper's SAN-PG).
    - `san_baseline`: the encoder, an embedding, an identity classifier.
    - `san`: all of it. The decoder works in training mode alone, so that a description costs what the baseline's does.

    The authors compare vectors of any length; the descriptor here has unit length, as all descriptors of this platform.

    Args:
        config: sizes and switches.
        stage: which of the above.
        num_identities: classes of the identity classifier; unused in `texture_generator`.
        seed: seed of all initial weights; the global random state stays as it was.
        pretrained: False leaves out the pre-trained weights that `config` names, for weights from a checkpoint.

    Raises:
        ValueError: the trunk is unknown or no ResNet, or pre-trained weights do not fit.
    """

    def __init__(
        self, config: SANConfig, *, stage: str, num_identities: int, seed: int = 0, pretrained: bool = True
    ) -> None:
        super().__init__()
        self.config = config
        form = SAN_FORMS[stage]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            weights = config.weights if pretrained else None
            self.trunk = Trunk(config.trunk, weights=weights, last_stride=config.last_stride)
            self.head = _Head(self.trunk.channels, config.embedding_dim, num_identities) if form.describes else None
            self.decoder = (
                TextureDecoder(_four(self.trunk.stage_channels()), config.decoder_widths, skips=config.skips)
                if form.decodes
                else None
            )

    def forward(self, images_BCHW: Tensor) -> SANOutput:
        stages = self.trunk.stage_maps(images_BCHW)
        described = self._describe(stages[-1]) if self.head is not None else SANOutput()
        if not self.training or self.decoder is None:
            return described
        texture_BCSS, decoded = self.decoder(stages)
        return replace(described, texture_BCSS=texture_BCSS, decoded=decoded)

    def reconstruct(self, images_BCHW: Tensor) -> Tensor:
        """texture_BCSS in [-1, 1], in whatever mode."""
        assert self.decoder is not None, "this stage has no decoder"
        texture_BCSS, _ = self.decoder(self.trunk.stage_maps(images_BCHW))
        return at_least_fp32(texture_BCSS).clamp(-1, 1)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; with `batch_norm` = `frozen`, batch norms stay in evaluation mode."""
        super().train(mode)
        if self.config.batch_norm == "frozen":
            freeze_batch_norm(self)
        return self

    def _describe(self, features_BCHW: Tensor) -> SANOutput:
        assert self.head is not None
        vector_BD, identity_logits_BK = self.head(features_BCHW)
        return SANOutput(
            vector_BD=vector_BD,
            identity_logits_BK=identity_logits_BK,
            descriptor_BD=F.normalize(at_least_fp32(vector_BD), dim=1),
        )


class _Head(nn.Module):
    """Average pooling, the embedding if there is one, and the identity classifier."""

    def __init__(self, channels: int, embedding_dim: int | None, num_identities: int) -> None:
        super().__init__()
        self.embed = (
            None
            if embedding_dim is None
            else nn.Sequential(nn.Linear(channels, embedding_dim), nn.BatchNorm1d(embedding_dim), nn.ReLU())
        )
        self.identity = nn.Linear(embedding_dim or channels, num_identities)

    def forward(self, features_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Returns vector_BD and identity logits."""
        pooled_BC = features_BCHW.mean(dim=(2, 3))
        vector_BD = pooled_BC if self.embed is None else self.embed(pooled_BC)
        return vector_BD, self.identity(vector_BD)


def _four(channels: tuple[int, ...]) -> tuple[int, ...]:
    """
    Raises:
        ValueError: they are not those of a ResNet's four stages.
    """
    if len(channels) != STAGES:
        raise ValueError("models.san.trunk: the texture decoder needs a ResNet, such as resnet50")
    return channels
