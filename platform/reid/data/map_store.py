"""What is computed of a dataset's images once and kept: memory-mapped, and shared by whoever trains on the same images.

Pose maps, float32 J × h × w of an image, or textures, uint8 S × S × 3.

Legend: N images of a split, B images of a batch, J channels, h × w map cells, S texels along a side.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from reid.config import DataError
from reid.data.dataset import Dataset
from reid.data.shards import map_shard, numeric, write_shard
from reid.storage import Place, Storage, write_whole

FOLDER = "maps"
"""Of all map stores, in the storage; on each node they are part of its cache."""
CHUNK_ROWS = 512
COLUMN = "maps"


@dataclass(frozen=True, kw_only=True)
class MapStore:
    """Where that of one split is: a file for every `CHUNK_ROWS` images."""

    folder: Path
    """On this node."""
    split: str
    rows: int
    """Images N of the split."""

    def gather(self, indices: ArrayLike) -> Tensor:
        """That of B images in the order of `indices`, as it was computed."""
        chunks, rows = np.divmod(np.asarray(indices, np.int64), CHUNK_ROWS)
        gathered = np.empty((len(rows), *self._views[0].shape[1:]), self._views[0].dtype)
        for chunk in np.unique(chunks):
            here = np.flatnonzero(chunks == chunk)
            gathered[here] = self._views[chunk][rows[here]]
        return torch.from_numpy(gathered)

    def complete(
        self,
        compute: Callable[[NDArray[np.int64]], Tensor],
        storage: Storage,
        *,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """Compute every chunk that is missing here and in the storage.

        Args:
            compute: that of the images at some indices; real numbers are kept as float32.
            storage: a remote one receives what is computed, and gives what another node has computed.
            share: (rank, number of ranks): this process computes every so many chunks.
        """
        rank, world = share
        for number in range(rank, self._chunks, world):
            if self._is_whole(number) or self._fetch(number, storage):
                continue
            first = number * CHUNK_ROWS
            computed = compute(np.arange(first, min(first + CHUNK_ROWS, self.rows)))
            kept = computed.float() if computed.is_floating_point() else computed
            self.folder.mkdir(parents=True, exist_ok=True)
            write_shard(self._file(number), {COLUMN: kept.cpu().numpy()})
            if not storage.is_local:
                self._remote(number, storage).upload(self._file(number))

    def fetch(self, storage: Storage) -> None:
        """Copy to this node what other nodes have computed.

        Raises:
            DataError: a chunk is nowhere.
        """
        for number in range(self._chunks):
            if not self._is_whole(number) and not self._fetch(number, storage):
                raise DataError(f"the maps {self._file(number)} are missing: start the run again, which computes them")

    @property
    def _chunks(self) -> int:
        return -(-self.rows // CHUNK_ROWS)

    def _file(self, number: int) -> Path:
        return self.folder / f"{self.split}-{number:05d}.arrow"

    def _remote(self, number: int, storage: Storage) -> Place:
        return storage.place(FOLDER, self.folder.name, self._file(number).name)

    def _is_whole(self, number: int) -> bool:
        try:
            return bool(map_shard(self._file(number)).num_rows == min(CHUNK_ROWS, self.rows - number * CHUNK_ROWS))
        except (OSError, pa.ArrowException):
            return False

    def _fetch(self, number: int, storage: Storage) -> bool:
        remote = self._remote(number, storage)
        if storage.is_local or not remote.exists():
            return False
        write_whole(self._file(number), remote.read())
        return self._is_whole(number)

    @cached_property
    def _views(self) -> list[NDArray[Any]]:
        return [numeric(map_shard(self._file(number)).column(COLUMN)) for number in range(self._chunks)]


def map_stores(dataset: Dataset, key: str, storage: Storage) -> dict[str, MapStore]:
    """Where what is computed of each split of a dataset is; as long as this process lives it stays there.

    Args:
        key: digest of all that it depends on beside the images.
    """
    digest = hashlib.sha256(f"{dataset.digest}/{key}".encode()).hexdigest()[:24]
    folder = storage.cache.use(FOLDER, digest)
    return {name: MapStore(folder=folder, split=name, rows=len(split)) for name, split in dataset.splits.items()}
