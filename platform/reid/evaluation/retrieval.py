# ruff: noqa: N815 - fields carry their shape as a suffix, and mAP and mINP are the names of the field
"""Retrieval accuracy by the protocol of Market-1501 (Zheng et al., "Scalable Person Re-identification", 2015).

Shapes: Q queries, G gallery items, D dimensions, I items of either; B queries of a block; N (query, gallery) pairs;
P places for the matches of one query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from reid.evaluation.items import Floats, Integers, Items, as_items, check_alike, finite_sum
from reid.evaluation.ranking import Pairs, float32_products, on_threads, rank_matches

JUNK_PID = -1
AVERAGE_PRECISIONS = ("rectangle", "trapezoid")


@dataclass(frozen=True, kw_only=True)
class QueryScores:
    """Scores of each query, on the features' device. Without a match: `valid_Q` False, NaN scores, rank 0."""

    ap_Q: Tensor  # average precision, float64
    inp_Q: Tensor  # inverse negative penalty, float64
    first_match_rank_Q: Tensor  # int64; 1 = the nearest kept gallery item is a match
    valid_Q: Tensor  # bool

    @classmethod
    def concatenate(cls, shares: "Sequence[QueryScores]") -> "QueryScores":
        """Joins the scores of shares of the queries, in their order."""
        return cls(**{field.name: torch.cat([getattr(share, field.name) for share in shares]) for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class RetrievalResult:
    """Means over the valid queries, as fractions in 0..1."""

    cmc: Tensor  # float64 (max_rank,), on the CPU; cmc[k - 1] = rank-k accuracy
    mAP: float
    mINP: float
    num_valid_queries: int
    num_skipped_queries: int  # queries without a match in the gallery
    scores: QueryScores


def evaluate_retrieval(
    query_features: Floats,
    gallery_features: Floats,
    query_pids: Integers,
    gallery_pids: Integers,
    query_camids: Integers,
    gallery_camids: Integers,
    *,
    average_precision: str = "rectangle",
    max_rank: int = 50,
    query_block: int = 2048,
    gallery_block: int = 512,
) -> RetrievalResult:
    """How well queries find their own identity in a gallery: CMC, mAP and mINP by the protocol of Market-1501.

    Gallery items are ranked by Euclidean distance, which between unit vectors is the order of cosine similarity. Those
    of the query's own identity and camera are left out, and so is junk (identity -1). Queries whose identity is not in
    the gallery are skipped.

    Args:
        query_features, gallery_features: descriptors (Q, D) and (G, D): NumPy arrays, or tensors on one device.
        query_pids, gallery_pids: whom they show: integers (Q,) and (G,).
        query_camids, gallery_camids: which camera saw them: integers (Q,) and (G,).
        average_precision: "rectangle" or "trapezoid", see `score_queries`.
        max_rank: length of the CMC.
        query_block, gallery_block: how many are compared at once; they change memory and time, and no result.

    Returns:
        `cmc[k - 1]` is the share of queries with a match among their k nearest, `mAP` and `mINP` are means over the
        queries, all in 0..1; `scores` has each query's.

    Raises:
        ValueError: shapes, dtypes or devices do not fit together, features are not finite, or no query has a match.
    """
    scores = score_queries(
        query_features,
        gallery_features,
        query_pids,
        gallery_pids,
        query_camids,
        gallery_camids,
        average_precision=average_precision,
        query_block=query_block,
        gallery_block=gallery_block,
    )
    return summarise(scores, max_rank=max_rank)


@torch.no_grad()
def score_queries(
    query_features: Floats,
    gallery_features: Floats,
    query_pids: Integers,
    gallery_pids: Integers,
    query_camids: Integers,
    gallery_camids: Integers,
    *,
    average_precision: str = "rectangle",
    query_block: int = 2048,
    gallery_block: int = 512,
) -> QueryScores:
    """Scores each query against the whole gallery; the queries may be one rank's share of them.

    Features are (Q, D) and (G, D), torch tensors or NumPy arrays of any floating dtype on one device, where the work is
    done; pids and camids are integers, (Q,) and (G,). The gallery is ranked by the Euclidean distance between features
    as given, which for L2-normalised features is the order of cosine similarity; ties are broken by gallery order.

    Rules: gallery items of the query's own identity and camera are removed from its ranking. Gallery items with pid -1
    (junk) count neither as matches nor as mistakes. Any other pid, distractors' 0 included, is an ordinary identity. A
    query without a match is skipped.

    `average_precision` is "rectangle", the mean precision at the matches (Torchreid, FastReID), or "trapezoid", the
    area under the precision–recall curve (the original MATLAB code). The inverse negative penalty is the number of
    matches over the rank of the last (Ye et al., "Deep Learning for Person Re-identification", 2021).

    Memory beyond the features: a few blocks, a few integers per item, and the matches of `query_block` queries.

    Raises ValueError for shapes, dtypes or devices that do not fit together, and for features that are not finite.
    """
    _require_known(average_precision)
    if query_block < 1 or gallery_block < 1:
        raise ValueError(f"query_block is {query_block} and gallery_block {gallery_block}; give at least 1")
    query = as_items("query", query_features, query_pids, query_camids)
    gallery = as_items("gallery", gallery_features, gallery_pids, gallery_camids)
    return _score(query, gallery, average_precision, query_block, gallery_block)


def _score(query: Items, gallery: Items, average_precision: str, query_block: int, gallery_block: int) -> QueryScores:
    check_alike(query.features_ID, gallery.features_ID)
    finite_sum("query_features", query.features_ID, query_block)
    gallery_sum_D = finite_sum("gallery_features", gallery.features_ID, gallery_block)
    offset_D = (gallery_sum_D / max(len(gallery.features_ID), 1)).float()
    by_pid, first_Q, count_Q = _matches_by_pid(query, gallery)
    junk_G = gallery.pids_I == JUNK_PID
    scores = _no_scores(count_Q)
    by_count = count_Q.argsort(stable=True)  # queries with like numbers of matches share a block: less padding
    for start in range(0, len(by_count), query_block):
        block = by_count[start : start + query_block]
        same_identity = _expand(first_Q[block], count_Q[block], by_pid)
        kept_N = gallery.camids_I[same_identity.columns_N] != query.camids_I[block][same_identity.rows_N]
        threads = torch.get_num_threads()
        with float32_products(by_count.device), on_threads(1):
            ranks_BP, taken_BP = rank_matches(
                query.features_ID[block],
                gallery.features_ID,
                junk_G,
                same_identity,
                kept_N,
                offset_D,
                gallery_block,
                product_threads=threads,
            )
        found = _scores_of(ranks_BP, taken_BP, average_precision)
        for field in fields(QueryScores):
            getattr(scores, field.name)[block] = getattr(found, field.name)
    return scores


def _matches_by_pid(query: Items, gallery: Items) -> tuple[Tensor, Tensor, Tensor]:
    """Gallery items by pid, junk left out; where in them each query's begin, and how many there are."""
    by_pid = gallery.pids_I.argsort(stable=True)
    by_pid = by_pid[gallery.pids_I[by_pid] != JUNK_PID]
    first_Q = torch.searchsorted(gallery.pids_I[by_pid], query.pids_I)
    return by_pid, first_Q, torch.searchsorted(gallery.pids_I[by_pid], query.pids_I, right=True) - first_Q


def _no_scores(count_Q: Tensor) -> QueryScores:
    """Scores of as many queries, to be filled in."""
    return QueryScores(
        ap_Q=torch.empty_like(count_Q, dtype=torch.float64),
        inp_Q=torch.empty_like(count_Q, dtype=torch.float64),
        first_match_rank_Q=torch.empty_like(count_Q),
        valid_Q=torch.empty_like(count_Q, dtype=torch.bool),
    )


@torch.no_grad()
def score_distances(
    distances_QG: Tensor,
    query_pids: Integers,
    gallery_pids: Integers,
    query_camids: Integers,
    gallery_camids: Integers,
    *,
    average_precision: str = "rectangle",
    query_block: int = 256,
) -> QueryScores:
    """Scores each query by distances that are given, such as re-ranked ones; rules as in `score_queries`.

    Distances are (Q, G), smaller is nearer; ties are broken by gallery order. Raises ValueError for shapes that do not
    fit together and for distances that are not finite.
    """
    _require_known(average_precision)
    if not bool(distances_QG.isfinite().all()):
        raise ValueError("distances_QG contain NaN or infinity; check the features they were computed from")
    query = as_items("query", distances_QG, query_pids, query_camids)
    gallery = as_items("gallery", distances_QG.T, gallery_pids, gallery_camids)
    shares = []
    for start in range(0, len(distances_QG), query_block):
        rows = slice(start, start + query_block)
        order_BG = distances_QG[rows].argsort(dim=1, stable=True)
        same_BG = gallery.pids_I[order_BG] == query.pids_I[rows, None]
        kept_BG = ~(same_BG & (gallery.camids_I[order_BG] == query.camids_I[rows, None]))
        kept_BG &= gallery.pids_I[order_BG] != JUNK_PID
        match_BG = same_BG & kept_BG
        ranks_BG = kept_BG.cumsum(1) - 1
        count_B = match_BG.sum(1)
        taken_BP = torch.arange(max(int(count_B.max()), 1), device=distances_QG.device) < count_B[:, None]
        ranks_BP = torch.zeros_like(taken_BP, dtype=torch.int64)
        ranks_BP[taken_BP] = ranks_BG[match_BG]
        shares.append(_scores_of(ranks_BP, taken_BP, average_precision))
    return QueryScores.concatenate(shares)


def summarise(scores: QueryScores, *, max_rank: int = 50) -> RetrievalResult:
    """Means over the valid queries; `cmc` covers ranks 1 to `max_rank`. Raises ValueError if no query is valid."""
    if max_rank < 1:
        raise ValueError(f"max_rank is {max_rank}; give at least 1")
    num_valid = int(scores.valid_Q.sum())
    if num_valid == 0:
        raise ValueError(
            f"none of the {len(scores.valid_Q)} queries has a gallery item of its pid from another camera; "
            "check that query and gallery share identities and that camids are those of the images"
        )
    first_ranks = scores.first_match_rank_Q[scores.valid_Q].cpu()
    hits = torch.bincount(first_ranks[first_ranks <= max_rank] - 1, minlength=max_rank)
    return RetrievalResult(
        cmc=hits.cumsum(0).double() / num_valid,
        mAP=float(scores.ap_Q[scores.valid_Q].mean()),
        mINP=float(scores.inp_Q[scores.valid_Q].mean()),
        num_valid_queries=num_valid,
        num_skipped_queries=len(scores.valid_Q) - num_valid,
        scores=scores,
    )


def _require_known(average_precision: str) -> None:
    if average_precision not in AVERAGE_PRECISIONS:
        raise ValueError(
            f"invalid average_precision {average_precision!r}, expected one of {', '.join(AVERAGE_PRECISIONS)}"
        )


def _scores_of(ranks_BP: Tensor, taken_BP: Tensor, form: str) -> QueryScores:
    """Scores of queries from the ranks of their matches; a query without one is not valid."""
    valid_B = taken_BP[:, 0]
    inp_B = taken_BP.sum(1) / (ranks_BP.masked_fill(~taken_BP, -1).amax(1) + 1).double()
    return QueryScores(
        ap_Q=_average_precision(ranks_BP, taken_BP, form),
        inp_Q=torch.where(valid_B, inp_B, torch.nan),
        first_match_rank_Q=torch.where(valid_B, ranks_BP[:, 0] + 1, 0),
        valid_Q=valid_B,
    )


def _average_precision(ranks_BP: Tensor, taken_BP: Tensor, form: str) -> Tensor:
    matches_so_far_P = torch.arange(1, ranks_BP.shape[1] + 1, dtype=torch.float64, device=ranks_BP.device)
    precision_BP = matches_so_far_P / (ranks_BP + 1)
    if form == "trapezoid":
        precision_before_BP = torch.where(ranks_BP == 0, 1.0, (matches_so_far_P - 1) / ranks_BP)
        precision_BP = (precision_before_BP + precision_BP) / 2
    return torch.where(taken_BP, precision_BP, 0.0).sum(1) / taken_BP.sum(1)


def _expand(first_B: Tensor, count_B: Tensor, by_pid: Tensor) -> Pairs:
    """Pairs of each row with its `count_B` gallery items, which `by_pid` lists from `first_B` on."""
    rows_N = torch.repeat_interleave(count_B)
    nth_N = torch.arange(len(rows_N), device=rows_N.device) - (count_B.cumsum(0) - count_B)[rows_N]
    return Pairs(rows_N=rows_N, columns_N=by_pid[first_B[rows_N] + nth_N])
