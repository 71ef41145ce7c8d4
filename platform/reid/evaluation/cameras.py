# ruff: noqa: N802, N815 - names carry their shape as a suffix
"""How queries of one camera are found among another's images.

Legend: Q queries, A cameras of the queries, C cameras of the gallery.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.retrieval import QueryScores


@dataclass(frozen=True, kw_only=True)
class CameraPairs:
    """Queries of each camera, searched among the gallery images of each camera alone."""

    query_A: tuple[int, ...]
    gallery_C: tuple[int, ...]
    queries_AC: NDArray[np.int64]
    """Queries that have a match there."""
    hits_AC: NDArray[np.int64]
    """Those of them whose nearest image is one."""

    @property
    def rank1_AC(self) -> NDArray[np.float64]:
        """NaN where no query has a match."""
        with np.errstate(invalid="ignore"):
            return self.hits_AC / self.queries_AC


def camera_pairs(scores: Mapping[int, QueryScores], query_camids_Q: NDArray[np.int64]) -> CameraPairs:
    """
    Args:
        scores: of all queries, by the camera whose gallery images they were searched among.
    """
    cameras = np.unique(query_camids_Q)
    queries, hits = [], []
    for found in scores.values():
        first_Q = found.first_match_rank_Q.cpu().numpy()
        queries.append([int((first_Q[query_camids_Q == camera] > 0).sum()) for camera in cameras])
        hits.append([int((first_Q[query_camids_Q == camera] == 1).sum()) for camera in cameras])
    return CameraPairs(
        query_A=tuple(cameras.tolist()),
        gallery_C=tuple(scores),
        queries_AC=np.array(queries, np.int64).T,
        hits_AC=np.array(hits, np.int64).T,
    )
