# ruff: noqa: N815 - fields carry their shape as a suffix
"""Classifiers, and the branches of the locally reinforced alignment mode (paper, section III-C).

Legend: B images, C trunk channels, J = 57 pose channels, K channels of one part, D length of a vector, I identities.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.config import POSE_CHANNELS, Attribute, Layout
from reid.models.pooling import CompactBilinearPooling

PLENARY = "plenary"
"""The branch that sees every pose channel and tells identities apart."""


def unit_variance(unit_BD: Tensor) -> Tensor:
    """Unit vectors scaled to entries of mean square 1, the input that a linear layer's initial weights expect."""
    return unit_BD * math.sqrt(unit_BD.shape[1])


class Classifiers(nn.Module):
    """Linear classifiers on one vector: identity, if any, and attributes.

    Args:
        features: length of the vector.
        num_identities: classes of the identity classifier; none = no such classifier.
        num_classes: classes of every attribute.
    """

    def __init__(self, features: int, num_identities: int | None, num_classes: Mapping[str, int]) -> None:
        super().__init__()
        self.identity = None if num_identities is None else nn.Linear(features, num_identities)
        self.attributes = nn.ModuleDict({name: nn.Linear(features, count) for name, count in num_classes.items()})

    def forward(self, vector_BD: Tensor) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Returns identity logits and attribute logits by name."""
        identity_logits_BI = None if self.identity is None else self.identity(vector_BD)
        return identity_logits_BI, {name: classify(vector_BD) for name, classify in self.attributes.items()}


class PartFusion(nn.Module):
    """A 1×1 conv across a part's pose channels, then compact bilinear pooling with the trunk's map.

    Both are linear up to the sum over positions, so the conv acts on the outer product that all parts share, already
    summed, and no part touches a map: Σₚ f(p)·(W h(p) + b)ᵀ = (Σₚ f(p)·h(p)ᵀ)·Wᵀ + (Σₚ f(p))·bᵀ.

    Args:
        pose_channels: indices of the part's channels.
        trunk_channels: channels C of the trunk's map.
        sketch_dim: length D of the sketch.
        seed: seed of the sketch's hashes.
    """

    def __init__(self, pose_channels: Sequence[int], trunk_channels: int, sketch_dim: int, seed: int) -> None:
        super().__init__()
        self.register_buffer("pose_channels", torch.tensor(pose_channels), persistent=False)
        self.mix = nn.Linear(len(pose_channels), len(pose_channels))
        self.pooling = CompactBilinearPooling(trunk_channels, len(pose_channels), sketch_dim, seed)

    pose_channels: Tensor

    def forward(self, sum_BC: Tensor, product_BCJ: Tensor) -> Tensor:
        """Returns fused_BD of unit length."""
        with torch.autocast(sum_BC.device.type, enabled=False):
            mixed_BCK = product_BCJ.index_select(2, self.pose_channels) @ self.mix.weight.T
            return self.pooling.fuse(mixed_BCK + sum_BC[:, :, None] * self.mix.bias)

    def strength(self, pose_BJhw: Tensor) -> Tensor:
        """Mean absolute value of the mixed pose channels, (B, h, w): how much of the trunk's map each cell lets in."""
        own_BhwK = pose_BJhw.index_select(1, self.pose_channels).movedim(1, -1)
        mixed_BhwK: Tensor = self.mix(own_BhwK)
        return mixed_BhwK.abs().mean(dim=-1)


