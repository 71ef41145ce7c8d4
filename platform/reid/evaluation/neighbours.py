# ruff: noqa: N815 - fields carry their shape as a suffix
"""What single queries find: their nearest gallery items, for people to look at.

Shapes: Q queries, G gallery items, D dimensions; S queries that are shown, K nearest gallery items of one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.evaluation.ranking import Pairs, pair_distances
from reid.evaluation.retrieval import JUNK_PID, QueryScores

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The kept gallery items that are nearest to one query, nearest first."""

    query: int
    average_precision: float
    first_match: int
    """Rank of its first true match, from 1, whether that is among these or not."""
    gallery_K: Int
    is_match_K: NDArray[np.bool_]


def spread_by_precision(scores: QueryScores, count: int) -> list[int]:
    """Queries at even steps from the worst average precision to the best, at most `count`.

    Queries without a match are left out; of two with the same average precision, the one listed earlier comes first.
    """
    valid = scores.valid_Q.nonzero().squeeze(1)
    ascending = valid[scores.ap_Q[valid].argsort(stable=True)].tolist()
    steps = np.linspace(0, len(ascending) - 1, min(count, len(ascending)))
    return [ascending[step] for step in steps.round().astype(int)]


@torch.no_grad()
def nearest_kept(
    shown: list[int],
    scores: QueryScores,
    query_QD: Tensor,
    gallery_GD: Tensor,
    query_pids_Q: Int,
    gallery_pids_G: Int,
    query_camids_Q: Int,
    gallery_camids_G: Int,
    *,
    count: int = 10,
) -> list[Neighbours]:
    """The nearest gallery items of some queries, by the rules and the exact distances of `score_queries`.

    Gallery items of the query's own identity and camera are left out, and so is junk.

    Args:
        shown: the queries, S indices.
        scores: of all queries.
        count: K; less where fewer gallery items are kept.
    """
    every_S, every_G = (torch.arange(count, device=query_QD.device) for count in (len(shown), len(gallery_GD)))
    pairs = Pairs(rows_N=every_S.repeat_interleave(len(every_G)), columns_N=every_G.repeat(len(every_S)))
    distances_SG = pair_distances(query_QD[shown], gallery_GD, pairs).view(len(shown), -1).cpu().numpy()
    same_SG = query_pids_Q[shown, None] == gallery_pids_G
    kept_SG = ~(same_SG & (query_camids_Q[shown, None] == gallery_camids_G)) & (gallery_pids_G != JUNK_PID)
    found = []
    for query, distances_G, same_G, kept_G in zip(shown, distances_SG, same_SG, kept_SG, strict=True):
        kept = np.flatnonzero(kept_G)
        gallery_K = kept[distances_G[kept].argsort(kind="stable")[:count]]
        found.append(
            Neighbours(
                query=query,
                average_precision=scores.ap_Q[query].item(),
                first_match=int(scores.first_match_rank_Q[query].item()),
                gallery_K=gallery_K,
                is_match_K=same_G[gallery_K],
            )
        )
    return found
