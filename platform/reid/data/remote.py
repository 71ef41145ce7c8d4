"""Stores that live elsewhere: any file system that Arrow knows."""

import hashlib
import shutil
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
from filelock import FileLock
from pyarrow import fs

from reid.data.errors import DataError
from reid.data.store import MANIFEST, Shard, StoreManifest, parse_manifest

CHUNK = 8 * 2**20


def local_copy(uri: str | Path, cache_root: str | Path, splits: Collection[str] | None = None) -> Path:
    """The folder of a store on this machine; a remote one is copied, once for all processes of the node.

    Args:
        uri: a local folder, which is returned as it is, or a pyarrow.fs URI such as `s3://bucket/reid/market`.
        cache_root: node-local folder for copies; each is named by the digest of its contents.
        splits: copy the shards of these alone; none = all.

    Raises:
        DataError: the store cannot be reached, is damaged, or changed on the way.
    """
    if "://" not in str(uri):
        return Path(uri)
    try:
        system, root = fs.FileSystem.from_uri(str(uri))
        with system.open_input_stream(f"{root}/{MANIFEST}") as stream:
            text = stream.read()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{uri} holds no prepared dataset that can be read, check the address: {error}") from error
    manifest = parse_manifest(text, str(uri))
    target = Path(cache_root) / "-".join((manifest.digest, *sorted(splits or ())))
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not (target / MANIFEST).exists():
            _copy(system, root, str(uri), manifest.only(splits), text, target)
    return target


def _copy(system: fs.FileSystem, root: str, uri: str, manifest: StoreManifest, text: bytes, target: Path) -> None:
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for split in manifest.splits.values():
            for shard in split.shards:
                _copy_shard(system, f"{root}/{shard.file}", f"{uri}/{shard.file}", shard, partial / shard.file)
        (partial / MANIFEST).write_bytes(text)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy_shard(system: fs.FileSystem, path: str, place: str, shard: Shard, target: Path) -> None:
    digest = hashlib.sha256()
    try:
        with system.open_input_stream(path) as stream, target.open("wb") as file:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"the shard {place} could not be copied to {target}: {error}. Try again, or prepare it anew"
        ) from error
    if digest.hexdigest() != shard.sha256:
        raise DataError(f"the shard {place} is damaged (its checksum is another): delete the store and prepare again")
