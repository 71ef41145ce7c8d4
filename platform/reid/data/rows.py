"""The rows of a store's shards, memory-mapped when first used, in each process anew.

Legend: N rows in all, B rows that are asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from reid.config import DataError
from reid.data.shards import map_shard, numeric
from reid.data.store import Shard

Types = Mapping[str, pa.DataType]
"""Of columns, by name."""


class Rows:
    """The rows of some shards, in their order."""

    def __init__(self, folder: Path, shards: Sequence[Shard], types: Callable[[pa.RecordBatch], Types]) -> None:
        """
        Args:
            types: the columns that a shard must have.
        """
        self._folder, self._shards, self._types = folder, shards, types
        self._starts = np.cumsum([0, *(shard.rows for shard in shards)])
        self._views: dict[str, list[NDArray[Any]]] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def batches(self) -> list[pa.RecordBatch]:
        """One for each shard.

        Raises:
            DataError: a shard is damaged, or has not the rows and columns that it should have.
        """
        try:
            batches = [map_shard(self._folder / shard.file) for shard in self._shards]
            for batch, shard in zip(batches, self._shards, strict=True):
                _require_columns(batch, shard.rows, self._types(batch))
            return batches
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DataError(
                f"{self._folder}: a shard is damaged, delete the folder and prepare again: {error}"
            ) from error

    def column(self, name: str) -> NDArray[Any]:
        """A whole column, in memory."""
        return np.concatenate(self._views_of(name))

    def gather(self, name: str, indices: ArrayLike) -> Tensor:
        """B cells of a numeric column in the order of `indices`."""
        views = self._views_of(name)
        shards, rows = self._locate(indices)
        gathered = np.empty((len(rows), *views[0].shape[1:]), views[0].dtype)
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            if len(here) == len(rows):  # the usual case: copied once
                np.take(views[shard], rows, axis=0, out=gathered, mode="clip")
            else:
                gathered[here] = views[shard][rows[here]]
        return torch.from_numpy(gathered)

    def files(self, name: str, indices: ArrayLike) -> Iterator[BytesIO]:
        """B cells of a binary column in the order of `indices`."""
        shards, rows = self._locate(indices)
        columns = [batch.column(name) for batch in self.batches]
        for shard, row in zip(shards.tolist(), rows.tolist(), strict=True):
            yield BytesIO(columns[shard][row].as_buffer())

    def require_inside(self, indices: ArrayLike) -> NDArray[np.int64]:
        """The indices as an array.

        Raises:
            IndexError: there are no such rows.
        """
        wanted = np.asarray(indices, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"indices must lie in 0..{len(self) - 1}, got {wanted.min()}..{wanted.max()}")
        return wanted

    def _locate(self, indices: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(shard, row within it) of each index."""
        wanted = self.require_inside(indices)
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        return shards, wanted - self._starts[shards]

    def _views_of(self, name: str) -> list[NDArray[Any]]:
        if name not in self._views:
            self._views[name] = [numeric(batch.column(name)) for batch in self.batches]
        return self._views[name]


def _require_columns(batch: pa.RecordBatch, rows: int, types: Types) -> None:
    """
    Raises:
        ValueError: a shard has not the rows and columns that its manifest says.
    """
    if batch.num_rows != rows:
        raise ValueError(f"it has {batch.num_rows} rows instead of {rows}")
    found = {field.name: field.type for field in batch.schema}
    for name, expected in types.items():
        if found.get(name) != expected or batch.column(name).null_count:
            raise ValueError(f"its column {name} holds {found.get(name)} instead of {expected}")
