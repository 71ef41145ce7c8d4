# ruff: noqa: N815 - fields carry their shape as a suffix
"""FGSAM: trunk, pose resolve net and the heads of each training stage.

Legend: B images, C trunk channels, H × W and h × w cells of the trunk's and the pose maps, J = 57 pose channels,
        K identities, D length of a vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.config import AFFINITY_CHANNELS, CONFIDENCE_CHANNELS, Attribute, ModelConfig
from reid.models.alignment import LocallyReinforcedAlignment, PartFusion, plenary_alone
from reid.models.baseline import BaselineHead
from reid.models.normalisation import freeze_batch_norm
from reid.models.pooling import bilinear_product
from reid.models.pose_net import PoseMaps, PoseResolveNet
from reid.models.precision import at_least_fp32
from reid.models.trunk import make_trunk


@dataclass(frozen=True, kw_only=True)
class Output:
    """What FGSAM says of a batch, whatever its stage; what the stage lacks is empty or None."""

    pose: tuple[PoseMaps, ...] = ()
    """Maps of every stage of the pose resolve net, the finest last."""
    identity_logits_BK: Tensor | None = None
    attribute_logits: dict[str, Tensor] = field(default_factory=dict)
    """Logits (B × classes) by attribute."""
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    """Embeddings (B × dim) by branch, plenary last: of unit length, but for a baseline's pooled vector."""
    triplet_branches: tuple[str, ...] = ()
    """Branches whose embedding carries a triplet loss."""
    descriptor_BD: Tensor | None = None
    """Unit vectors to compare images by, with Euclidean or cosine distance: the same ranking."""


@dataclass(frozen=True, kw_only=True)
class _Form:
    """What a training stage's model is made of."""

    trunk: bool = True
    fuses: bool = True
    """Whether trunk and pose maps are batch-normalised and, with `pose` on, fused; else there is a baseline's head."""
    parts: bool = False
    """Whether there is a branch for each part."""
    triplet: bool = False
    """Whether a baseline's pooled vector carries a triplet loss."""


FORMS = {
    "pose": _Form(trunk=False),
    "baseline": _Form(fuses=False),
    "strong_baseline": _Form(fuses=False, triplet=True),
    "intermediate": _Form(),
    "final": _Form(parts=True),
}
"""Of FGSAM, by training stage."""


