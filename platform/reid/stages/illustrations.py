"""The pictures of a scored model.

Legend: Q queries, G gallery images, S queries that are shown, D descriptor.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from reid.config import RunConfig
from reid.data import Dataset, ReIDBatches
from reid.evaluation import RetrievalResult, nearest_kept, spread_by_precision
from reid.models import Output
from reid.pictures import cmc_picture, parts_picture, ranked_picture
from reid.training import autocast

Maps = Callable[[nn.Module, Output], dict[str, Tensor]]
"""Where a model's branches look, from what it says of some images: maps (S, h, w) by branch."""

QUERIES = 8
"""Queries that are shown."""


@torch.inference_mode()
def illustrate(
    model: nn.Module,
    dataset: Dataset,
    config: RunConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    query_QD: Tensor,
    gallery_GD: Tensor,
    results: Mapping[str, RetrievalResult],
    maps: Maps | None = None,
) -> dict[str, bytes]:
    """PNG files by name: `cmc.png`, `ranked.png` and, where there are maps, `parts.png`.

    Args:
        query_QD, gallery_GD: descriptors of all images.
        results: of the plain ranking first, then of others that `cmc.png` compares with it.
        maps: where the branches look; none = no `parts.png`.
    """
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    aspect = config.data.width / config.data.height
    (scores, *_) = (result.scores for result in results.values())
    shown = spread_by_precision(scores, QUERIES)
    neighbours = nearest_kept(
        shown, scores, query_QD, gallery_GD, query.pids_N, gallery.pids_N, query.camids_N, gallery.camids_N
    )
    pictures = {
        "cmc.png": cmc_picture(results),
        "ranked.png": ranked_picture(neighbours, query, gallery, aspect=aspect),
    }
    if maps is not None:
        batches = ReIDBatches(dataset, "query", config.data, device=device, channels_last=config.channels_last)
        with autocast(device, dtype):
            looks = maps(model, model(*batches.inputs(shown)))
        if looks:
            pictures["parts.png"] = parts_picture(shown, query, looks, aspect=aspect)
    return pictures
