"""SAN's losses beside identities: reconstruction of the texture, and triplets of the decoder's maps.

Legend: B samples of this rank, in identities of K = 4 side by side; P identities of this rank, R ranks; S texels a
        side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from reid.losses.ranks import Ranks, global_mean
from reid.models import at_least_fp32

IMAGES_PER_IDENTITY = 4
"""K of the P×K batches that the places below are in."""
PLACES = ((0, 1, 0), (1, 2, 1), (2, 3, 2), (3, 0, 0))
"""Anchor and positive within an identity and negative within the next, by map of the decoder, coarsest first."""


def reconstruction_error(texture_BCSS: Tensor, target_BCSS: Tensor, ranks: Ranks) -> Tensor:
    """Mean absolute difference (L1) over all texels of the global batch."""
    difference_BCSS = (at_least_fp32(texture_BCSS) - target_BCSS).abs()
    return global_mean(difference_BCSS.sum(), torch.tensor(difference_BCSS.numel(), device=target_BCSS.device), ranks)


@dataclass(frozen=True, kw_only=True)
class MapTriplets:
    """The triplets of the decoder's maps in a batch."""

    loss: Tensor
    active: Tensor
    """Share of the triplets that cost anything, without gradient, as the two below."""
    positive_distance: Tensor
    """Mean distance of anchor and positive."""
    negative_distance: Tensor
    """Mean distance of anchor and negative."""


def map_triplets(
    maps: Sequence[Tensor], ranks: Ranks, *, margin: float, distance: Literal["raw", "unit"] = "raw"
) -> MapTriplets:
    """Triplet loss on the decoder's maps, the authors' perceptual loss, from their code.

    A sum, not a mean, of max(d_ap − d_an + margin, 0) over the four maps and over all identities of the global batch
    but the last, at fixed places of the P×K batch (`PLACES`), the negative from the identity that comes next. Only one
    sample of each map goes from rank to rank. Computed in fp32 at least, under autocast too.

    Args:
        maps: four maps (B, C, h, w), each of its own size.
        margin: margin of the triplets.
        distance: mean squared difference of maps as they are (`raw`), or the squared Euclidean distance of maps that
            are scaled to `unit` length: raw maps need only become larger to satisfy the loss.

    Raises:
        ValueError: the batch does not consist of identities of `IMAGES_PER_IDENTITY` samples, or there are not four
            maps.
    """
    if len(maps) != len(PLACES) or any(len(map_BChw) % IMAGES_PER_IDENTITY for map_BChw in maps):
        raise ValueError(f"map triplets need {len(PLACES)} maps of P x {IMAGES_PER_IDENTITY} samples")
    pairs = []
    with torch.autocast(maps[0].device.type, enabled=False):
        for map_BChw, places in zip(maps, PLACES, strict=True):
            anchor_PD, positive_PD, negative_PD = (
                _vectors(map_BChw[place::IMAGES_PER_IDENTITY], distance) for place in places
            )
            others_RD = ranks.gather_one(negative_PD[0])
            following_D = others_RD[(ranks.rank + 1) % ranks.world_size]
            next_PD = torch.cat((negative_PD[1:], following_D[None]))
            pairs.append((_apart(anchor_PD, positive_PD, distance), _apart(anchor_PD, next_PD, distance)))
    d_ap_P4, d_an_P4 = (torch.stack(of_maps, dim=1) for of_maps in zip(*pairs, strict=True))
    counted_P4 = torch.ones_like(d_ap_P4)
    if ranks.rank == ranks.world_size - 1:
        counted_P4[-1] = 0  # nobody comes after the last identity
    hinge_P4 = (d_ap_P4 - d_an_P4 + margin).clamp(min=0) * counted_P4
    count = counted_P4.sum()

    def mean(values_P4: Tensor) -> Tensor:
        return global_mean((values_P4.detach() * counted_P4).sum(), count, ranks)

    return MapTriplets(
        loss=hinge_P4.sum() * ranks.world_size,
        active=mean((hinge_P4 > 0).to(d_ap_P4.dtype)),
        positive_distance=mean(d_ap_P4),
        negative_distance=mean(d_an_P4),
    )


def _vectors(map_PChw: Tensor, distance: str) -> Tensor:
    vectors_PD = at_least_fp32(map_PChw.flatten(1))
    return F.normalize(vectors_PD, dim=1) if distance == "unit" else vectors_PD


def _apart(one_PD: Tensor, other_PD: Tensor, distance: str) -> Tensor:
    squared_PD = (one_PD - other_PD).square()
    return squared_PD.sum(dim=1) if distance == "unit" else squared_PD.mean(dim=1)
