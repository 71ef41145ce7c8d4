"""Focal triplet loss (paper, section III-D).

Legend: N branches, B samples of the global batch, D dimensions, P (anchor, positive) pairs.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.config import LossConfig
from reid.models import at_least_fp32


def plain_triplet(d_ap: Tensor, d_an: Tensor, alpha: float) -> Tensor:
    """Eq. 9 per triplet: max(d_ap − d_an + α, 0)."""
    return (d_ap - d_an + alpha).clamp(min=0)


def focal_triplet(d_ap: Tensor, d_an: Tensor, alpha: float, beta: float, gamma: float) -> Tensor:
    """Eq. 10 per triplet: λ^γ · max(d_ap − d_an + α, 0) + max(d_ap − β, 0) with λ = max(d_ap − d_an + 1, 1).

    Gradients flow through λ too.

    Args:
        d_ap: distances of anchors and positives, of any shape.
        d_an: distances of anchors and negatives; the two broadcast.
        alpha: margin α.
        beta: largest intra-class distance β that costs nothing.
        gamma: exponent γ of the focal weight.
    """
    focus = (d_ap - d_an + 1).clamp(min=1)
    return focus**gamma * plain_triplet(d_ap, d_an, alpha) + (d_ap - beta).clamp(min=0)


class FocalTripletLoss(nn.Module):
    """Triplet loss over a labelled batch, for one embedding or for all branches' at once.

    Distances are Euclidean. A pair at distance zero has a zero gradient. Computed in fp32 at least, under autocast too.

    Args:
        alpha: margin α of the triplets.
        beta: largest intra-class distance β that costs nothing.
        gamma: exponent γ of the focal weight.
        mining: `batch_all` averages over all valid triplets (a ≠ p of one identity, n of another), easy ones included;
            `batch_hard` over the anchors that have both, each with its farthest positive and nearest negative.
        kind: `focal` (eq. 10) or `plain` (eq. 9, which has neither β nor γ).
        averaging: `valid` averages over all mined triplets; `active` over those alone whose margin is violated or, with
            `focal`, whose pair is farther apart than β, so that easy triplets do not shrink the loss (Hermans et al.,
            "In Defense of the Triplet Loss", 2017).
        distance: between embeddings scaled to `unit` length, which is part of the loss and leaves unit vectors as they
            are; or between `raw` ones, of any length.
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.01,
        gamma: float = 2.0,
        mining: Literal["batch_all", "batch_hard"] = "batch_all",
        kind: Literal["focal", "plain"] = "focal",
        averaging: Literal["valid", "active"] = "valid",
        distance: Literal["unit", "raw"] = "unit",
    ) -> None:
        super().__init__()
        for what, given, known in (
            ("mining", mining, _MINERS),
            ("kind", kind, ("focal", "plain")),
            ("averaging", averaging, ("valid", "active")),
            ("distance", distance, ("unit", "raw")),
        ):
            if given not in known:
                raise ValueError(f"invalid {what} '{given}', expected one of {', '.join(known)}")
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.mining = mining
        self.kind = kind
        self.averaging = averaging
        self.distance = distance

    @classmethod
    def from_config(cls, config: LossConfig) -> "FocalTripletLoss":
        return cls(config.alpha, config.beta, config.gamma, config.mining, config.triplet, config.averaging)

    def forward(self, embeddings: Tensor, labels_B: Tensor) -> Tensor:
        """Mean loss of the mined triplets.

        Args:
            embeddings: embeddings_BD, or embeddings_NBD of N branches that share the labels; shorter embeddings may be
                padded with zeros, which changes no distance.
            labels_B: identity labels.

        Returns:
            One loss per branch, a scalar for embeddings_BD, losses_N for embeddings_NBD. Without a valid triplet it is
            a zero that is attached to the graph.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = at_least_fp32(embeddings)
            distances = pairwise_distances(F.normalize(embeddings, dim=-1) if self.distance == "unit" else embeddings)
            positive_BB = labels_B[:, None] == labels_B
            negative_BB = ~positive_BB
            positive_BB = positive_BB.fill_diagonal_(False)
            d_ap, d_an, valid = _MINERS[self.mining](distances, positive_BB, negative_BB)
            losses = torch.where(valid, self._per_triplet(d_ap, d_an), 0)
            counted = valid.expand_as(losses) if self.averaging == "valid" else losses > 0
            return losses.sum(dim=(-2, -1)) / counted.sum(dim=(-2, -1)).clamp(min=1)

    def _per_triplet(self, d_ap: Tensor, d_an: Tensor) -> Tensor:
        if self.kind == "plain":
            return plain_triplet(d_ap, d_an, self.alpha)
        return focal_triplet(d_ap, d_an, self.alpha, self.beta, self.gamma)


def pairwise_distances(embeddings: Tensor) -> Tensor:
    """Euclidean distances (…BB) of embeddings (…BD), from differences: exact near zero, where the gradient is zero."""
    return torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")


def _batch_all(distances: Tensor, positive_BB: Tensor, negative_BB: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances …P1 and …PB, and valid_PB: pairs against negatives, so never B × B × B."""
    anchors_P, positives_P = positive_BB.nonzero(as_tuple=True)
    return distances[..., anchors_P, positives_P, None], distances[..., anchors_P, :], negative_BB[anchors_P]


def _batch_hard(distances: Tensor, positive_BB: Tensor, negative_BB: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances …B1 and …B1, and valid_B1."""
    if not len(positive_BB):
        nothing = distances.sum(dim=-1, keepdim=True)
        return nothing, nothing, positive_BB.any(dim=1, keepdim=True)
    farthest = torch.where(positive_BB, distances, 0).amax(dim=-1, keepdim=True)
    nearest = torch.where(negative_BB, distances, torch.inf).amin(dim=-1, keepdim=True)
    valid_B1 = positive_BB.any(dim=1, keepdim=True) & negative_BB.any(dim=1, keepdim=True)
    return farthest, torch.where(valid_B1, nearest, 0), valid_B1


_MINERS = {"batch_all": _batch_all, "batch_hard": _batch_hard}
