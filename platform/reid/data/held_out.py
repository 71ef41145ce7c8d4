"""Identities held out of the training split, to choose settings by without ever opening query and gallery.

Legend: N images of a split, I identities.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.config import DataError
from reid.data.dataset import Dataset, Split
from reid.data.streams import Stream, generator
from reid.data.views import View


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """Which identities are held out: a seeded draw."""

    fraction: float
    """Share of the training split's identities."""
    seed: int


def hold_out(dataset: Dataset, rule: HoldOut) -> Dataset:
    """A dataset whose three splits are all made of the training split's images.

    The identities held out are its query and gallery, the others its train. Its gallery is every image of theirs; its
    queries are one image, the first, for each camera that saw an identity which others saw too. The usual rule, that a
    gallery image of the query's own identity and camera does not count, takes the query itself out of its gallery.

    Args:
        dataset: only its split `train` is read.

    Raises:
        DataError: less than two identities would be left on either side, or no identity held out has two cameras.
    """
    return _HeldOutView(dataset, rule)


class _HeldOutView(View):
    def __init__(self, dataset: Dataset, rule: HoldOut) -> None:
        rows = _divide(dataset.splits["train"], rule)
        super().__init__(dataset, {name: ("train", rows_N) for name, rows_N in rows.items()})
        self._rule = rule

    def __reduce__(self) -> tuple[Callable[..., Dataset], tuple[Any, ...]]:
        return hold_out, (self._whole, self._rule)


def _divide(train: Split, rule: HoldOut) -> dict[str, NDArray[np.int64]]:
    """Rows of the training split by the split of the view that they belong to."""
    pids_I = np.unique(train.pids_N)
    number = round(rule.fraction * len(pids_I))
    if not 2 <= number <= len(pids_I) - 2:
        raise DataError(
            f"search.held_out: {rule.fraction:g} of {len(pids_I)} identities is {number}, and two at least must be "
            "held out and two be left: choose another share"
        )
    chosen_I = generator(Stream.HOLD_OUT, rule.seed).permutation(pids_I)[:number]
    held_N = np.isin(train.pids_N, chosen_I)
    gallery = np.flatnonzero(held_N)
    seen, first = np.unique(np.stack((train.pids_N, train.camids_N), axis=1)[gallery], axis=0, return_index=True)
    pids, cameras = np.unique(seen[:, 0], return_counts=True)
    answerable = np.isin(seen[:, 0], pids[cameras > 1])
    if not answerable.any():
        raise DataError(
            "search.held_out: no identity that is held out was seen by two cameras, so there is nothing to retrieve: "
            "hold out more, or set another seed"
        )
    return {"train": np.flatnonzero(~held_N), "query": gallery[np.sort(first[answerable])], "gallery": gallery}
