# ruff: noqa: N815 - fields carry their shape as a suffix
"""Exact ranks of every query's matches, without a distance matrix and without sorting the gallery.

Gallery items are ranked by squared Euclidean distance; of two at the same distance, the one listed earlier is ahead.

A block of queries meets one block of the gallery at a time in a float32 matrix product. Sorting each short row of
scores and looking up the matches' own scores counts the items ahead of each match. A float32 product is known only to
within a margin, so whatever lies within it of a match is compared again, by distances summed in float64 in an order
that depends on nothing but the dimension. The ranks are therefore the same for every block size, device, thread count
and share of the queries, and equal features tie exactly. Where very many items are at nearly the same distance (a
collapsed model), these second looks take most of the time.

Shapes: B queries and C gallery items of a block, G gallery items, D dimensions; N (query, gallery) pairs; P places for
the matches of one query, as many as the block's largest number of matches.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PAIRS_AT_ONCE = 256  # in float64 at D = 2048 they take 4 MB, which stays in a core's cache
LOOKUPS_AT_ONCE = 2048  # rows of scores searched again at once


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """(query, gallery) pairs: rows within the block of queries, columns within the gallery."""

    rows_N: Tensor
    columns_N: Tensor


@dataclass(frozen=True, kw_only=True)
class Places:
    """The matches of a block of queries, nearest first, padded to P places a query."""

    distances_BP: Tensor  # float64, squared; +inf where not taken
    columns_BP: Tensor
    taken_BP: Tensor  # bool


def rank_matches(
    query_BD: Tensor,
    gallery_GD: Tensor,
    junk_G: Tensor,
    same_identity: Pairs,
    kept_N: Tensor,
    offset_D: Tensor,
    gallery_block: int,
    product_threads: int,
) -> tuple[Tensor, Tensor]:
    """Ranks of the matches of a block of queries, from 0, ascending, int64 (B, P), and the places taken, bool (B, P).

    `same_identity` holds all gallery items of the queries' identities, by row, then column; those not in `kept_N` are
    removed from their query's ranking and `junk_G` from every ranking. `offset_D` is subtracted from all features:
    distances do not change, but features that share a large part (after a ReLU, early in training) round less.
    `product_threads` are for the matrix products; see `on_threads` for the rest.
    """
    distances_N = pair_distances(query_BD, gallery_GD, same_identity)
    places = _place_matches(distances_N, same_identity, kept_N, len(query_BD))
    ahead_BP = torch.arange(places.taken_BP.shape[1], device=query_BD.device).repeat(len(query_BD), 1)

    centred_BD = centre(query_BD, offset_D)
    squares_B = centred_BD.double().square_().sum(dim=1)  # the squared distance is |q|² − 2·score, see `_product`
    match_scores_BP = (squares_B[:, None] - places.distances_BP) / 2
    match_scores_BP[~places.taken_BP] = torch.inf

    order_N = same_identity.columns_N.argsort()
    rows_N, columns_N = same_identity.rows_N[order_N], same_identity.columns_N[order_N]
    pair_scores_N = (squares_B[rows_N] - distances_N[order_N]) / 2
    starts = range(0, len(gallery_GD), gallery_block)
    edges = torch.searchsorted(columns_N, torch.tensor([*starts, len(gallery_GD)], device=columns_N.device)).tolist()

    for start, first, last in zip(starts, edges[:-1], edges[1:], strict=True):
        block = slice(start, start + gallery_block)
        centred_CD = centre(gallery_GD[block], offset_D)
        scores_BC, longest = _product(centred_BD, centred_CD, junk_G[block], product_threads)
        margin_B = rounding_margin(squares_B.sqrt() + longest, len(offset_D))

        rows, columns = rows_N[first:last], columns_N[first:last] - start
        _check_rounding(scores_BC[rows, columns] - pair_scores_N[first:last], margin_B[rows])
        scores_BC[rows, columns] = -torch.inf

        lower_BP = (match_scores_BP - margin_B[:, None]).float()
        upper_BP = (match_scores_BP + margin_B[:, None]).float()
        not_below_BP, close_BP = _count_not_below(scores_BC, lower_BP, upper_BP)
        ahead_BP += not_below_BP
        for rows, place, columns in _lookups(scores_BC, close_BP, lower_BP, upper_BP):
            behind = ~_is_ahead(query_BD, gallery_GD, rows, columns + start, places, place)
            ahead_BP.index_put_((rows, place), -behind.long(), accumulate=True)
    return ahead_BP, places.taken_BP


def merge_nearest(
    query_BD: Tensor, known: Places, block_CD: Tensor, start: int, count: int, offset_D: Tensor, product_threads: int
) -> Places:
    """The gallery items nearest to each of a block of queries, among those found before and another block: `count`.

    What a float32 product cannot tell from the last of them is compared by exact distances.

    Args:
        known: the nearest among the first `start` items of the gallery, `count` for each query or all of them.
        block_CD: those that follow.
        offset_D, product_threads: see `rank_matches`.

    Raises:
        ValueError: the block is not finite.
    """
    centred_BD = centre(query_BD, offset_D)
    squares_B = centred_BD.double().square_().sum(dim=1)
    scores_BC, longest = _product(centred_BD, centre(block_CD, offset_D), None, product_threads)
    if not bool(longest.isfinite()):
        raise ValueError(
            "gallery_features contain NaN or infinity, or overflow float32; check that training did not diverge"
        )
    margin_B1 = rounding_margin(squares_B.sqrt() + longest, len(offset_D))[:, None]
    best_BK = scores_BC.topk(min(count, len(block_CD)), dim=1).values - margin_B1
    surely_BK = torch.cat(((squares_B[:, None] - known.distances_BP) / 2, best_BK), dim=1)
    needed_B1 = surely_BK.topk(min(count, surely_BK.shape[1]), dim=1).values[:, -1:]
    rows_N, columns_N = (scores_BC >= (needed_B1 - margin_B1).float()).nonzero().unbind(1)
    if not len(rows_N):
        return known
    distances_N = pair_distances(query_BD, block_CD, Pairs(rows_N=rows_N, columns_N=columns_N))
    _check_rounding(scores_BC[rows_N, columns_N] - (squares_B[rows_N] - distances_N) / 2, margin_B1[rows_N, 0])

    every_B = torch.arange(len(query_BD), device=query_BD.device)
    rows_N = torch.cat((every_B.repeat_interleave(known.distances_BP.shape[1]), rows_N))
    order_N = rows_N.argsort(stable=True)  # each query's in the order of the gallery
    distances_N = torch.cat((known.distances_BP.flatten(), distances_N))[order_N]
    columns_N = torch.cat((known.columns_BP.flatten(), columns_N + start))[order_N]
    pairs = Pairs(rows_N=rows_N[order_N], columns_N=columns_N)
    places = _place_matches(distances_N, pairs, torch.ones_like(columns_N, dtype=torch.bool), len(query_BD))
    return Places(**{name: values_BP[:, :count] for name, values_BP in vars(places).items()})


def _product(centred_BD: Tensor, centred_CD: Tensor, junk_C: Tensor | None, threads: int) -> tuple[Tensor, Tensor]:
    """Scores q·g − |g|²/2 of a block of the gallery, and its largest norm."""
    norms_C = torch.linalg.vector_norm(centred_CD, dim=1)
    bias_C = norms_C.square() / -2
    if junk_C is not None:
        bias_C.masked_fill_(junk_C, -torch.inf)
    with on_threads(threads):
        return torch.addmm(bias_C, centred_BD, centred_CD.T), norms_C.max()


def _count_not_below(scores_BC: Tensor, lower_BP: Tensor, upper_BP: Tensor) -> tuple[Tensor, Tensor]:
    """How many scores of each row reach a lower bound, and whether any of those lies below the upper bound."""
    num_columns = scores_BC.shape[1]
    sorted_BC = _sort_rows(scores_BC)
    below_BP = torch.searchsorted(sorted_BC, lower_BP)
    lowest_above_BP = sorted_BC.gather(1, below_BP.clamp(max=num_columns - 1))
    return num_columns - below_BP, (below_BP < num_columns) & (lowest_above_BP <= upper_BP)


def _lookups(
    scores_BC: Tensor, close_BP: Tensor, lower_BP: Tensor, upper_BP: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Gallery items that rounding keeps from telling apart from a match: query, place of the match, column of a block.

    Args:
        close_BP: matches that have such items.
        lower_BP, upper_BP: scores between which they lie.
    """
    rows_of_close, places_of_close = close_BP.nonzero(as_tuple=True)
    for first in range(0, len(rows_of_close), LOOKUPS_AT_ONCE):
        some = slice(first, first + LOOKUPS_AT_ONCE)
        rows, place = rows_of_close[some], places_of_close[some]
        scores_NC = scores_BC[rows]
        within_NC = (scores_NC >= lower_BP[rows, place, None]) & (scores_NC <= upper_BP[rows, place, None])
        lookup, columns = within_NC.nonzero().unbind(1)
        yield rows[lookup], place[lookup], columns


