"""Scores a model on query and gallery, sharded over the ranks.

Legend: Q queries, G gallery images, N images of a split, R ranks, D descriptor, A attributes.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.config import EvaluationConfig, RunConfig
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
from reid.models import FGSAM
from reid.training.checkpoint import CheckpointError, load_model
from reid.training.distributed import gather_rows, rank_and_world
from reid.training.illustrations import illustrate
from reid.training.precision import autocast, resolve_precision
from reid.training.storage import open_store


def score(
    model: FGSAM,
    dataset: Dataset,
    config: RunConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    illustrated: bool = True,
) -> Evaluation:
    """Retrieval and attribute accuracy of a model in evaluation mode, as fractions, equal on every rank; pictures.

    Each rank describes its share of the images, then scores its share of the queries against the whole gallery.

    Returns:
        `eval/rank1`, `eval/rank5`, `eval/rank10`, `eval/mAP`, `eval/mINP`, with `rerank` the same under
        `eval/reranked/`, and `eval/attributes/<name>` of each attribute that the model predicts and that the dataset
        divides into the same classes, over the gallery's people by the dataset's own protocol, with what that protocol
        adds (`eval/attributes/mA`). If `illustrated`, on rank 0, and there alone, the pictures of `illustrate`.
    """
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    query_QD, _ = describe(model, dataset, "query", config, device, dtype)
    gallery_GD, classes = describe(model, dataset, "gallery", config, device, dtype)

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
        average_precision=config.evaluation.average_precision,
    )
    rows_R = [len(share) for share in shares]
    whole = QueryScores(
        **{field.name: gather_rows(getattr(scores, field.name), rows_R) for field in dataclasses.fields(scores)}
    )
    results = {"plain": summarise(whole)}
    metrics = retrieval_metrics(results["plain"])
    if config.evaluation.rerank:
        labels = (query.pids_N, gallery.pids_N, query.camids_N, gallery.camids_N)
        distances_QG = k_reciprocal_distances(query_QD, gallery_GD)
        reranked = score_distances(distances_QG, *labels, average_precision=config.evaluation.average_precision)
        results["re-ranked"] = summarise(reranked)
        metrics |= retrieval_metrics(results["re-ranked"], prefix="eval/reranked")
    if names := _common_attributes(model, dataset, classes):
        people = torch.from_numpy(gallery.pids_N > 0)
        columns = [list(dataset.attributes).index(name) for name in names]
        predictions_NA = torch.stack([classes[name].cpu() for name in names], dim=1)
        labels_NA = torch.from_numpy(gallery.attributes_NA[:, columns])
        scored = attribute_metrics(
            predictions_NA[people], labels_NA[people], names, protocol=dataset.attribute_protocol
        )
        metrics |= {f"eval/attributes/{name}": value for name, value in scored.items()}
    if rank > 0 or not illustrated:
        return Evaluation(metrics=metrics)
    pictures = illustrate(
        model, dataset, config, device, dtype, query_QD=query_QD, gallery_GD=gallery_GD, results=results
    )
    return Evaluation(metrics=metrics, pictures=pictures)


def score_checkpoint(config: RunConfig, *, checkpoint: str, store: str, device: torch.device) -> Evaluation:
    """`score` of the model in a checkpoint on a prepared dataset.

    Raises:
        CheckpointError: it is damaged, of another architecture than `config.model`, or of the pose phase.
    """
    model, state = load_model(checkpoint, config.model, device)
    if model.stage == "pose":
        raise CheckpointError(f"{checkpoint} is of phase {state.phase}, which has no descriptor: take a later phase's")
    return score(model, open_store(store, config.storage), config, device, resolve_precision(config, device))


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
    model: FGSAM, dataset: Dataset, split: str, config: RunConfig, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, dict[str, Tensor]]:
    """Descriptors (N, D) in fp32 and predicted classes (N,) by attribute of a split, each rank computing its share."""
    batches = ReIDBatches(dataset, split, config.data, device=device, channels_last=config.channels_last)
    rank, world = rank_and_world()
    shares = _shares(len(batches), world)
    descriptors, classes = [], []
    for indices in np.array_split(shares[rank], max(1, -(-len(shares[rank]) // config.evaluation.batch_size))):
        with autocast(device, dtype):
            output = model(batches.inference(indices))
        descriptors.append(output.descriptor_BD.float())
        classes.append({name: logits.argmax(dim=1) for name, logits in output.attribute_logits.items()})
    rows_R = [len(share) for share in shares]
    return (
        gather_rows(torch.cat(descriptors), rows_R),
        {name: gather_rows(torch.cat([batch[name] for batch in classes]), rows_R) for name in classes[0]},
    )


def _common_attributes(model: FGSAM, dataset: Dataset, predicted: Iterable[str]) -> list[str]:
    """Predicted attributes that mean the same in a dataset, which need not be the one the model was trained on."""
    return [
        name
        for name in predicted
        if name in dataset.attributes and dataset.attributes[name].classes == model.attributes[name].classes
    ]


def _shares(rows: int, world: int) -> list[NDArray[np.int64]]:
    return np.array_split(np.arange(rows), world)
