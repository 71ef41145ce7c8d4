"""k-reciprocal re-ranking against the algorithm written down item by item."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reid.evaluation import evaluate_retrieval, k_reciprocal_distances, score_distances, summarise

Array = NDArray[np.float64]


def naive_distances(query: Array, gallery: Array, k1: int, k2: int, lambda_value: float) -> Array:
    features = np.concatenate([query, gallery])
    distances = ((features[:, None] - features[None]) ** 2).sum(-1)
    distances /= distances.max(axis=1, keepdims=True)
    ranking = distances.argsort(axis=1, kind="stable")

    def reciprocal(item: int, k: int) -> list[int]:
        return [other for other in ranking[item, : k + 1] if item in ranking[other, : k + 1]]

    encodings = np.zeros((len(features), len(features)))
    for item in range(len(features)):
        own = reciprocal(item, k1)
        expanded = set(own)
        for other in own:
            theirs = reciprocal(other, round(k1 / 2))
            if len(set(theirs) & set(own)) > 2 / 3 * len(theirs):
                expanded |= set(theirs)
        weights = {other: np.exp(-distances[item, other]) for other in expanded}
        for other, weight in weights.items():
            encodings[item, other] = weight / sum(weights.values())
    encodings = np.stack([encodings[ranking[item, :k2]].mean(0) for item in range(len(features))])
    final = np.empty((len(query), len(gallery)))
    for q in range(len(query)):
        for g in range(len(gallery)):
            one, other = encodings[q], encodings[len(query) + g]
            jaccard = 1 - np.minimum(one, other).sum() / np.maximum(one, other).sum()
            final[q, g] = lambda_value * distances[q, len(query) + g] + (1 - lambda_value) * jaccard
    return final


def people(seed: int) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.int64]]:
    """Features in clusters of one identity each, and the identities."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, 6))
    query_pids, gallery_pids = np.arange(12), rng.integers(0, 15, 90)
    centres = np.concatenate([centres, rng.normal(size=(3, 6))])
    query = centres[query_pids] + 0.4 * rng.normal(size=(12, 6))
    gallery = centres[gallery_pids] + 0.4 * rng.normal(size=(90, 6))
    return query, gallery, query_pids, gallery_pids


@pytest.mark.parametrize(("k1", "k2", "lambda_value"), [(20, 6, 0.3), (7, 1, 0.3), (5, 3, 0.0), (9, 4, 1.0)])
def test_distances_equal_the_naive_algorithm(k1: int, k2: int, lambda_value: float) -> None:
    query, gallery, _, _ = people(k1)
    found = k_reciprocal_distances(query, gallery, k1=k1, k2=k2, lambda_value=lambda_value)
    np.testing.assert_allclose(found, naive_distances(query, gallery, k1, k2, lambda_value), atol=1e-6)


def test_clusters_are_found_better_than_by_distance_alone() -> None:
    query, gallery, query_pids, gallery_pids = people(3)
    labels = (query_pids, gallery_pids, np.zeros(12, int), np.ones(90, int))
    plain = evaluate_retrieval(query, gallery, *labels)
    reranked = summarise(score_distances(k_reciprocal_distances(query, gallery, k1=8, k2=3), *labels))
    assert reranked.mAP > plain.mAP


def test_sizes_that_do_not_fit_are_refused() -> None:
    query, gallery = torch.zeros(2, 4), torch.zeros(5, 4)
    with pytest.raises(ValueError, match="k1 = 7 and k2 = 2 do not fit 7 images"):
        k_reciprocal_distances(query, gallery, k1=7, k2=2)
    with pytest.raises(ValueError, match="lambda_value is 2"):
        k_reciprocal_distances(query, gallery, k1=3, k2=2, lambda_value=2)


@pytest.mark.parametrize("form", ["rectangle", "trapezoid"])
def test_given_distances_score_as_the_features_they_come_from(form: str) -> None:
    rng = np.random.default_rng(7)
    query, gallery = rng.integers(0, 3, (40, 3)).astype(float), rng.integers(0, 3, (200, 3)).astype(float)  # many ties
    labels = (rng.integers(1, 9, 40), rng.integers(-1, 9, 200), rng.integers(1, 4, 40), rng.integers(1, 4, 200))
    distances = torch.from_numpy(((query[:, None] - gallery[None]) ** 2).sum(-1))
    expected = evaluate_retrieval(query, gallery, *labels, average_precision=form)
    found = summarise(score_distances(distances, *labels, average_precision=form, query_block=7))
    torch.testing.assert_close(found.scores.ap_Q, expected.scores.ap_Q, equal_nan=True)
    torch.testing.assert_close(found.scores.inp_Q, expected.scores.inp_Q, equal_nan=True)
    torch.testing.assert_close(found.cmc, expected.cmc)


def test_a_query_without_a_match_is_skipped() -> None:
    scores = score_distances(torch.tensor([[0.1, 0.2], [0.3, 0.1]]), [1, 2], [1, 2], [1, 1], [1, 2])
    assert scores.valid_Q.tolist() == [False, True]


def test_distances_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        score_distances(torch.tensor([[float("nan")]]), [1], [1], [1], [2])
