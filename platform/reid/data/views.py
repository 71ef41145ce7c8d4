# ruff: noqa: N802 - properties carry their shape as a suffix
"""Some images of a dataset, as a dataset.

Legend: N images of a split.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from reid.data.dataset import Computed, Dataset, Split


class View(Dataset):
    """A dataset whose splits are made of rows of another's.

    Args:
        splits: by name, a split of `dataset` and the rows that are taken of it.
    """

    def __init__(self, dataset: Dataset, splits: Mapping[str, tuple[str, NDArray[np.int64]]]) -> None:
        self.__dict__.update(vars(dataset))
        self._whole = dataset
        self.splits = {name: _Rows(dataset.splits[source], rows_N) for name, (source, rows_N) in splits.items()}

    @property
    def whole(self) -> Dataset:
        return self._whole


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
