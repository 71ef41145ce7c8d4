"""What single queries find, against the ranking written down query by query."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reid.evaluation import QueryScores, evaluate_retrieval, score_queries
from reid.evaluation.neighbours import nearest_kept, spread_by_precision


def naive_nearest(
    query: int, features: tuple[Tensor, Tensor], pids: tuple[list[int], list[int]], camids: tuple[list[int], list[int]]
) -> list[tuple[int, bool]]:
    """(gallery item, whether it is a match), nearest first, of all that are kept."""
    found = []
    for item, (pid, camid) in enumerate(zip(pids[1], camids[1], strict=True)):
        if pid == -1 or (pid == pids[0][query] and camid == camids[0][query]):
            continue
        distance = (features[0][query].double() - features[1][item].double()).square().sum().item()
        found.append((distance, item, pid == pids[0][query]))
    return [(item, is_match) for _, item, is_match in sorted(found)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), gallery=st.integers(5, 40), count=st.integers(1, 15))
def test_neighbours_are_the_kept_items_in_order_of_distance(seed: int, gallery: int, count: int) -> None:
    random = np.random.default_rng(seed)
    pids = random.integers(1, 4, 6), np.append(random.integers(-1, 4, gallery), [1, 2, 3])
    camids = random.integers(1, 3, 6), np.append(random.integers(1, 3, gallery), [3, 3, 3])
    features = tuple(torch.from_numpy(random.integers(0, 3, (len(p), 3))).float() for p in pids)  # many ties
    labels = (pids[0], pids[1], camids[0], camids[1])
    scores = score_queries(*features, *labels)
    assert scores.valid_Q.all()
    shown = [5, 0, 3]
    for query, row in zip(shown, nearest_kept(shown, scores, *features, *labels, count=count), strict=True):
        expected = naive_nearest(
            query, features, (pids[0].tolist(), pids[1].tolist()), (camids[0].tolist(), camids[1].tolist())
        )
        assert row.query == query
        assert list(zip(row.gallery_K.tolist(), row.is_match_K.tolist(), strict=True)) == expected[:count]
        assert row.average_precision == scores.ap_Q[query].item()
        first = scores.first_match_rank_Q[query].item()
        assert row.first_match == first == [is_match for _, is_match in expected].index(True) + 1
        assert row.is_match_K.any() == (first <= count)
        if row.is_match_K.any():
            assert row.is_match_K.argmax() + 1 == first


def scores_of(precisions: list[float]) -> QueryScores:
    ap_Q = torch.tensor(precisions, dtype=torch.float64)
    ranks_Q = torch.ones(len(ap_Q), dtype=torch.int64)
    return QueryScores(ap_Q=ap_Q, inp_Q=ap_Q, first_match_rank_Q=ranks_Q, valid_Q=~ap_Q.isnan())


@pytest.mark.parametrize(
    ("precisions", "count", "expected"),
    [
        ([0.5, 0.1, 0.9, 0.3, 0.7], 3, [1, 0, 2]),
        ([0.5, 0.1, 0.9, 0.3, 0.7], 5, [1, 3, 0, 4, 2]),
        ([0.5, torch.nan, 0.9, 0.3, torch.nan], 5, [3, 0, 2]),
        ([0.5, 0.5, 0.5, 0.5], 2, [0, 3]),
        ([0.5, 0.4], 1, [1]),
    ],
)
def test_shown_queries_reach_from_the_worst_to_the_best(
    precisions: list[float], count: int, expected: list[int]
) -> None:
    assert spread_by_precision(scores_of(precisions), count) == expected


def test_as_many_different_queries_as_are_asked_for() -> None:
    for valid in range(1, 60):
        shown = spread_by_precision(scores_of([1 / (1 + n) for n in range(valid)]), 8)
        assert len(set(shown)) == len(shown) == min(8, valid)
        assert {0, valid - 1} >= {shown[0], shown[-1]}


def test_the_best_of_a_collapsed_model_follow_the_gallerys_order() -> None:
    features, pids, camids = torch.ones(20, 700), np.arange(20), np.ones(20, np.int64)
    labels = (pids[:2], pids, camids[:2] + 1, camids)
    scores = evaluate_retrieval(features[:2], features, *labels).scores
    (row,) = nearest_kept([1], scores, features[:2], features, *labels)
    assert row.gallery_K.tolist() == list(range(10))
