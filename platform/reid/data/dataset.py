# ruff: noqa: N802 - properties carry their shape as a suffix
"""A prepared dataset, open for reading.

Shards are memory-mapped when first used, in each process anew: all workers of a node share one copy in the page cache.

Legend: N images of a split, B images of a batch, H × W stored pixels, A attributes, M people, J = 18 joints,
        S texels along the side of a texture.
"""

import os
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from reid.config import Attribute, AttributeProtocol, DataError
from reid.data.columns import image_columns, texture_columns
from reid.data.pixels import UnreadableImageError, load_image, resized
from reid.data.rows import Rows
from reid.data.shards import sha256_of
from reid.data.store import StoredSplit, StoreManifest, read_manifest


class Computed(Protocol):
    """What was computed before of each of a split's images."""

    def gather(self, indices: ArrayLike) -> Tensor:
        """That of B images in the order of `indices`."""


class Split:
    """The images and labels of one split."""

    def __init__(self, folder: Path, manifest: StoreManifest, stored: StoredSplit) -> None:
        self._folder, self._manifest, self._stored = folder, manifest, stored
        self._rows = Rows(folder, stored.shards, lambda shard: image_columns(shard, manifest, stored))
        self._textures = Rows(folder, stored.textures, lambda shard: texture_columns(manifest))
        self._maps: Computed | None = None
        self._given_textures: tuple[Computed, str | None] | None = None

    def __len__(self) -> int:
        return self._stored.rows

    @cached_property
    def pids_N(self) -> NDArray[np.int64]:
        """Identities; 0 = distractor, -1 = unknown."""
        return self._rows.column("pid")

    @cached_property
    def camids_N(self) -> NDArray[np.int64]:
        """Cameras from 1; negative = unknown."""
        return self._rows.column("camid")

    @cached_property
    def names(self) -> list[str]:
        """Names of the source images."""
        return [name for batch in self._rows.batches for name in batch.column("name").to_pylist()]

    @cached_property
    def attributes_NA(self) -> NDArray[np.int8]:
        """Classes in the order of `Dataset.attributes`; -1 = missing."""
        if not self._manifest.attributes:
            return np.empty((len(self), 0), np.int8)
        return self._rows.column("attributes")

    @property
    def maps(self) -> Computed | None:
        """float32 pose maps J × h × w of the images, where a phase has attached them."""
        return self._maps

    def attach(
        self, maps: Computed | None = None, *, textures: Computed | None = None, texture_layout: str | None = None
    ) -> None:
        """Have what was computed of the images go along with them; what is not given stays as it was.

        Args:
            maps: float32 J × h × w of an image.
            textures: uint8 S × S × 3 of an image, in place of the store's own.
            texture_layout: the layout that these are in; none = another than those that we know.
        """
        if maps is not None:
            self._maps = maps
        if textures is not None:
            self._given_textures = textures, texture_layout

    @property
    def has_textures(self) -> bool:
        """Whether every image comes with a texture, its own or an attached one."""
        return self._given_textures is not None or bool((self.texture_rows_N >= 0).all())

    @property
    def texture_layout(self) -> str | None:
        """A key of `reid.config.TEXTURE_LAYOUTS`; none = another layout."""
        return self._manifest.texture_layout if self._given_textures is None else self._given_textures[1]

    @property
    def has_seen(self) -> bool:
        """Whether images say which of their own textures' texels they show."""
        return self._stored.seen

    @cached_property
    def texture_rows_N(self) -> NDArray[np.int64]:
        """Which of the store's textures each image has: images of one number show one person; -1 = none."""
        if not len(self._textures):
            return np.full(len(self), -1, np.int64)
        rows_N: NDArray[np.int64] = self._rows.column("texture")
        if rows_N.min() < -1 or rows_N.max() >= len(self._textures):
            raise DataError(
                f"{self._folder}: a shard is damaged, delete the folder and prepare again: its column texture counts "
                f"{rows_N.min()}..{rows_N.max()}, and there are {len(self._textures)} textures"
            )
        return rows_N

    def gather(self, indices: ArrayLike) -> Tensor:
        """uint8 images B × H × W × 3 in the order of `indices`."""
        if self._manifest.encoding == "raw":
            return self._rows.gather("image", indices)
        return self._decode(indices)

    def keypoints(self, indices: ArrayLike) -> Tensor:
        """float32 joints B × M × J × 3 as (x, y, v) in stored pixels; v = 0 not labelled."""
        return self._rows.gather("keypoints", indices)

    def ignore(self, indices: ArrayLike) -> Tensor:
        """bool masks B × H/8 × W/8: True where people are not annotated."""
        return self._rows.gather("ignore", indices).bool()

    def textures(self, indices: ArrayLike) -> Tensor:
        """uint8 textures B × S × S × 3 in the order of `indices`.

        Raises:
            DataError: an image has none.
        """
        if self._given_textures is not None:
            return self._given_textures[0].gather(indices)
        wanted = self._rows.require_inside(indices)
        rows = self.texture_rows_N[wanted]
        if (rows < 0).any():
            without = self.names[wanted[rows < 0][0]]
            raise DataError(f"{self._folder}: there is no texture of {without}: leave it out, or give it one")
        return self._textures.gather("texture", rows)

    def seen(self, indices: ArrayLike) -> Tensor:
        """bool masks B × S × S: True where the image shows the texel of its own texture.

        Raises:
            DataError: that is not known.
        """
        if not self.has_seen:
            raise DataError(f"{self._folder}: it is not known which texels the images show: put masks beside them")
        return self._rows.gather("seen", indices).bool()

    def _decode(self, indices: ArrayLike) -> Tensor:
        size = self._manifest.height, self._manifest.width
        decoded = np.empty((len(self._rows.require_inside(indices)), *size, 3), np.uint8)
        for image, file in zip(decoded, self._rows.files("image", indices), strict=True):
            try:
                image[:] = np.asarray(resized(load_image(file), size))
            except UnreadableImageError as error:
                raise DataError(f"{self._folder}: an image is damaged, delete the folder and prepare again") from error
        return torch.from_numpy(decoded)


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

    @property
    def has_textures(self) -> bool:
        """Whether images come with textures of the people that they show; distractors have none."""
        return self._manifest.texture_side > 0

    @property
    def texture_side(self) -> int:
        """Texels along a side of the stored textures; 0 = there are none."""
        return self._manifest.texture_side

    @property
    def texture_layout(self) -> str | None:
        """That of the stored textures: a key of `reid.config.TEXTURE_LAYOUTS`; none = another."""
        return self._manifest.texture_layout

    def __reduce__(self) -> tuple[Callable[..., "Dataset"], tuple[Any, ...]]:
        return _reopen, (self.path, self.digest, tuple(self.splits))


def open_dataset(
    path: str | Path, *, verify: Literal[True, "sizes"] = True, splits: Collection[str] | None = None
) -> Dataset:
    """Open a prepared dataset: `jobs/prepare_data.py` writes it, and says where.

    Its `splits` (train, query, gallery, …) have the images and their labels; images are mapped from the disk, and read
    when they are asked for.

    Args:
        path: local folder of the store.
        verify: read every shard and compare its checksum, or compare `sizes` alone, which costs nothing.
        splits: open these alone and leave the files of all others untouched; none = all.

    Raises:
        DataError: there is no store, it was written by a newer version, or a shard is missing or damaged.
    """
    folder = Path(path).absolute()
    manifest = read_manifest(folder).only(splits)
    for stored in manifest.splits.values():
        for shard in stored.files:
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
