"""Stores that live elsewhere: any file system that Arrow knows."""

import hashlib
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from reid.config import DataError
from reid.data.dataset import Dataset, open_dataset
from reid.data.store import MANIFEST, Shard, StoreManifest, parse_manifest
from reid.storage import Cache, Place, Storage, whole_folder

BLOCK_BYTES = 8 * 2**20


def open_store(place: str, storage: Storage, splits: Collection[str] | None = None) -> Dataset:
    """Open an Arrow store; a remote one through this node's cache.

    Args:
        place: the store's folder or URI.
        storage: the run's, whose cache has the copies.
        splits: open these alone and touch no file of the others; none = all.
    """
    return open_dataset(local_copy(place, storage.cache, splits), verify="sizes", splits=splits)


def local_copy(place: str | Path, cache: Cache, splits: Collection[str] | None = None) -> Path:
    """The folder of a store on this machine; a remote one is copied, once for all processes of the node.

    Args:
        place: a local folder, which is returned as it is, or a pyarrow.fs URI such as `s3://bucket/reid/market`.
        cache: where copies are kept, each under the digest of its contents.
        splits: copy the shards of these alone; none = all.

    Raises:
        DataError: the store cannot be reached, is damaged, or changed on the way.
    """
    source = Place(place)
    if source.is_local:
        return Path(source)
    text = _manifest_text(source)
    manifest = parse_manifest(text, str(source)).only(splits)
    target = cache.use("cache", "-".join((manifest.digest, *sorted(splits or ()))))
    if not (target / MANIFEST).exists():
        try:
            with whole_folder(target) as partial:
                cache.make_room(sum(shard.bytes for split in manifest.splits.values() for shard in split.files))
                _copy(source, manifest, text, partial)
        except FileExistsError:  # another process of this node has copied it meanwhile
            pass
    return target


def manifest_of(place: Place) -> StoreManifest:
    """Of a store, wherever it lies.

    Raises:
        DataError: there is none, or it is damaged or of another version.
    """
    return parse_manifest(_manifest_text(place), place)


def _manifest_text(place: Place) -> bytes:
    try:
        return (place / MANIFEST).read()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{place} holds no prepared dataset that can be read, check the address: {error}") from error


def _copy(source: Place, manifest: StoreManifest, text: bytes, target: Path) -> None:
    for split in manifest.splits.values():
        for shard in split.files:
            _copy_shard(source / shard.file, shard, target / shard.file)
    (target / MANIFEST).write_bytes(text)


def _copy_shard(place: Place, shard: Shard, target: Path) -> None:
    digest = hashlib.sha256()
    try:
        filesystem, path = place.resolve()
        with filesystem.open_input_stream(path) as stream, target.open("wb") as file:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
                file.write(block)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"the shard {place} could not be copied to {target}: {error}. Try again, or prepare it anew"
        ) from error
    if digest.hexdigest() != shard.sha256:
        raise DataError(f"the shard {place} is damaged (its checksum is another): delete the store and prepare again")
