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

from reid.config import AFFINITY_CHANNELS, CONFIDENCE_CHANNELS, POSE_CHANNELS, Attribute, ModelConfig
from reid.models.alignment import Classifiers, LocallyReinforcedAlignment, PartFusion, unit_variance
from reid.models.pooling import CompactBilinearPooling, bilinear_product
from reid.models.pose_net import PoseMaps, PoseResolveNet
from reid.models.precision import at_least_fp32
from reid.models.trunk import Trunk


@dataclass(frozen=True, kw_only=True)
class Output:
    """What FGSAM says of a batch, whatever its stage; what the stage lacks is empty or None."""

    pose: tuple[PoseMaps, ...] = ()
    """Maps of every stage of the pose resolve net, the finest last."""
    identity_logits_BK: Tensor | None = None
    attribute_logits: dict[str, Tensor] = field(default_factory=dict)
    """Logits (B × classes) by attribute."""
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    """L2-normalised embeddings (B × dim) by branch, plenary last."""
    triplet_branches: tuple[str, ...] = ()
    """Branches whose embedding carries a triplet loss."""
    descriptor_BD: Tensor | None = None
    """Unit vectors to compare images by, with Euclidean or cosine distance: the same ranking."""


@dataclass(frozen=True, kw_only=True)
class _Form:
    """What a training stage's model is made of, beside its classifiers."""

    trunk: bool = True
    fuses: bool = True
    """Whether trunk and pose maps are batch-normalised and, with `pose` on, fused."""
    parts: bool = False
    """Whether there is a branch for each part."""


FORMS = {
    "pose": _Form(trunk=False),
    "baseline": _Form(fuses=False),
    "intermediate": _Form(),
    "final": _Form(parts=True),
}
"""Of FGSAM, by training stage."""


class FGSAM(nn.Module):
    """Fine-Grained Spatial Alignment Model (Zhou et al., IEEE TIP 2020), in one of its training stages.

    - `pose`: the pose resolve net.
    - `baseline`: the trunk, average pooling, an identity classifier.
    - `intermediate`: trunk and pose maps, batch-normalised (eq. 6–8) and fused into one vector by compact bilinear
      pooling, with classifiers for identity and every attribute.
    - `final`: locally reinforced alignment. Every part of the layout fuses its own pose channels with the trunk's map
      into an embedding that its attributes' classifiers read; the plenary branch sees all channels and has the identity
      classifier and the attributes that no part shows.

    Modules that stages share have the same names, so weights carry over by name (`carry_over`). The descriptor is the
    pooled or fused vector, in `final` all branches' embeddings concatenated and divided by √(number of branches).

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
        num_classes = {name: len(attribute.classes) for name, attribute in attributes.items()}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            if not self._form.trunk:
                self.pose_net = PoseResolveNet(config.pose_net, pretrained=pretrained)
                return
            weights = config.weights if pretrained else None
            self.trunk = Trunk(config.trunk, weights=weights, last_stride=config.last_stride)
            channels = self.trunk.channels
            if not self._form.fuses:
                self.baseline = Classifiers(channels, num_identities, {})
                return
            self.trunk_norm = nn.BatchNorm2d(channels)
            if config.pose:
                self.pose_net = PoseResolveNet(config.pose_net, pretrained=pretrained)
                self.confidence_norm = nn.BatchNorm2d(CONFIDENCE_CHANNELS)
                self.affinity_norm = nn.BatchNorm2d(AFFINITY_CHANNELS)
            if not self._form.parts:
                if config.pose:
                    self.pooling = CompactBilinearPooling(channels, POSE_CHANNELS, config.sketch_dim, seed)
                fused_dim = config.sketch_dim if config.pose else channels
                self.intermediate = Classifiers(fused_dim, num_identities, num_classes)
            else:
                self.alignment = LocallyReinforcedAlignment(
                    config.resolved_layout(),
                    trunk_channels=channels,
                    sketch_dim=config.sketch_dim if config.pose else None,
                    num_identities=num_identities,
                    attributes=attributes,
                    seed=seed,
                )

    def forward(self, images_BCHW: Tensor) -> Output:
        if not self._form.trunk:
            return Output(pose=self.pose_net(images_BCHW))
        features_BCHW = self.trunk(images_BCHW)
        if not self._form.fuses:
            pooled_BC = features_BCHW.mean(dim=(2, 3))
            identity_logits_BK, _ = self.baseline(pooled_BC)
            return Output(
                identity_logits_BK=identity_logits_BK, descriptor_BD=F.normalize(at_least_fp32(pooled_BC), dim=1)
            )
        features_BCHW = self.trunk_norm(features_BCHW)
        pose = self.pose_net(images_BCHW) if self.config.pose else ()
        with torch.autocast(images_BCHW.device.type, enabled=False):
            sum_BC = at_least_fp32(features_BCHW).sum(dim=(2, 3))
            product_BCJ = bilinear_product(features_BCHW, self._normed(pose[-1])) if pose else None
        if not self._form.parts:
            fused_BD = F.normalize(sum_BC, dim=1) if product_BCJ is None else self.pooling.fuse(product_BCJ)
            identity_logits_BK, attribute_logits = self.intermediate(unit_variance(fused_BD))
            return Output(
                pose=pose,
                identity_logits_BK=identity_logits_BK,
                attribute_logits=attribute_logits,
                descriptor_BD=fused_BD,
            )
        aligned = self.alignment(sum_BC, product_BCJ)
        return Output(
            pose=pose,
            identity_logits_BK=aligned.identity_logits_BI,
            attribute_logits=aligned.attribute_logits,
            embeddings=aligned.embeddings,
            triplet_branches=self.alignment.triplet_branches,
            descriptor_BD=torch.cat(list(aligned.embeddings.values()), dim=1) / len(aligned.embeddings) ** 0.5,
        )

    def part_maps(self, pose: PoseMaps) -> dict[str, Tensor]:
        """Where each branch of stage `final` looks: maps (B, h, w) by branch, plenary last (paper, Fig. 6).

        A cell's value is the mean absolute value of the branch's pose channels there, batch-normalised (eq. 6–8) and
        mixed by the branch's 1×1 conv, as compact bilinear pooling takes them in.

        Args:
            pose: what the last stage of the pose resolve net saw, `Output.pose[-1]`.
        """
        assert self._form.parts, f"stage {self.stage} has no parts"
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
            for module in self.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm):
                    module.eval()
        return self
