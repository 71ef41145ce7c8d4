"""The tasks of a preparation: decode images into chunks, merge chunks into shards; each may run in its own process."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from reid.data.pixels import Box, UnreadableImageError, ignore_mask, jpeg, load_image, resized
from reid.data.readers import Records
from reid.data.shards import Column, map_shard, merge_shards, sha256_of, write_shard
from reid.data.store import Encoding, Shard
from reid.storage import Place


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One task: some images of one split."""

    split: str
    records: Records
    source: Path
    path: Place
    """File to write."""
    image_size: tuple[int, int]
    """(height, width) of the stored images."""
    encoding: Encoding
    texture_rows: tuple[int, ...] | None
    """Which of the split's textures each image has; -1 = none. None where no image of the split has one."""


@dataclass(frozen=True, kw_only=True)
class TextureChunk:
    """One task: some textures of one split."""

    split: str
    files: tuple[str, ...]
    """Relative to the source."""
    source: Path
    path: Place
    """File to write."""
    side: int
    """Texels along a side of the stored textures."""


@dataclass(frozen=True, kw_only=True)
class Merge:
    """One task: consecutive chunks that become a shard."""

    split: str
    chunks: tuple[Place, ...]
    path: Place
    """File to write."""


def bytes_needed(splits: Mapping[str, Records], source: Path, image_size: tuple[int, int], encoding: Encoding) -> int:
    """Of a preparation's chunks and shards together, more or less."""
    height, width = image_size
    raw = 3 * height * width
    textures = 2 * 3 * height**2 * sum(len(records.distinct_textures) for records in splits.values())
    if encoding == "raw":
        return textures + 2 * raw * sum(len(records) for records in splits.values())
    files = (source / path for records in splits.values() for path in records.paths)
    return textures + 2 * sum(min(raw, file.stat().st_size) for file in files if file.is_file())


def write_chunk(chunk: Chunk) -> list[str]:
    """Decode the images of a chunk and write them, unless a former run did; returns complaints about unreadable images.

    A chunk with any unreadable image is not written.
    """
    if _is_complete(chunk.path, len(chunk.records)):
        return []
    images: list[NDArray[np.uint8] | bytes] = []
    masks: list[NDArray[np.uint8]] = []
    seen: list[NDArray[np.uint8]] = []
    complaints: list[str] = []
    for row, relative in enumerate(chunk.records.paths):
        try:
            image = load_image(chunk.source / relative)
            stored, mask = _stored_image(chunk, image, row), _ignore_mask(chunk, image, row)
            if chunk.records.seen is not None:
                seen.append(_seen_mask(chunk, row))
        except UnreadableImageError as error:
            complaints.append(str(error) if str(chunk.source) in str(error) else f"{chunk.source / relative}: {error}")
            continue
        images.append(stored)
        masks.append(mask)
    if not complaints:
        columns = _columns(chunk, images, masks) | ({"seen": np.stack(seen)} if seen else {})
        with chunk.path.from_this_node() as target:
            write_shard(target, columns)
    return complaints


def write_texture_chunk(chunk: TextureChunk) -> list[str]:
    """Decode the textures of a chunk and write them, unless a former run did; returns complaints as `write_chunk`."""
    if _is_complete(chunk.path, len(chunk.files)):
        return []
    textures: list[NDArray[np.uint8]] = []
    complaints: list[str] = []
    for file in chunk.files:
        try:
            textures.append(np.asarray(resized(_load_square(chunk.source / file), (chunk.side, chunk.side))))
        except UnreadableImageError as error:
            complaints.append(str(error))
    if not complaints:
        with chunk.path.from_this_node() as target:
            write_shard(target, {"texture": np.stack(textures)})
    return complaints


def write_merged(merge: Merge) -> Shard:
    """Merge chunks into a shard and describe it.

    Raises:
        FileNotFoundError: a chunk is there no more.
    """
    with ExitStack() as here, merge.path.from_this_node() as file:
        chunks = [here.enter_context(chunk.on_this_node()) for chunk in merge.chunks]
        for place, chunk in zip(merge.chunks, chunks, strict=True):
            if chunk is None:
                raise FileNotFoundError(f"there is no {place}")
        merge_shards([chunk for chunk in chunks if chunk is not None], file)
        return Shard(file=file.name, rows=map_shard(file).num_rows, bytes=file.stat().st_size, sha256=sha256_of(file))


def _is_complete(place: Place, rows: int) -> bool:
    if not place.is_local:
        return place.exists()  # an object store shows what is complete alone
    try:
        return bool(map_shard(Path(place)).num_rows == rows)
    except (OSError, pa.ArrowException):
        return False


def _columns(
    chunk: Chunk, images: list[NDArray[np.uint8] | bytes], masks: list[NDArray[np.uint8]]
) -> dict[str, Column]:
    records = chunk.records
    columns: dict[str, Column] = {
        "image": np.stack(images) if chunk.encoding == "raw" else [bytes(image) for image in images],
        "pid": records.pids_N,
        "camid": records.camids_N,
        "name": list(records.names),
    }
    if records.attributes_NA.shape[1]:
        columns["attributes"] = records.attributes_NA
    if records.keypoints_NMJ3 is not None:
        columns["keypoints"] = records.keypoints_NMJ3
        columns["ignore"] = np.stack(masks)
    if chunk.texture_rows is not None:
        columns["texture"] = np.array(chunk.texture_rows, np.int64)
    return columns


def _load_square(path: Path) -> Image.Image:
    image = load_image(path)
    if image.width != image.height:
        raise UnreadableImageError(f"{path} has {image.width} × {image.height} pixels and is no square")
    return image


def _seen_mask(chunk: Chunk, row: int) -> NDArray[np.uint8]:
    """1 where the image shows at least half of the texel."""
    assert chunk.records.seen is not None
    side = chunk.image_size[0]
    mask = _load_square(chunk.source / chunk.records.seen[row]).convert("L")
    return (np.asarray(mask.resize((side, side), Image.Resampling.BOX)) > 127).astype(np.uint8)


def _box(chunk: Chunk, row: int) -> Box | None:
    if chunk.records.crops is None:
        return None
    left, top, right, bottom = chunk.records.crops.boxes_N4[row].tolist()
    return left, top, right, bottom


def _ignore_mask(chunk: Chunk, image: Image.Image, row: int) -> NDArray[np.uint8]:
    outlines = () if chunk.records.crops is None else chunk.records.crops.ignored[row]
    return ignore_mask(outlines, (image.height, image.width), _box(chunk, row), chunk.image_size)


def _stored_image(chunk: Chunk, image: Image.Image, row: int) -> NDArray[np.uint8] | bytes:
    if chunk.records.crops is None and chunk.encoding == "compressed":
        return (chunk.source / chunk.records.paths[row]).read_bytes()
    image = resized(image, chunk.image_size, _box(chunk, row))
    return np.asarray(image) if chunk.encoding == "raw" else jpeg(image)
