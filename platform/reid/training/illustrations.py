"""The pictures of a scored model.

Legend: Q queries, G gallery images, S queries that are shown, D descriptor.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from reid.config import RunConfig
from reid.data import Dataset, ReIDBatches
from reid.evaluation import RetrievalResult
from reid.evaluation.neighbours import nearest_kept, spread_by_precision
from reid.evaluation.pictures import cmc_picture, parts_picture, ranked_picture
from reid.models import FGSAM
from reid.training.precision import autocast

QUERIES = 8
"""Queries that are shown."""


@torch.inference_mode()
def illustrate(
    model: FGSAM,
    dataset: Dataset,
    config: RunConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    query_QD: Tensor,
    gallery_GD: Tensor,
    results: Mapping[str, RetrievalResult],
) -> dict[str, bytes]:
    """PNG files by name: `cmc.png`, `ranked.png` and, of a model with parts and a pose net, `parts.png`.

    Args:
        query_QD, gallery_GD: descriptors of all images.
        results: of the plain ranking first, then of others that `cmc.png` compares with it.
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
    batches = ReIDBatches(dataset, "query", config.data, device=device, channels_last=config.channels_last)
    with autocast(device, dtype):
        output = model(batches.inference(shown))
    if output.embeddings and output.pose:
        pictures["parts.png"] = parts_picture(shown, query, model.part_maps(output.pose[-1]), aspect=aspect)
    return pictures
