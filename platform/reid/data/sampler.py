"""Which images make up each batch: pure functions of (seed, epoch), the same for any number of workers.

Legend: S batches of an epoch, B images of a global batch, P identities × K images = B, I identities, N images.
"""

import numpy as np
from numpy.typing import NDArray

from reid.data.streams import Stream, generator

Indices = NDArray[np.int64]


def shuffled_batches(count: int, batch_size: int, seed: int, epoch: int) -> Indices:
    """S × B indices: every image at most once, an incomplete last batch left out.

    Raises:
        ValueError: there are fewer images than a batch holds.
    """
    if count < batch_size:
        raise ValueError(f"{count} images do not fill a batch of {batch_size}: lower batch_size to {count} or less")
    order = generator(Stream.SHUFFLE, seed, epoch).permutation(count)
    return order[: count - count % batch_size].reshape(-1, batch_size)


def balanced_batches(pids_N: NDArray[np.int64], identities: int, instances: int, seed: int, epoch: int) -> Indices:
    """S × P·K indices, the K images of an identity side by side; S = N / (P·K), rounded down, at least 1.

    Every batch holds P distinct identities, and over the epoch each identity is visited equally often, give or take
    one. Its images take turns: none comes again before all others came, so within a visit they differ if there are K.

    Args:
        pids_N: identity of each image.
        identities: P.
        instances: K.

    Raises:
        ValueError: there are fewer than P identities.
    """
    images_by_pid, counts_I = np.argsort(pids_N, kind="stable"), np.unique(pids_N, return_counts=True)[1]
    if len(counts_I) < identities:
        raise ValueError(
            f"{len(counts_I)} identities do not fill a batch of {identities} identities × {instances} images: lower "
            "batch_size or raise images_per_identity"
        )
    rng = generator(Stream.BALANCED, seed, epoch)
    starts_I = np.cumsum(counts_I) - counts_I
    owner_N = np.repeat(np.arange(len(counts_I)), counts_I)
    images_by_pid = images_by_pid[np.lexsort((rng.random(len(pids_N)), owner_N))]  # shuffled within each identity

    batches = max(len(pids_N) // (identities * instances), 1)
    visited = _rounds(len(counts_I), identities, batches * identities, rng)
    visit = np.arange(len(visited)) // len(counts_I)
    turn = visit[:, None] * instances + np.arange(instances)
    positions = starts_I[visited][:, None] + turn % counts_I[visited][:, None]
    return images_by_pid[positions].reshape(batches, identities * instances)


def rank_slice(size: int, rank: int, world_size: int, unit: int = 1) -> slice:
    """Rows of a global batch that belong to a rank: consecutive whole units, the first ranks one more if uneven.

    Args:
        size: rows of the global batch, a multiple of `unit`.
        unit: rows that stay together, K for identity-balanced batches.
    """
    assert size % unit == 0, (size, unit)
    assert 0 <= rank < world_size, (rank, world_size)
    share, longer = divmod(size // unit, world_size)
    start = rank * share + min(rank, longer)
    return slice(start * unit, (start + share + (rank < longer)) * unit)


def _rounds(count: int, batch: int, length: int, rng: np.random.Generator) -> Indices:
    """Random orders of all identities, one after another, such that no batch holds an identity twice."""
    rounds: list[Indices] = []
    drawn = 0
    while drawn < length:
        order = rng.permutation(count)
        open_places = -drawn % batch  # left in the batch that the former round began
        if open_places:
            already = np.isin(order, rounds[-1][open_places - batch :])
            first = order[~already][:open_places]
            order = np.concatenate([first, order[~np.isin(order, first)]])
        rounds.append(order)
        drawn += count
    return np.concatenate(rounds)[:length]
