"""The pictures of a scored model.

Legend: Q queries, G gallery images, S queries that are shown, D descriptor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reid.config import RunConfig
from reid.data import Dataset, ReIDBatches
from reid.evaluation import CameraPairs, RetrievalResult, nearest_kept, spread_by_precision
from reid.models import Output
from reid.pictures import Curve, attributes_picture, cameras_picture, cmc_picture, parts_picture, ranked_picture
from reid.training import autocast

Maps = Callable[[nn.Module, Output], dict[str, Tensor]]
"""Where a model's branches look, from what it says of some images: maps (S, h, w) by branch."""

QUERIES = 8
"""Queries that are shown."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found of all images."""

    query_QD: Tensor  # noqa: N815 - the descriptors' shape
    gallery_GD: Tensor  # noqa: N815
    results: Mapping[str, RetrievalResult]
    """Of the plain ranking first, then of others that `cmc.png` compares with it."""
    pairs: CameraPairs | None
    """How queries of one camera are found among another's images."""
    attributes: Mapping[str, tuple[float, float]]
    """Accuracy by attribute, and that of its most common class."""


@torch.inference_mode()
def illustrate(
    model: nn.Module,
    dataset: Dataset,
    config: RunConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    found: Found,
    maps: Maps | None = None,
) -> dict[str, bytes]:
    """PNG files by name: `cmc.png`, `ranked.png` and, of what is given, `cameras.png`, `attributes.png`, `parts.png`.

    Args:
        maps: where the branches look.
    """
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    aspect = config.data.width / config.data.height
    (scores, *_) = (result.scores for result in found.results.values())
    shown = spread_by_precision(scores, QUERIES)
    neighbours = nearest_kept(
        shown, scores, found.query_QD, found.gallery_GD, query.pids_N, gallery.pids_N, query.camids_N, gallery.camids_N
    )
    pictures = {
        "cmc.png": cmc_picture({name: Curve(cmc=r.cmc.tolist(), mAP=r.mAP) for name, r in found.results.items()}),
        "ranked.png": ranked_picture(neighbours, query, gallery, aspect=aspect),
    }
    if found.pairs is not None:
        pictures["cameras.png"] = cameras_picture(found.pairs)
    if found.attributes:
        accuracies, rivals = ({name: both[which] for name, both in found.attributes.items()} for which in (0, 1))
        pictures["attributes.png"] = attributes_picture(accuracies, rivals)
    if maps is not None:
        batches = ReIDBatches(dataset, "query", config.data, device=device, channels_last=config.channels_last)
        with autocast(device, dtype):
            looks = maps(model, model(*batches.inputs(shown)))
        if looks:
            pictures["parts.png"] = parts_picture(shown, query, looks, aspect=aspect)
    return pictures
