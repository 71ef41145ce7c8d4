# ruff: noqa: N815 - fields carry their shape as a suffix
"""The nearest of any number of descriptors: of a table, read block by block, or of a gallery in memory.

Legend: D length of a descriptor, R rows of a block, Q queries, G gallery items, K nearest of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.evaluation.items import Floats, as_features, check_alike, finite_sum
from reid.evaluation.ranking import float32_products, on_threads, rank_nearest


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Rows, nearest first; of two at the same distance, the earlier one first."""

    rows_K: list[int]
    distances_K: list[float]
    """Euclidean; 0..2 between unit vectors."""


@torch.no_grad()
def nearest(query_D: Tensor, blocks: Iterable[Tensor], count: int, *, without: int | None = None) -> Nearest:
    """The rows that are nearest to a query.

    Args:
        blocks: descriptors (R, D), in the order of the rows.
        count: K; less where there are fewer rows.
        without: a row that is left out, such as the query's own.

    Raises:
        ValueError: `count` is below 1, or lengths differ.
    """
    if count < 1:
        raise ValueError(f"{count} nearest were asked for: ask for at least 1")
    distances_K, rows_K = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.int64)
    start = 0
    for block_RD in blocks:
        if block_RD.shape[1:] != query_D.shape:
            raise ValueError(
                f"the query's descriptor has length {len(query_D)} and the others have {block_RD.shape[1]}: "
                "describe both with the same model"
            )
        distances_R = torch.linalg.vector_norm(block_RD.double() - query_D.double(), dim=1)
        rows_R = torch.arange(start, start + len(block_RD))
        start += len(block_RD)
        if without is not None:
            distances_R, rows_R = distances_R[rows_R != without], rows_R[rows_R != without]
        candidates, rows = torch.cat((distances_K, distances_R)), torch.cat((rows_K, rows_R))
        order = candidates.argsort(stable=True)[:count]  # former rows come first, and so do earlier ones among equals
        distances_K, rows_K = candidates[order], rows[order]
    return Nearest(rows_K=rows_K.tolist(), distances_K=distances_K.tolist())


class Ranking(NamedTuple):
    """The gallery items that are nearest to each query, nearest first; of two at the same distance, the earlier one."""

    indices_QK: NDArray[np.int64]
    """Positions in the gallery."""
    similarities_QK: NDArray[np.float64]
    """1 − d²/2 at the Euclidean distance d: between unit vectors the cosine of their angle, 1 for equal ones."""


@torch.no_grad()
def rank(
    query: Floats, gallery: Floats, *, top: int = 10, query_block: int = 256, gallery_block: int = 4096
) -> Ranking:
    """For each query, the gallery items that are most like it.

    The order is exact: what rounding could confuse is compared in float64, in the same way for any number of queries
    and threads. Equal descriptors tie, and the one that is listed earlier comes first.

    Args:
        query: descriptors (Q, D) such as `Model.describe` returns: a NumPy array, or a tensor on any device.
        gallery: descriptors (G, D) by the same model.
        top: K; less where the gallery is smaller.
        query_block, gallery_block: how many are compared at once; they change memory and time, and no result.

    Raises:
        ValueError: a number is below 1, the arrays do not fit together or are not finite.
    """
    for name, number in {"top": top, "query_block": query_block, "gallery_block": gallery_block}.items():
        if number < 1:
            raise ValueError(f"{name} is {number}: ask for at least 1")
    query_QD, gallery_GD = as_features("query_features", query), as_features("gallery_features", gallery)
    check_alike(query_QD, gallery_GD)
    finite_sum("query_features", query_QD, query_block)
    offset_D = (finite_sum("gallery_features", gallery_GD, gallery_block) / max(len(gallery_GD), 1)).float()
    count, threads = min(top, len(gallery_GD)), torch.get_num_threads()
    found = Ranking(np.empty((len(query_QD), count), np.int64), np.empty((len(query_QD), count)))
    for start in range(0, len(query_QD) if count else 0, query_block):
        block = slice(start, start + query_block)
        with float32_products(query_QD.device), on_threads(1):
            places = rank_nearest(query_QD[block], gallery_GD, count, offset_D, gallery_block, threads)
        found.indices_QK[block] = places.columns_BP[:, :count].cpu()
        found.similarities_QK[block] = 1 - places.distances_BP[:, :count].cpu() / 2
    return found
