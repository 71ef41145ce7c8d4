# ruff: noqa: N802 - properties carry their shape as a suffix
"""A prepared dataset, open for reading.

Shards are memory-mapped when first used, in each process anew: all workers of a node share one copy in the page cache.

Legend: N images of a split, B images of a batch, H × W stored pixels, A attributes, M people, J = 18 joints.
"""

import os
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from reid.config import JOINTS, Attribute, AttributeProtocol, DataError
from reid.data.pixels import IGNORE_STRIDE, UnreadableImageError, load_image, resized
from reid.data.shards import map_shard, numeric, sha256_of
from reid.data.store import StoredSplit, StoreManifest, read_manifest


class Maps(Protocol):
    """Maps of a split's images that were computed before."""

    def gather(self, indices: ArrayLike) -> Tensor:
        """float32 maps B × J × h × w in the order of `indices`."""


class Split:
    """The images and labels of one split."""

    def __init__(self, folder: Path, manifest: StoreManifest, stored: StoredSplit) -> None:
        self._folder, self._manifest, self._stored = folder, manifest, stored
        self._maps: Maps | None = None
        self._starts = np.cumsum([0, *(shard.rows for shard in stored.shards)])

    def __len__(self) -> int:
        return self._stored.rows

    @cached_property
    def pids_N(self) -> NDArray[np.int64]:
        """Identities; 0 = distractor, -1 = unknown."""
        return np.concatenate(self._views("pid"))

    @cached_property
    def camids_N(self) -> NDArray[np.int64]:
        """Cameras from 1; negative = unknown."""
        return np.concatenate(self._views("camid"))

    @cached_property
    def names(self) -> list[str]:
        """Names of the source images."""
        return [name for batch in self._batches for name in batch.column("name").to_pylist()]

    @cached_property
    def attributes_NA(self) -> NDArray[np.int8]:
        """Classes in the order of `Dataset.attributes`; -1 = missing."""
        if not self._manifest.attributes:
            return np.empty((len(self), 0), np.int8)
        return np.concatenate(self._views("attributes"))

    @property
    def maps(self) -> Maps | None:
        """Pose maps of the images, where a phase has attached them."""
        return self._maps

    def attach(self, maps: Maps) -> None:
        """Have maps of the images go along with them."""
        self._maps = maps

    def gather(self, indices: ArrayLike) -> Tensor:
        """uint8 images B × H × W × 3 in the order of `indices`."""
        if self._manifest.encoding == "raw":
            return self._gather(self._images, indices)
        return self._decode(indices)

    def keypoints(self, indices: ArrayLike) -> Tensor:
        """float32 joints B × M × J × 3 as (x, y, v) in stored pixels; v = 0 not labelled."""
        return self._gather(self._keypoints, indices)

    def ignore(self, indices: ArrayLike) -> Tensor:
        """bool masks B × H/8 × W/8: True where people are not annotated."""
        return self._gather(self._ignore, indices).bool()

    @cached_property
    def _batches(self) -> list[pa.RecordBatch]:
        try:
            batches = [map_shard(self._folder / shard.file) for shard in self._stored.shards]
            for batch, shard in zip(batches, self._stored.shards, strict=True):
                _require_columns(batch, shard.rows, self._manifest)
            return batches
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DataError(
                f"{self._folder}: a shard is damaged, delete the folder and prepare again: {error}"
            ) from error

    def _views(self, column: str) -> list[NDArray[Any]]:
        return [numeric(batch.column(column)) for batch in self._batches]

    @cached_property
    def _images(self) -> list[NDArray[Any]]:
        return self._views("image")

    @cached_property
    def _keypoints(self) -> list[NDArray[Any]]:
        return self._views("keypoints")

    @cached_property
    def _ignore(self) -> list[NDArray[Any]]:
        return self._views("ignore")

    def _locate(self, indices: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(shard, row within it) of each index."""
        wanted = np.asarray(indices, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"indices must lie in 0..{len(self) - 1}, got {wanted.min()}..{wanted.max()}")
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        return shards, wanted - self._starts[shards]

    def _gather(self, views: list[NDArray[Any]], indices: ArrayLike) -> Tensor:
        shards, rows = self._locate(indices)
        gathered = np.empty((len(rows), *views[0].shape[1:]), views[0].dtype)
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            if len(here) == len(rows):  # the usual case: copied once
                np.take(views[shard], rows, axis=0, out=gathered, mode="clip")
            else:
                gathered[here] = views[shard][rows[here]]
        return torch.from_numpy(gathered)

    def _decode(self, indices: ArrayLike) -> Tensor:
        shards, rows = self._locate(indices)
        columns = [batch.column("image") for batch in self._batches]
        decoded = np.empty((len(rows), self._manifest.height, self._manifest.width, 3), np.uint8)
        for image, shard, row in zip(decoded, shards.tolist(), rows.tolist(), strict=True):
            file = BytesIO(columns[shard][row].as_buffer())
            try:
                image[:] = np.asarray(resized(load_image(file), (self._manifest.height, self._manifest.width)))
            except UnreadableImageError as error:
                raise DataError(f"{self._folder}: an image is damaged, delete the folder and prepare again") from error
        return torch.from_numpy(decoded)


def _require_columns(batch: pa.RecordBatch, rows: int, manifest: StoreManifest) -> None:
    """
    Raises:
        ValueError: a shard has not the rows and columns that its manifest says.
    """
    height, width, people = manifest.height, manifest.width, manifest.max_people
    types = {"pid": pa.int64(), "camid": pa.int64(), "name": pa.string(), "image": pa.binary()}
    if manifest.encoding == "raw":
        types["image"] = pa.fixed_shape_tensor(pa.uint8(), (height, width, 3))
    if manifest.attributes:
        types["attributes"] = pa.list_(pa.int8(), len(manifest.attributes))
    if people:  # of the split that has most
        own = min(people, _people(batch))
        types["keypoints"] = pa.fixed_shape_tensor(pa.float32(), (own, len(JOINTS), 3))
        types["ignore"] = pa.fixed_shape_tensor(pa.uint8(), (height // IGNORE_STRIDE, width // IGNORE_STRIDE))
    if batch.num_rows != rows:
        raise ValueError(f"it has {batch.num_rows} rows instead of {rows}")
    found = {field.name: field.type for field in batch.schema}
    for name, expected in types.items():
        if found.get(name) != expected or batch.column(name).null_count:
            raise ValueError(f"its column {name} holds {found.get(name)} instead of {expected}")


def _people(batch: pa.RecordBatch) -> int:
    """People an image that the shard has joints of; 1 where it has no such column."""
    index = batch.schema.get_field_index("keypoints")
    kind = batch.schema.field(index).type if index >= 0 else None
    return int(kind.shape[0]) if isinstance(kind, pa.FixedShapeTensorType) and kind.shape else 1


class Dataset:
    """A prepared dataset; pickles as its path, so it costs nothing to send to a worker on the same node."""

    def __init__(self, path: Path, manifest: StoreManifest) -> None:
        self.path = path
        self._manifest = manifest
        self.attributes: dict[str, Attribute] = {attribute.name: attribute for attribute in manifest.attributes}
        self.splits: Mapping[str, Split] = {
            name: Split(path, manifest, stored) for name, stored in manifest.splits.items()
        }

    @property
    def name(self) -> str:
        """The dataset manifest it was prepared by."""
        return self._manifest.name

    @property
    def digest(self) -> str:
        """Digest of the contents: equal for equal images and labels, wherever they came from."""
        return self._manifest.digest

    @property
    def plan(self) -> str:
        """`plan_digest` of the preparation."""
        return self._manifest.plan

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the stored images, pixels."""
        return self._manifest.height, self._manifest.width

    @property
    def attribute_protocol(self) -> AttributeProtocol:
        """How predictions of the attributes are scored."""
        return self._manifest.attribute_protocol

    @property
    def whole(self) -> "Dataset":
        """The dataset as it is stored, of which this may be a view."""
        return self

    @property
    def has_keypoints(self) -> bool:
        """Whether images come with joints and ignore masks."""
        return self._manifest.max_people > 0

    def __reduce__(self) -> tuple[Callable[..., "Dataset"], tuple[Any, ...]]:
        return _reopen, (self.path, self.digest, tuple(self.splits))


def open_dataset(
    path: str | Path, *, verify: Literal[True, "sizes"] = True, splits: Collection[str] | None = None
) -> Dataset:
    """Open a prepared dataset.

    Args:
        path: folder of the store.
        verify: read every shard and compare its checksum, or compare `sizes` alone, which costs nothing.
        splits: open these alone and leave the files of all others untouched; none = all.

    Raises:
        DataError: there is no store, it was written by a newer version, or a shard is missing or damaged.
    """
    folder = Path(path).absolute()
    manifest = read_manifest(folder).only(splits)
    for stored in manifest.splits.values():
        for shard in stored.shards:
            file = folder / shard.file
            remedy = f"delete the folder {folder} and prepare again"
            if not os.path.isfile(file):
                raise DataError(f"the shard {file} is missing: {remedy}")
            if file.stat().st_size != shard.bytes:
                raise DataError(f"the shard {file} has {file.stat().st_size} bytes instead of {shard.bytes}: {remedy}")
            if verify is True and sha256_of(file) != shard.sha256:
                raise DataError(f"the shard {file} is damaged (its checksum is another): {remedy}")
    return Dataset(folder, manifest)


def _reopen(path: Path, digest: str, splits: tuple[str, ...]) -> Dataset:
    dataset = open_dataset(path, verify="sizes", splits=splits)
    if dataset.digest != digest:
        raise DataError(f"{path} was replaced by another dataset while it was in use: start the run again")
    return dataset
