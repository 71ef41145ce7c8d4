# ruff: noqa: N815 - fields carry their shape as a suffix
"""The nearest of any number of descriptors: of a table, read block by block, or of a gallery in memory.

Legend: D length of a descriptor, R rows of a block, Q queries, B queries of a block, G gallery items, K nearest ones.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.evaluation.items import Floats, as_features, check_alike, finite_sum
from reid.evaluation.ranking import Places, float32_products, merge_nearest, on_threads

QUERY_BLOCK = 256


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Rows of each query, nearest first; of two at the same distance, the earlier one first."""

    rows_QK: NDArray[np.int64]
    distances_QK: NDArray[np.float64]
    """Euclidean; 0..2 between unit vectors."""


def nearest(query: Floats, blocks: Iterable[Tensor], count: int, *, without: int | None = None) -> Nearest:
    """The rows that are nearest to each query, by the exact order of `rank`.

    The blocks are gone through once, whatever the number of queries, and never held together.

    Args:
        query: descriptors (Q, D); they are compared on their device.
        blocks: descriptors (R, D), in the order of the rows.
        count: K; less where there are fewer rows.
        without: a row that is left out, such as the query's own.

    Raises:
        ValueError: `count` is below 1, lengths differ, or a number is not finite.
    """
    if count < 1:
        raise ValueError(f"{count} nearest were asked for: ask for at least 1")
    rows_QK, squares_QK = _nearest(query, blocks if without is None else _all_but(without, blocks), count, QUERY_BLOCK)
    if without is not None:
        rows_QK += rows_QK >= without
    return Nearest(rows_QK=rows_QK, distances_QK=np.sqrt(squares_QK))


class Ranking(NamedTuple):
    """The gallery items that are nearest to each query, nearest first; of two at the same distance, the earlier one."""

    indices_QK: NDArray[np.int64]
    """Positions in the gallery."""
    similarities_QK: NDArray[np.float64]
    """1 − d²/2 at the Euclidean distance d: between unit vectors the cosine of their angle, 1 for equal ones."""


def rank(
    query: Floats, gallery: Floats, *, top: int = 10, query_block: int = QUERY_BLOCK, gallery_block: int = 4096
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
    rows_QK, squares_QK = _nearest(query_QD, torch.split(gallery_GD, gallery_block), top, query_block)
    return Ranking(rows_QK, 1 - squares_QK / 2)


@torch.no_grad()
def _nearest(
    query: Floats, blocks: Iterable[Tensor], count: int, query_block: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows and squared distances."""
    query_QD = as_features("query_features", query)
    finite_sum("query_features", query_QD, query_block)
    queries = torch.split(query_QD, query_block) if len(query_QD) else ()
    found = [_none_of(query_BD) for query_BD in queries]
    threads, start, offset_D = torch.get_num_threads(), 0, None
    for block in blocks:
        block_RD = block.to(query_QD.device)
        if not len(block_RD):
            continue
        check_alike(query_QD, block_RD)
        with float32_products(query_QD.device), on_threads(1):
            if offset_D is None:
                offset_D = block_RD.double().mean(0).float()
            for index, query_BD in enumerate(queries):
                found[index] = merge_nearest(query_BD, found[index], block_RD, start, count, offset_D, threads)
        start += len(block_RD)
    size = (len(query_QD), min(count, start))
    rows_QK, squares_QK = np.empty(size, np.int64), np.empty(size)
    for index, places in enumerate(found):
        asked = slice(index * query_block, (index + 1) * query_block)
        rows_QK[asked], squares_QK[asked] = places.columns_BP.cpu(), places.distances_BP.cpu()
    return rows_QK, squares_QK


def _none_of(query_BD: Tensor) -> Places:
    nothing_B0 = torch.empty(len(query_BD), 0, dtype=torch.float64, device=query_BD.device)
    return Places(distances_BP=nothing_B0, columns_BP=nothing_B0.long(), taken_BP=nothing_B0.bool())


def _all_but(row: int, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    start = 0
    for block_RD in blocks:
        place = row - start
        start += len(block_RD)
        yield torch.cat((block_RD[:place], block_RD[place + 1 :])) if 0 <= place < len(block_RD) else block_RD