def pair_distances(query_BD: Tensor, gallery_GD: Tensor, pairs: Pairs) -> Tensor:
    """Squared Euclidean distance of each pair, float64 (N,).

    Halves are added until one column is left: the same order of additions for every pair, batch and device.
    """
    distances_N = torch.empty(len(pairs.rows_N), dtype=torch.float64, device=query_BD.device)
    for start in range(0, len(distances_N), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        terms_ND = query_BD.index_select(0, pairs.rows_N[some]).double()
        terms_ND.sub_(gallery_GD.index_select(0, pairs.columns_N[some])).square_()
        width = terms_ND.shape[1]
        while width > 1:
            half = width // 2
            terms_ND[:, :half] += terms_ND[:, width - half : width]
            width -= half
        distances_N[some] = terms_ND[:, 0]
    return distances_N


@contextmanager
def float32_products(device: torch.device) -> Iterator[None]:
    """Matrix products in full float32 whatever autocast or TF32 setting the caller trains with; theirs is put back."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """CPU arithmetic on so many threads; the caller's number is put back.

    Everything but the matrix products is so small that waking a second thread gains little, and costs many times the
    arithmetic where other work holds the cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _place_matches(distances_N: Tensor, pairs: Pairs, kept_N: Tensor, num_rows: int) -> Places:
    """Sorts each query's kept pairs by distance, equal ones by gallery order."""
    rows_N, columns_N, distances_N = pairs.rows_N[kept_N], pairs.columns_N[kept_N], distances_N[kept_N]
    count_B = torch.bincount(rows_N, minlength=num_rows)
    place_N = torch.arange(len(rows_N), device=rows_N.device) - (count_B.cumsum(0) - count_B)[rows_N]
    size = (num_rows, max(1, int(count_B.max())))
    distances_BP = torch.full(size, torch.inf, dtype=torch.float64, device=rows_N.device)
    distances_BP[rows_N, place_N] = distances_N
    columns_BP = torch.zeros(size, dtype=torch.int64, device=rows_N.device)
    columns_BP[rows_N, place_N] = columns_N
    distances_BP, order_BP = distances_BP.sort(dim=1, stable=True)
    return Places(
        distances_BP=distances_BP,
        columns_BP=columns_BP.gather(1, order_BP),
        taken_BP=torch.arange(size[1], device=rows_N.device) < count_B[:, None],
    )


def _is_ahead(
    query_BD: Tensor, gallery_GD: Tensor, rows_N: Tensor, columns_N: Tensor, places: Places, place_N: Tensor
) -> Tensor:
    """Whether gallery item `columns_N` is ahead of the match at `place_N` for query `rows_N`, bool (N,)."""
    keys, inverse_N = torch.unique(rows_N * len(gallery_GD) + columns_N, return_inverse=True)
    pairs = Pairs(rows_N=keys // len(gallery_GD), columns_N=keys % len(gallery_GD))
    distances_N = pair_distances(query_BD, gallery_GD, pairs)[inverse_N]
    match_distances_N = places.distances_BP[rows_N, place_N]
    earlier_N = columns_N < places.columns_BP[rows_N, place_N]
    return (distances_N < match_distances_N) | ((distances_N == match_distances_N) & earlier_N)


def centre(features_ND: Tensor, offset_D: Tensor) -> Tensor:
    working_dtype = torch.promote_types(features_ND.dtype, torch.float32)
    return (features_ND.to(working_dtype) - offset_D).float()


def rounding_margin(norm_sums_B: Tensor, dim: int) -> Tensor:
    """More than a float32 score can be off, float64 (B,), given |q| + |g|.

    Rounding errors of a sum of D terms behave like a random walk, growing with √D (Higham and Mary, "A new approach to
    probabilistic rounding error analysis", 2019). The factor is about three times the largest error that was measured
    over aligned, opposed, sparse and random features of 1 to 8192 dimensions.
    """
    unit_roundoff = torch.finfo(torch.float32).eps / 2
    factor: float = unit_roundoff * (6 + dim**0.5 / 16)
    return norm_sums_B.double().square() * factor


def _check_rounding(errors_N: Tensor, margins_N: Tensor) -> None:
    if not bool((errors_N.abs() <= margins_N).all()):
        raise ValueError(
            "matrix products on this device are less exact than float32, or the features overflow it; "
            "unset NVIDIA_TF32_OVERRIDE, and L2-normalise the features if they exceed 1e18"
        )


def _sort_rows(scores_BC: Tensor) -> Tensor:
    """Ascending copy; on a CPU by NumPy, whose vectorised sort of short rows is many times as fast."""
    if scores_BC.device.type == "cpu":
        return torch.from_numpy(np.sort(scores_BC.numpy(), axis=1))
    ascending_BC, _ = scores_BC.sort(dim=1)
    return ascending_BC
