"""Streamed retrieval scores against a loop that follows the protocol's text, one query and one item at a time."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.evaluation import QueryScores, evaluate_retrieval, score_queries, summarise


@dataclass(frozen=True, kw_only=True)
class Case:
    query_features: Any
    gallery_features: Any
    query_pids: Any
    gallery_pids: Any
    query_camids: Any
    gallery_camids: Any

    def arguments(self) -> tuple[Any, ...]:
        return tuple(vars(self).values())


def naive_scores(case: Case, form: str) -> dict[str, list[float]]:
    query, gallery = (np.asarray(features, dtype=np.float64) for features in case.arguments()[:2])
    scores: dict[str, list[float]] = {"ap": [], "inp": [], "rank": []}
    for q in range(len(query)):
        distances = [float(((query[q] - gallery[g]) ** 2).sum()) for g in range(len(gallery))]
        hits = []
        for g in sorted(range(len(gallery)), key=lambda g: (distances[g], g)):
            same_pid = int(case.gallery_pids[g]) == int(case.query_pids[q])
            same_camera = int(case.gallery_camids[g]) == int(case.query_camids[q])
            if int(case.gallery_pids[g]) != -1 and not (same_pid and same_camera):
                hits.append(same_pid)
        if not any(hits):
            scores["ap"].append(np.nan)
            scores["inp"].append(np.nan)
            scores["rank"].append(0)
            continue
        area, found, precision_before = 0.0, 0, 1.0
        for position, hit in enumerate(hits, start=1):
            found += hit
            precision = found / position
            if hit:
                area += precision if form == "rectangle" else (precision_before + precision) / 2
                last = position
            precision_before = precision
        scores["ap"].append(area / found)
        scores["inp"].append(found / last)
        scores["rank"].append(1 + hits.index(True))
    return scores


def assert_matches_naive(case: Case, form: str, **options: Any) -> None:
    expected = naive_scores(case, form)
    scores = score_queries(*case.arguments(), average_precision=form, **options)
    assert scores.first_match_rank_Q.tolist() == expected["rank"]
    assert scores.valid_Q.tolist() == [rank > 0 for rank in expected["rank"]]
    np.testing.assert_allclose(scores.ap_Q.cpu(), expected["ap"], rtol=1e-12)
    np.testing.assert_allclose(scores.inp_Q.cpu(), expected["inp"], rtol=1e-12)


def make_case(seed: int, features: str = "normal", num_query: int = 23, num_gallery: int = 61, dim: int = 16) -> Case:
    """Random labels with junk, distractors and queries without a match; features of one kind."""
    rng = np.random.default_rng(seed)
    num_items = num_query + num_gallery
    pids = rng.integers(1, 9, num_items)
    pids[num_query:][rng.random(num_gallery) < 0.2] = -1
    pids[num_query:][rng.random(num_gallery) < 0.2] = 0
    pids[0], pids[1] = 77, -1
    values = {
        "normal": lambda: rng.normal(size=(num_items, dim)),
        "grid": lambda: rng.integers(0, 2, (num_items, dim)).astype(float)[:, :5],
        "duplicates": lambda: rng.normal(size=(6, dim))[rng.integers(0, 6, num_items)],
        "collapsed": lambda: 1 + 1e-6 * rng.normal(size=(num_items, dim)),
        "identical": lambda: np.full((num_items, dim), 0.1),
        "huge": lambda: 1e12 * rng.normal(size=(num_items, dim)),
        "clusters": lambda: rng.normal(size=(78, dim))[pids] + 0.7 * rng.normal(size=(num_items, dim)),
    }[features]()
    values = values.astype(np.float32)
    camids = rng.integers(0, 3, num_items)
    return Case(
        query_features=values[:num_query],
        gallery_features=values[num_query:],
        query_pids=pids[:num_query],
        gallery_pids=pids[num_query:],
        query_camids=camids[:num_query],
        gallery_camids=camids[num_query:],
    )


KINDS = ("normal", "grid", "duplicates", "collapsed", "identical", "huge", "clusters")


@pytest.mark.parametrize("form", ["rectangle", "trapezoid"])
@pytest.mark.parametrize("features", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_equals_naive_loop(features: str, form: str, seed: int) -> None:
    assert_matches_naive(make_case(seed, features), form)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_equals_naive_loop_on_any_labels_and_coarse_features(data: st.DataObject) -> None:
    num_query, num_gallery = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 12))

    def draw_many(values: st.SearchStrategy[Any], count: int) -> list[Any]:
        return data.draw(st.lists(values, min_size=count, max_size=count))

    features = st.lists(st.sampled_from([-1.0, 0.0, 0.1, 0.3, 1.0]), min_size=2, max_size=2)
    case = Case(
        query_features=np.array(draw_many(features, num_query), dtype=np.float32).reshape(-1, 2),
        gallery_features=np.array(draw_many(features, num_gallery), dtype=np.float32).reshape(-1, 2),
        query_pids=draw_many(st.integers(-1, 2), num_query),
        gallery_pids=draw_many(st.integers(-1, 2), num_gallery),
        query_camids=draw_many(st.integers(0, 2), num_query),
        gallery_camids=draw_many(st.integers(0, 2), num_gallery),
    )
    form = data.draw(st.sampled_from(["rectangle", "trapezoid"]))
    query_block, gallery_block = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 13))
    assert_matches_naive(case, form, query_block=query_block, gallery_block=gallery_block)


def test_worked_example() -> None:
    """Kept ranking: match, other, match, other; ahead of all stand the query's own camera's image and a junk box."""
    case = Case(
        query_features=np.array([[0.0]]),
        gallery_features=np.array([[0.0], [0.0], [1.0], [2.0], [3.0], [4.0]]),
        query_pids=[5],
        gallery_pids=[5, -1, 5, 0, 5, 8],
        query_camids=[1],
        gallery_camids=[1, 2, 2, 1, 3, 1],
    )
    result = evaluate_retrieval(*case.arguments())
    assert result.mAP == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert result.mINP == pytest.approx(2 / 3)
    assert result.cmc[0] == 1
    trapezoid = evaluate_retrieval(*case.arguments(), average_precision="trapezoid")
    assert trapezoid.mAP == pytest.approx(((1 + 1) / 2 + (1 / 2 + 2 / 3) / 2) / 2)


@pytest.mark.parametrize("features", KINDS)
def test_scores_do_not_depend_on_block_sizes(features: str) -> None:
    case = make_case(7, features)
    whole = score_queries(*case.arguments())
    for query_block, gallery_block in [(1, 1), (5, 7), (23, 61), (4, 64), (100, 10)]:
        blocks = score_queries(*case.arguments(), query_block=query_block, gallery_block=gallery_block)
        assert_same_scores(whole, blocks)


def test_equal_features_tie_wherever_they_stand() -> None:
    """Each gallery vector occurs twice, 600 items apart, and only one of the two is labelled with its identity."""
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(600, 99))
    query = torch.nn.functional.normalize(vectors[:40] + 0.1 * torch.randn(40, 99))
    gallery, own, others = torch.cat([vectors, vectors]), torch.arange(1, 601), torch.zeros(600, dtype=torch.long)
    for pids, parity in [(torch.cat([own, others]), 1), (torch.cat([others, own]), 0)]:
        scores = score_queries(query, gallery, own[:40], pids, torch.ones(40).long(), torch.zeros(1200).long())
        assert (scores.first_match_rank_Q % 2 == parity).all()


def test_queries_in_any_order_keep_their_scores() -> None:
    case = make_case(3, "clusters")
    order = np.random.default_rng(0).permutation(len(case.query_pids))
    whole = score_queries(*case.arguments())
    permuted = score_queries(*select_queries(case, order).arguments())
    assert_same_scores(QueryScores(**{name: value[order] for name, value in vars(whole).items()}), permuted)


def test_gallery_order_does_not_matter_without_ties() -> None:
    case = make_case(3, "clusters")
    order = np.random.default_rng(0).permutation(len(case.gallery_pids))
    permuted = replace(
        case,
        gallery_features=case.gallery_features[order],
        gallery_pids=case.gallery_pids[order],
        gallery_camids=case.gallery_camids[order],
    )
    assert_same_scores(score_queries(*case.arguments()), score_queries(*permuted.arguments()))


def test_shares_of_the_queries_add_up_to_the_whole() -> None:
    case = make_case(5, "duplicates")
    bounds = [slice(0, 2), slice(2, 2), slice(2, 15), slice(15, None)]  # no query of the first two is valid
    shares = [score_queries(*select_queries(case, share).arguments()) for share in bounds]
    whole, joined = evaluate_retrieval(*case.arguments()), summarise(QueryScores.concatenate(shares))
    assert_same_scores(whole.scores, joined.scores)
    assert torch.equal(whole.cmc, joined.cmc)
    assert (whole.mAP, whole.mINP) == (joined.mAP, joined.mINP)


def test_means_are_over_valid_queries_and_cmc_grows() -> None:
    case = make_case(2, "clusters")
    expected = naive_scores(case, "rectangle")
    ranks = np.array([rank for rank in expected["rank"] if rank])
    result = evaluate_retrieval(*case.arguments(), max_rank=70)
    assert result.num_valid_queries == len(ranks)
    assert result.num_skipped_queries == len(case.query_pids) - len(ranks) >= 2
    assert result.mAP == pytest.approx(np.nanmean(expected["ap"]))
    assert result.mINP == pytest.approx(np.nanmean(expected["inp"]))
    np.testing.assert_allclose(result.cmc, [(ranks <= k).mean() for k in range(1, 71)])
    assert (result.cmc.diff() >= 0).all()
    assert result.cmc[-1] == 1
    assert torch.equal(evaluate_retrieval(*case.arguments()).cmc, result.cmc[:50])


def test_junk_never_counts() -> None:
    case = make_case(4, "clusters")
    good = case.gallery_pids != -1
    without = replace(
        case,
        gallery_features=case.gallery_features[good],
        gallery_pids=case.gallery_pids[good],
        gallery_camids=case.gallery_camids[good],
    )
    assert_same_scores(score_queries(*case.arguments()), score_queries(*without.arguments()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_dtype_is_ranked_as_given(dtype: torch.dtype) -> None:
    case = make_case(6, "clusters")
    query, gallery = torch.as_tensor(case.query_features).to(dtype), torch.as_tensor(case.gallery_features).to(dtype)
    rounded = replace(case, query_features=query.double(), gallery_features=gallery.double())
    given = replace(case, query_features=query, gallery_features=gallery)
    assert_same_scores(score_queries(*rounded.arguments()), score_queries(*given.arguments()))


def test_float64_differences_below_float32_are_seen() -> None:
    gallery = np.array([[1.0 + 2e-12], [1.0 + 1e-12]])
    scores = score_queries(np.array([[0.0]]), gallery, [1], [0, 1], [0], [1, 1])
    assert scores.first_match_rank_Q.tolist() == [1]


def test_reduced_precision_settings_of_the_caller_change_nothing() -> None:
    case = make_case(8, "clusters")
    plain = score_queries(*case.arguments())
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_same_scores(plain, score_queries(*case.arguments()))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_features": np.zeros((23, 4), np.float32)}, "4 dimensions and gallery_features 16"),
        ({"query_features": np.zeros((23, 16), np.int64)}, "query_features are torch.int64.*give floats"),
        ({"gallery_features": np.zeros(61, np.float32)}, "gallery_features are .*give floats"),
        ({"query_pids": np.zeros(22, np.int64)}, r"query_pids have shape \(22,\) but query_features hold 23"),
        ({"gallery_camids": np.zeros(60, np.int64)}, r"gallery_camids have shape \(60,\) but gallery_features hold 61"),
        ({"gallery_pids": np.zeros(61)}, "gallery_pids are torch.float64; give integers"),
        ({"gallery_camids": np.zeros(61, np.int64), "query_camids": np.zeros(23, np.int64)}, "none of the 23 queries"),
    ],
)
def test_inputs_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_retrieval(*replace(make_case(0), **change).arguments())


@pytest.mark.parametrize("side", ["query_features", "gallery_features"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_must_be_finite(side: str, value: float) -> None:
    case = make_case(0)
    features = getattr(case, side).copy()
    features[3, 2] = value
    with pytest.raises(ValueError, match=f"{side} contain NaN or infinity"):
        evaluate_retrieval(*replace(case, **{side: features}).arguments())


def test_features_beyond_float32_products_are_refused() -> None:
    case = make_case(0)
    with pytest.raises(ValueError, match="L2-normalise"):
        evaluate_retrieval(*replace(case, gallery_features=case.gallery_features * 1e30).arguments())


def test_unknown_options_are_named() -> None:
    arguments = make_case(0).arguments()
    with pytest.raises(ValueError, match="invalid average_precision 'mean', expected one of rectangle, trapezoid"):
        evaluate_retrieval(*arguments, average_precision="mean")
    with pytest.raises(ValueError, match="gallery_block 0; give at least 1"):
        evaluate_retrieval(*arguments, gallery_block=0)
    with pytest.raises(ValueError, match="max_rank is 0"):
        evaluate_retrieval(*arguments, max_rank=0)


def select_queries(case: Case, chosen: Any) -> Case:
    return replace(
        case,
        query_features=case.query_features[chosen],
        query_pids=case.query_pids[chosen],
        query_camids=case.query_camids[chosen],
    )


def assert_same_scores(left: QueryScores, right: QueryScores) -> None:
    for name, values in vars(left).items():
        torch.testing.assert_close(values, getattr(right, name), rtol=0, atol=0, equal_nan=True, msg=name)
