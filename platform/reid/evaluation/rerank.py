"""Re-ranking with k-reciprocal encoding (Zhong et al., CVPR 2017).

Unlike plain retrieval this needs all pairs of images: its time grows with their number squared, its memory with queries
times gallery.

Legend: Q queries, G gallery items, N = Q + G of both, B rows of a block, D dimensions, K nearest neighbours.
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.evaluation.items import Floats

ROWS_AT_ONCE = 512

Bool = NDArray[np.bool_]
Int = NDArray[np.int64]


NEIGHBOURS = 20
"""Nearest neighbours among which reciprocal ones are sought, as in the paper."""


def require_rerankable(images: int) -> None:
    """
    Raises:
        ValueError: so few images have too few neighbours.
    """
    if images <= NEIGHBOURS:
        raise ValueError(
            f"evaluation.rerank: queries and gallery are {images} images together, and re-ranking compares each "
            f"with its {NEIGHBOURS} nearest: leave it off"
        )


def k_reciprocal_distances(
    query_features: Floats, gallery_features: Floats, *, k1: int = NEIGHBOURS, k2: int = 6, lambda_value: float = 0.3
) -> Tensor:
    """Re-ranked distances of every query to every gallery item, float32 (Q, G) on the CPU.

    λ·d + (1 − λ)·d_J of the original distance d (squared Euclidean over the row's largest) and the Jaccard distance d_J
    of the k-reciprocal neighbour sets (eq. 12); neighbours at equal distances come in no particular order.

    Args:
        query_features, gallery_features: (Q, D) and (G, D), torch tensors or NumPy arrays.
        k1: nearest neighbours among which reciprocal ones are sought.
        k2: neighbours over which the encodings are averaged (local query expansion).
        lambda_value: weight λ of the original distance, 0..1.

    Raises:
        ValueError: k1 or k2 do not fit the number of images, or λ lies outside of 0..1.
    """
    query_QD = torch.as_tensor(query_features).detach().float().cpu()
    features_ND = torch.cat([query_QD, torch.as_tensor(gallery_features).detach().float().cpu()])
    if not 1 <= k2 <= k1 < len(features_ND):
        raise ValueError(
            f"k1 = {k1} and k2 = {k2} do not fit {len(features_ND)} images: 1 ≤ k2 ≤ k1 < images is needed"
        )
    if not 0 <= lambda_value <= 1:
        raise ValueError(f"lambda_value is {lambda_value}: give a weight in 0..1")
    nearest_NK = np.empty((len(features_ND), k1 + 1), np.int64)
    original_QG = torch.empty(len(query_QD), len(features_ND) - len(query_QD))
    for rows, distances_BN in _blocks_of_distances(features_ND):
        here = range(rows.start, min(rows.stop, len(query_QD)))
        original_QG[here.start : here.stop] = distances_BN[: len(here), len(query_QD) :]
        distances_BN[range(len(distances_BN)), rows] = -1  # everyone is nearest to itself
        nearest_NK[rows] = distances_BN.topk(k1 + 1, largest=False).indices.numpy()
    encodings = _encodings(nearest_NK, features_ND)
    if k2 > 1:
        encodings = (_mean_over(nearest_NK[:, :k2]) @ encodings).tocsr()
    return lambda_value * original_QG + (1 - lambda_value) * _jaccard(encodings, len(query_QD))


def _blocks_of_distances(features_ND: Tensor) -> Iterator[tuple[range, Tensor]]:
    """Rows and their squared Euclidean distances (B, N) to all items, over each row's largest."""
    squares_N = features_ND.square().sum(1)
    for start in range(0, len(features_ND), ROWS_AT_ONCE):
        rows = range(start, min(start + ROWS_AT_ONCE, len(features_ND)))
        block_BD = features_ND[rows.start : rows.stop]
        products_BN = block_BD @ features_ND.T
        distances_BN = (squares_N[rows.start : rows.stop, None] + squares_N - 2 * products_BN).clamp_(min=0)
        yield rows, distances_BN / distances_BN.amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


def _reciprocal(nearest_NK: Int) -> Bool:
    """Whether each item is among the K nearest of its k-th nearest in turn, (N, K)."""
    owner_N11 = np.arange(len(nearest_NK))[:, None, None]
    blocks = [slice(start, start + ROWS_AT_ONCE) for start in range(0, len(nearest_NK), ROWS_AT_ONCE)]
    return np.concatenate([(nearest_NK[nearest_NK[rows]] == owner_N11[rows]).any(2) for rows in blocks])


def _encodings(nearest_NK: Int, features_ND: Tensor) -> sp.csr_matrix:
    """Each item's k-reciprocal neighbours, expanded by theirs (eq. 4), weighted by nearness (eq. 7), (N, N)."""
    half = round((nearest_NK.shape[1] - 1) / 2) + 1
    nearest_NH = nearest_NK[:, :half]
    reciprocal_NK, reciprocal_NH = _reciprocal(nearest_NK), _reciprocal(nearest_NH)
    rows_of, columns_of, weights_of = [], [], []
    for rows, distances_BN in _blocks_of_distances(features_ND):
        candidates_BK, taken_BK = nearest_NK[rows], reciprocal_NK[rows]
        theirs_BKH = nearest_NH[candidates_BK]
        counted_BKH = reciprocal_NH[candidates_BK] & taken_BK[:, :, None]
        shared_BKH = ((theirs_BKH[..., None] == candidates_BK[:, None, None]) & taken_BK[:, None, None]).any(3)
        agree_BK = (shared_BKH & counted_BKH).sum(2) > 2 / 3 * counted_BKH.sum(2)
        kept_BKH = counted_BKH & agree_BK[:, :, None]
        row_B = np.arange(len(rows))
        pairs = np.concatenate(
            [
                (row_B[:, None] * len(features_ND) + candidates_BK)[taken_BK],
                (row_B[:, None, None] * len(features_ND) + theirs_BKH)[kept_BKH],
            ]
        )
        row, column = np.divmod(np.unique(pairs), len(features_ND))
        weights = np.exp(-distances_BN.numpy()[row, column])
        rows_of.append(row + rows.start)
        columns_of.append(column)
        weights_of.append(weights / np.bincount(row, weights)[row])
    places = (np.concatenate(rows_of), np.concatenate(columns_of))
    return sp.csr_matrix((np.concatenate(weights_of), places), shape=(len(features_ND),) * 2)


def _mean_over(neighbours_NK: Int) -> sp.csr_matrix:
    """The matrix (N, N) that averages rows over each item's neighbours."""
    count, size = neighbours_NK.shape
    weights = np.full(neighbours_NK.size, 1 / size)
    return sp.csr_matrix(
        (weights, neighbours_NK.ravel(), np.arange(0, neighbours_NK.size + 1, size)), shape=(count, count)
    )


def _jaccard(encodings: sp.csr_matrix, queries: int) -> Tensor:
    """Jaccard distance (Q, G) of the fuzzy neighbour sets (eq. 10), each of which sums to 1."""
    columns = encodings.tocsc()
    distances_QG = np.empty((queries, encodings.shape[0] - queries), np.float32)
    for query in range(queries):
        own = encodings[[query]]
        theirs = columns[:, own.indices]
        smaller = np.minimum(theirs.data, np.repeat(own.data, np.diff(theirs.indptr)))
        shared_N = np.bincount(theirs.indices, smaller, minlength=encodings.shape[0])
        distances_QG[query] = 1 - shared_N[queries:] / (2 - shared_N[queries:])
    return torch.from_numpy(distances_QG)
