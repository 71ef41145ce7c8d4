# ruff: noqa: N802 - properties carry their shape as a suffix
"""Identities held out of the training split, to choose settings by without ever opening query and gallery.

Legend: N images of a split, I identities.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from reid.config import DataError
from reid.data.dataset import Computed, Dataset, Split
from reid.data.streams import Stream, generator


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


class _HeldOutView(Dataset):
    def __init__(self, dataset: Dataset, rule: HoldOut) -> None:
        self.__dict__.update(vars(dataset))
        self._whole, self._rule = dataset, rule
        train = dataset.splits["train"]
        self.splits = {name: _Rows(train, rows_N) for name, rows_N in _divide(train, rule).items()}

    @property
    def whole(self) -> Dataset:
        return self._whole

    def __reduce__(self) -> tuple[Callable[..., Dataset], tuple[Any, ...]]:
        return hold_out, (self._whole, self._rule)


@dataclass(frozen=True)
class _RowsOf:
    whole: Computed
    rows: NDArray[np.int64]

    def gather(self, indices: ArrayLike) -> Tensor:
        return self.whole.gather(self.rows[np.asarray(indices)])


class _Rows(Split):
    """Some images of a split, as a split."""

    def __init__(self, whole: Split, rows_N: NDArray[np.int64]) -> None:
        self._whole, self._rows_N = whole, rows_N

    def __len__(self) -> int:
        return len(self._rows_N)

    @cached_property
    def pids_N(self) -> NDArray[np.int64]:
        return self._whole.pids_N[self._rows_N]

    @cached_property
    def camids_N(self) -> NDArray[np.int64]:
        return self._whole.camids_N[self._rows_N]

    @cached_property
    def names(self) -> list[str]:
        return [self._whole.names[row] for row in self._rows_N]

    @cached_property
    def attributes_NA(self) -> NDArray[np.int8]:
        return self._whole.attributes_NA[self._rows_N]

    @property
    def maps(self) -> Computed | None:
        return None if self._whole.maps is None else _RowsOf(self._whole.maps, self._rows_N)

    @property
    def has_textures(self) -> bool:
        return self._whole.has_textures

    @property
    def texture_layout(self) -> str | None:
        return self._whole.texture_layout

    @property
    def has_seen(self) -> bool:
        return self._whole.has_seen

    @cached_property
    def texture_rows_N(self) -> NDArray[np.int64]:
        return self._whole.texture_rows_N[self._rows_N]

    def gather(self, indices: ArrayLike) -> Tensor:
        return self._whole.gather(self._rows_N[np.asarray(indices)])

    def keypoints(self, indices: ArrayLike) -> Tensor:
        return self._whole.keypoints(self._rows_N[np.asarray(indices)])

    def ignore(self, indices: ArrayLike) -> Tensor:
        return self._whole.ignore(self._rows_N[np.asarray(indices)])

    def textures(self, indices: ArrayLike) -> Tensor:
        return self._whole.textures(self._rows_N[np.asarray(indices)])

    def seen(self, indices: ArrayLike) -> Tensor:
        return self._whole.seen(self._rows_N[np.asarray(indices)])


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
