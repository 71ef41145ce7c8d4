"""Scores a model on query and gallery, sharded over the ranks.

Legend: Q queries, G gallery images, N images of a split, R ranks, D descriptor, A attributes.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid.config import Attribute, EvaluationConfig, RunConfig
from reid.data import Dataset, ReIDBatches
from reid.evaluation import (
    Evaluation,
    QueryScores,
    RetrievalResult,
    attribute_metrics,
    evaluate_retrieval,
    k_reciprocal_distances,
    mean_colour_descriptor,
    score_distances,
    score_queries,
    summarise,
)
from reid.progress import tracked
from reid.stages.illustrations import Maps, illustrate
from reid.training import Labels, autocast, gather_rows, rank_and_world


def score(
    model: nn.Module,
    dataset: Dataset,
    config: RunConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    labels: Labels,
    illustrated: bool,
    beside: Mapping[str, Dataset] | None = None,
    maps: Maps | None = None,
) -> Evaluation:
    """Retrieval and attribute accuracy of a model in evaluation mode, as fractions, equal on every rank; pictures.

    Each rank describes its share of the images, then scores its share of the queries against the whole gallery.

    Args:
        labels: what the model was trained on.
        illustrated: whether rank 0 draws the pictures of `illustrate`.
        maps: where the model's branches look, for the pictures.

    Returns:
        `eval/rank1`, `eval/rank5`, `eval/rank10`, `eval/mAP`, `eval/mINP`, with `rerank` the same under
        `eval/reranked/`, and `eval/attributes/<name>` of each attribute that the model predicts and that the dataset
        divides into the same classes, over the gallery's people by the dataset's own protocol, with what that protocol
        adds (`eval/attributes/mA`).
    """
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    query_QD, _ = describe(model, dataset, "query", config, device, dtype)
    gallery_GD, classes = describe(model, dataset, "gallery", config, device, dtype)
    plain = _scores(query_QD, gallery_GD, dataset, config.evaluation)
    results = {"plain": summarise(plain)}
    metrics = retrieval_metrics(results["plain"])
    if config.evaluation.rerank:
        distances_QG = k_reciprocal_distances(query_QD, gallery_GD)
        sides = (query.pids_N, gallery.pids_N, query.camids_N, gallery.camids_N)
        reranked = score_distances(distances_QG, *sides, average_precision=config.evaluation.average_precision)
        results["re-ranked"] = summarise(reranked)
        metrics |= retrieval_metrics(results["re-ranked"], prefix="eval/reranked")
    metrics |= _attribute_scores(classes, labels.attributes, dataset)
    if not illustrated or rank_and_world()[0] > 0:
        return Evaluation(metrics=metrics)
    pictures = illustrate(
        model, dataset, config, device, dtype, query_QD=query_QD, gallery_GD=gallery_GD, results=results, maps=maps
    )
    return Evaluation(metrics=metrics, pictures=pictures)


def _scores(query_QD: Tensor, gallery_GD: Tensor, dataset: Dataset, settings: EvaluationConfig) -> QueryScores:
    """Of all queries, each rank having scored its share."""
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    rank, world = rank_and_world()
    shares = _shares(len(query), world)
    own = shares[rank]
    scores = score_queries(
        query_QD[own],
        gallery_GD,
        query.pids_N[own],
        gallery.pids_N,
        query.camids_N[own],
        gallery.camids_N,
        average_precision=settings.average_precision,
    )
    rows_R = [len(share) for share in shares]
    return QueryScores(
        **{field.name: gather_rows(getattr(scores, field.name), rows_R) for field in dataclasses.fields(scores)}
    )


def _attribute_scores(
    classes: Mapping[str, Tensor], trained: Mapping[str, Attribute], dataset: Dataset
) -> dict[str, float]:
    """Of the predicted attributes that mean the same in a dataset, which need not be the one of the training.

    Args:
        classes: predictions (N,) of the gallery by attribute.
        trained: the attributes that the model was trained on.
    """
    known = dataset.attributes
    names = [name for name in classes if name in known and known[name].classes == trained[name].classes]
    if not names:
        return {}
    gallery = dataset.splits["gallery"]
    people = torch.from_numpy(gallery.pids_N > 0)
    columns = [list(known).index(name) for name in names]
    predictions_NA = torch.stack([classes[name].cpu() for name in names], dim=1)
    labels_NA = torch.from_numpy(gallery.attributes_NA[:, columns])
    scored = attribute_metrics(predictions_NA[people], labels_NA[people], names, protocol=dataset.attribute_protocol)
    return {f"eval/attributes/{name}": value for name, value in scored.items()}


def score_mean_colour(dataset: Dataset, config: EvaluationConfig) -> dict[str, float]:
    """The same retrieval metrics for the mean colour of the images alone: the floor under every model."""
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    query_Q3, gallery_G3 = (mean_colour_descriptor(split.gather(np.arange(len(split)))) for split in (query, gallery))
    return retrieval_metrics(
        evaluate_retrieval(
            query_Q3,
            gallery_G3,
            query.pids_N,
            gallery.pids_N,
            query.camids_N,
            gallery.camids_N,
            average_precision=config.average_precision,
        )
    )


def retrieval_metrics(result: RetrievalResult, prefix: str = "eval") -> dict[str, float]:
    return {
        **{f"{prefix}/rank{rank}": result.cmc[rank - 1].item() for rank in (1, 5, 10)},
        f"{prefix}/mAP": result.mAP,
        f"{prefix}/mINP": result.mINP,
    }


@torch.inference_mode()
def describe(
    model: nn.Module, dataset: Dataset, split: str, config: RunConfig, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, dict[str, Tensor]]:
    """Descriptors (N, D) in fp32 and predicted classes (N,) by attribute of a split, each rank computing its share."""
    batches = ReIDBatches(dataset, split, config.data, device=device, channels_last=config.channels_last)
    rank, world = rank_and_world()
    shares = _shares(len(batches), world)
    descriptors, classes = [], []
    parts = np.array_split(shares[rank], max(1, -(-len(shares[rank]) // config.evaluation.batch_size)))
    for indices in tracked(parts, f"describing {split}", total=len(shares[rank]), unit="images", size=len):
        with autocast(device, dtype):
            output = model(*batches.inputs(indices))
        descriptors.append(output.descriptor_BD.float())
        classes.append({name: logits.argmax(dim=1) for name, logits in output.attribute_logits.items()})
    rows_R = [len(share) for share in shares]
    return (
        gather_rows(torch.cat(descriptors), rows_R),
        {name: gather_rows(torch.cat([batch[name] for batch in classes]), rows_R) for name in classes[0]},
    )


def _shares(rows: int, world: int) -> list[NDArray[np.int64]]:
    return np.array_split(np.arange(rows), world)
