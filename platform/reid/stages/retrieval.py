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
    CameraPairs,
    Evaluation,
    QueryScores,
    RetrievalResult,
    attribute_metrics,
    camera_pairs,
    evaluate_retrieval,
    k_reciprocal_distances,
    mean_colour_descriptor,
    score_distances,
    score_queries,
    summarise,
)
from reid.pictures import MOST_CAMERAS
from reid.progress import tracked
from reid.stages.illustrations import Found, Maps, illustrate
from reid.training import Labels, autocast, gather_rows, rank_and_world

CMC_RANKS = 20
"""That are kept for figures."""
PLAIN, RERANKED = "plain", "re-ranked"
"""Rankings: by the descriptors' distances, and after k-reciprocal re-ranking."""
PREFIXES = {PLAIN: "eval", RERANKED: "eval/reranked"}
"""Of their metrics."""


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
        adds (`eval/attributes/mA`). If `illustrated`, the CMC of every ranking too.
    """
    query_QD, _ = describe(model, dataset, "query", config, device, dtype)
    gallery_GD, classes = describe(model, dataset, "gallery", config, device, dtype)
    results = _rankings(query_QD, gallery_GD, dataset, config.evaluation)
    metrics = _attribute_scores(classes, labels.attributes, dataset)
    for name, result in results.items():
        metrics |= retrieval_metrics(result, prefix=PREFIXES[name])
    if not illustrated:
        return Evaluation(metrics=metrics)
    cmc = {name: kept_cmc(result) for name, result in results.items()}
    pairs = _pairs_of_cameras(query_QD, gallery_GD, dataset, config.evaluation)
    if rank_and_world()[0] > 0:
        return Evaluation(metrics=metrics, cmc=cmc)
    attributes = _beside_most_common(metrics, dataset)
    found = Found(query_QD=query_QD, gallery_GD=gallery_GD, results=results, pairs=pairs, attributes=attributes)
    pictures = illustrate(model, dataset, config, device, dtype, found=found, maps=maps)
    return Evaluation(metrics=metrics, pictures=pictures, cmc=cmc)


def _rankings(
    query_QD: Tensor, gallery_GD: Tensor, dataset: Dataset, settings: EvaluationConfig
) -> dict[str, RetrievalResult]:
    """By name: by the descriptors' distances, and if it is asked for after re-ranking."""
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    results = {PLAIN: summarise(_scores(query_QD, gallery_GD, dataset, settings))}
    if settings.rerank:
        distances_QG = k_reciprocal_distances(query_QD, gallery_GD)
        sides = (query.pids_N, gallery.pids_N, query.camids_N, gallery.camids_N)
        reranked = score_distances(distances_QG, *sides, average_precision=settings.average_precision)
        results[RERANKED] = summarise(reranked)
    return results


def kept_cmc(result: RetrievalResult) -> tuple[float, ...]:
    """Its first `CMC_RANKS` values."""
    return tuple(result.cmc[:CMC_RANKS].tolist())


def _scores(
    query_QD: Tensor, gallery_GD: Tensor, dataset: Dataset, settings: EvaluationConfig, *, camera: int | None = None
) -> QueryScores:
    """Of all queries, each rank having scored its share.

    Args:
        camera: whose gallery images are searched alone; none = all.
    """
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    searched = np.arange(len(gallery)) if camera is None else np.flatnonzero(gallery.camids_N == camera)
    rank, world = rank_and_world()
    shares = _shares(len(query), world)
    own = shares[rank]
    scores = score_queries(
        query_QD[own],
        gallery_GD[searched],
        query.pids_N[own],
        gallery.pids_N[searched],
        query.camids_N[own],
        gallery.camids_N[searched],
        average_precision=settings.average_precision,
    )
    rows_R = [len(share) for share in shares]
    return QueryScores(
        **{field.name: gather_rows(getattr(scores, field.name), rows_R) for field in dataclasses.fields(scores)}
    )


def _pairs_of_cameras(
    query_QD: Tensor, gallery_GD: Tensor, dataset: Dataset, settings: EvaluationConfig
) -> CameraPairs | None:
    """None where there are more cameras than can be shown."""
    query_camids_Q, camids_G = dataset.splits["query"].camids_N, dataset.splits["gallery"].camids_N
    cameras = np.unique(camids_G).tolist()
    if max(len(cameras), len(np.unique(query_camids_Q))) > MOST_CAMERAS:
        return None
    scores = {camera: _scores(query_QD, gallery_GD, dataset, settings, camera=camera) for camera in cameras}
    return camera_pairs(scores, query_camids_Q)


def _attribute_scores(
    classes: Mapping[str, Tensor], trained: Mapping[str, Attribute], dataset: Dataset
) -> dict[str, float]:
    """Of the predicted attributes that mean the same in a dataset, which need not be the one of the training.

    Args:
        classes: predictions (N,) of the gallery by attribute.
        trained: the attributes that the model was trained on.
    """
    known = dataset.attributes
    return _judged(
        {
            name: of.cpu()
            for name, of in classes.items()
            if name in known and known[name].classes == trained[name].classes
        },
        dataset,
    )


def _judged(classes: Mapping[str, Tensor], dataset: Dataset) -> dict[str, float]:
    """Predictions (N,) of the gallery by attribute, by the dataset's own protocol."""
    if not classes:
        return {}
    gallery = dataset.splits["gallery"]
    people = torch.from_numpy(gallery.pids_N > 0)
    columns = [list(dataset.attributes).index(name) for name in classes]
    predictions_NA = torch.stack(list(classes.values()), dim=1)
    labels_NA = torch.from_numpy(gallery.attributes_NA[:, columns])
    protocol = dataset.attribute_protocol
    scored = attribute_metrics(predictions_NA[people], labels_NA[people], list(classes), protocol=protocol)
    return {f"eval/attributes/{name}": value for name, value in scored.items()}


def score_most_common(dataset: Dataset) -> dict[str, float]:
    """The same attribute metrics for always saying the class that most training images have: the floor under them."""
    labels_NA, images = dataset.splits["train"].attributes_NA, len(dataset.splits["gallery"])
    most_common = {
        name: int(np.bincount(labels_N[labels_N >= 0], minlength=1).argmax())
        for name, labels_N in zip(dataset.attributes, labels_NA.T, strict=True)
    }
    return _judged({name: torch.full((images,), value) for name, value in most_common.items()}, dataset)


def _beside_most_common(metrics: Mapping[str, float], dataset: Dataset) -> dict[str, tuple[float, float]]:
    """Accuracy of the attributes that were scored, and of always saying their most common class."""
    rivals = score_most_common(dataset)
    names = {name: f"eval/attributes/{name}" for name in dataset.attributes}
    return {name: (metrics[key], rivals[key]) for name, key in names.items() if key in metrics}


def score_mean_colour(dataset: Dataset, config: EvaluationConfig) -> Evaluation:
    """The same retrieval metrics for the mean colour of the images alone: the floor under every model; and its CMC."""
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    query_Q3, gallery_G3 = (mean_colour_descriptor(split.gather(np.arange(len(split)))) for split in (query, gallery))
    result = evaluate_retrieval(
        query_Q3,
        gallery_G3,
        query.pids_N,
        gallery.pids_N,
        query.camids_N,
        gallery.camids_N,
        average_precision=config.average_precision,
    )
    return Evaluation(metrics=retrieval_metrics(result), cmc={PLAIN: kept_cmc(result)})


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