class Branch(nn.Module):
    """A 1×1 conv (on a pooled vector: a linear layer) from a fused vector to an embedding, and classifiers on it.

    Args:
        features: length of the fused vector, which has unit length.
        dim: length of the embedding.
        num_identities: classes of the identity classifier; none = no such classifier.
        num_classes: classes of every attribute that supervises this branch.
    """

    def __init__(self, features: int, dim: int, num_identities: int | None, num_classes: Mapping[str, int]) -> None:
        super().__init__()
        self.project = nn.Linear(features, dim)
        self.classifiers = Classifiers(dim, num_identities, num_classes)

    def forward(self, fused_BD: Tensor) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Returns the L2-normalised embedding in the dtype of the input, identity logits, attribute logits by name."""
        projected_BD = self.project(unit_variance(fused_BD))
        return F.normalize(projected_BD.to(fused_BD.dtype), dim=1), *self.classifiers(projected_BD)


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """What the branches say."""

    embeddings: dict[str, Tensor]
    """L2-normalised embeddings (B × dim) by branch, plenary last."""
    identity_logits_BI: Tensor
    attribute_logits: dict[str, Tensor]


def plenary_alone(layout: Layout) -> Layout:
    """A layout without parts, whose plenary branch carries no triplet loss."""
    return layout.model_copy(update={"parts": (), "plenary_triplet": False})


class LocallyReinforcedAlignment(nn.Module):
    """One branch per part of the layout, supervised by the part's attributes, and the plenary branch.

    Args:
        layout: the parts.
        trunk_channels: channels C of the trunk's map.
        sketch_dim: length of the sketches; none = without pose, every branch sees the averaged trunk map.
        num_identities: classes of the plenary branch's identity classifier.
        attributes: attributes by name.
        seed: seed of the sketches' hashes.

    Raises:
        ValueError: a part has neither triplet loss nor attribute, or names an attribute that is not given.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        trunk_channels: int,
        sketch_dim: int | None,
        num_identities: int,
        attributes: Mapping[str, Attribute],
        seed: int,
    ) -> None:
        super().__init__()
        assigned = layout.attributes_of_parts({name: attribute.region for name, attribute in attributes.items()})
        for part in layout.parts:
            if not part.triplet and not assigned[part.name]:
                raise ValueError(
                    f"model.layout: part '{part.name}' has neither a triplet loss nor an attribute of this dataset, so "
                    "nothing would train it: set its `triplet`, give it attributes, or leave it out"
                )
        channels = {part.name: part.channels() for part in layout.parts} | {PLENARY: list(range(POSE_CHANNELS))}
        dims = {part.name: part.dim for part in layout.parts} | {PLENARY: layout.plenary_dim}
        triplets = {part.name: part.triplet for part in layout.parts} | {PLENARY: layout.plenary_triplet}
        self.triplet_branches = tuple(name for name, carries in triplets.items() if carries)
        self.fusions = nn.ModuleDict()
        self.branches = nn.ModuleDict()
        for number, (name, dim) in enumerate(dims.items(), start=1):
            if sketch_dim is not None:
                hashes = seed if name == PLENARY else seed + number  # the plenary branch has the same in every layout
                self.fusions[name] = PartFusion(channels[name], trunk_channels, sketch_dim, hashes)
            self.branches[name] = Branch(
                sketch_dim or trunk_channels,
                dim,
                num_identities if name == PLENARY else None,
                {attribute: len(attributes[attribute].classes) for attribute in assigned[name]},
            )

    def forward(self, sum_BC: Tensor, product_BCJ: Tensor | None) -> Aligned:
        """Args: the trunk's map summed over positions, and its outer product with the pose maps, if there are any."""
        if product_BCJ is None:
            fused = dict.fromkeys(self.branches, F.normalize(sum_BC, dim=1))
        else:
            fused = {name: fuse(sum_BC, product_BCJ) for name, fuse in self.fusions.items()}
        embeddings: dict[str, Tensor] = {}
        attribute_logits: dict[str, Tensor] = {}
        for name, branch in self.branches.items():
            embeddings[name], identity_logits_BI, own = branch(fused[name])
            attribute_logits |= own
        return Aligned(  # the plenary branch is the last
            embeddings=embeddings, identity_logits_BI=identity_logits_BI, attribute_logits=attribute_logits
        )
