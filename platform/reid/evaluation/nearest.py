# ruff: noqa: N815 - fields carry their shape as a suffix
"""The nearest of any number of descriptors, read block by block.

Legend: D length of a descriptor, R rows of a block, K nearest rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


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