class FGSAM(nn.Module):
    """Fine-Grained Spatial Alignment Model (Zhou et al., IEEE TIP 2020), in one of its training stages.

    - `pose`: the pose resolve net.
    - `baseline`: the trunk, pooling, an identity classifier.
    - `strong_baseline`: the same, with a triplet loss on the pooled vector.
    - `intermediate`: trunk and pose maps, batch-normalised (eq. 6–8) and fused by compact bilinear pooling, in the
      plenary branch alone, which has classifiers for identity and every attribute.
    - `final`: locally reinforced alignment. Every part of the layout fuses its own pose channels with the trunk's map
      into an embedding that its attributes' classifiers read; the plenary branch sees all channels and keeps the
      identity classifier and the attributes that no part shows.

    Modules that stages share have the same names, so weights carry over by name (`carry_over`). The descriptor is the
    pooled vector of a baseline, else all branches' embeddings concatenated and divided by √(number of branches).

    Args:
        config: sizes and switches. With `pose` off, every branch sees the trunk's map, batch-normalised and averaged.
        stage: which of the above.
        num_identities: classes of the identity classifier; unused in `pose`.
        attributes: attributes by name; used in `intermediate` and `final`.
        seed: seed of all initial weights and of the sketches' hashes; the global random state stays as it was.
        pretrained: False leaves out the pre-trained weights that `config` names, for weights from a checkpoint.

    Raises:
        ValueError: the stage or the trunk is unknown, or layout, attributes or pre-trained weights do not fit.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        stage: str,
        num_identities: int,
        attributes: Mapping[str, Attribute],
        seed: int = 0,
        pretrained: bool = True,
    ) -> None:
        if stage not in FORMS:
            raise ValueError(f"invalid stage '{stage}', expected one of {', '.join(FORMS)}")
        super().__init__()
        self.config = config
        self.stage = stage
        self._form = FORMS[stage]
        self.attributes = dict(attributes)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            if not self._form.trunk:
                self.pose_net = PoseResolveNet(config.pose_net, pretrained=pretrained)
                return
            self.trunk = make_trunk(config, pretrained=pretrained)
            channels = self.trunk.channels
            if not self._form.fuses:
                self.baseline = BaselineHead(channels, num_identities, pooling=config.pooling, neck=config.neck)
                return
            self.trunk_norm = nn.BatchNorm2d(channels)
            if config.pose:
                if config.maps == "net":
                    self.pose_net = PoseResolveNet(config.pose_net, pretrained=pretrained)
                self.confidence_norm = nn.BatchNorm2d(CONFIDENCE_CHANNELS)
                self.affinity_norm = nn.BatchNorm2d(AFFINITY_CHANNELS)
            layout = config.resolved_layout()
            self.alignment = LocallyReinforcedAlignment(
                layout if self._form.parts else plenary_alone(layout),
                trunk_channels=channels,
                sketch_dim=config.sketch_dim if config.pose else None,
                num_identities=num_identities,
                attributes=attributes,
                seed=seed,
            )

    def forward(self, images_BCHW: Tensor, unparsed_BJhw: Tensor | None = None) -> Output:
        """Args: images, and the maps that `pose_maps` takes."""
        if not self._form.trunk:
            return Output(pose=self.pose_net(images_BCHW))
        features_BCHW = self.trunk(images_BCHW)
        if not self._form.fuses:
            return self._pooled(features_BCHW)
        features_BCHW = self.trunk_norm(features_BCHW)
        pose = self.pose_maps(images_BCHW, unparsed_BJhw)
        with torch.autocast(images_BCHW.device.type, enabled=False):
            sum_BC = at_least_fp32(features_BCHW).sum(dim=(2, 3))
            product_BCJ = bilinear_product(features_BCHW, self._normed(pose[-1])) if pose else None
        aligned = self.alignment(sum_BC, product_BCJ)
        return Output(
            pose=pose,
            identity_logits_BK=aligned.identity_logits_BI,
            attribute_logits=aligned.attribute_logits,
            embeddings=aligned.embeddings,
            triplet_branches=self.alignment.triplet_branches,
            descriptor_BD=torch.cat(list(aligned.embeddings.values()), dim=1) / len(aligned.embeddings) ** 0.5,
        )

    def pose_maps(self, images_BCHW: Tensor, unparsed_BJhw: Tensor | None = None) -> tuple[PoseMaps, ...]:
        """The pose maps that are fused, the finest last; none with `pose` off.

        Args:
            unparsed_BJhw: maps that were computed before: `PoseResolveNet.unparsed`, or with `config.maps` other than
                `net` the maps as they are; none = the pose resolve net looks at the images.

        Raises:
            ValueError: there is neither a net nor maps.
        """
        if not self.config.pose:
            return ()
        if self.config.maps == "net":
            return self.pose_net(images_BCHW) if unparsed_BJhw is None else (self.pose_net.parsed(unparsed_BJhw),)
        if unparsed_BJhw is None:
            raise ValueError(
                f"model.maps: {self.config.maps} needs maps made from a dataset's joints, so such a model is for "
                "comparison alone: train one with maps=net to describe other images"
            )
        return (PoseMaps.of(unparsed_BJhw),)

    def _pooled(self, features_BCHW: Tensor) -> Output:
        pooled_BC, necked_BC, identity_logits_BK = self.baseline(features_BCHW)
        return Output(
            identity_logits_BK=identity_logits_BK,
            embeddings={"pooled": pooled_BC} if self._form.triplet else {},
            triplet_branches=("pooled",) if self._form.triplet else (),
            descriptor_BD=F.normalize(at_least_fp32(necked_BC), dim=1),
        )

    def part_maps(self, pose: PoseMaps) -> dict[str, Tensor]:
        """Where each branch looks: maps (B, h, w) by branch, plenary last (paper, Fig. 6).

        A cell's value is the mean absolute value of the branch's pose channels there, batch-normalised (eq. 6–8) and
        mixed by the branch's 1×1 conv, as compact bilinear pooling takes them in.

        Args:
            pose: what the last stage of the pose resolve net saw, `Output.pose[-1]`.
        """
        assert self._form.fuses, f"stage {self.stage} fuses no maps"
        with torch.autocast(pose.confidence_BJhw.device.type, enabled=False):
            normed_BJhw = self._normed(pose)
            return {
                name: cast(PartFusion, fusion).strength(normed_BJhw) for name, fusion in self.alignment.fusions.items()
            }

    def _normed(self, maps: PoseMaps) -> Tensor:
        confidence_BJhw = self.confidence_norm(at_least_fp32(maps.confidence_BJhw))
        return torch.cat((confidence_BJhw, self.affinity_norm(at_least_fp32(maps.affinity_BLhw))), dim=1)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; with `batch_norm` = `frozen`, batch norms stay in evaluation mode."""
        super().train(mode)
        if self.config.batch_norm == "frozen":
            freeze_batch_norm(self)
        return self
