"""From a dataset in its original format to an Arrow store.

Images are decoded in chunks of `CHUNK_ROWS` by independent tasks; a chunk's file appears only when it is complete, so a
run that was killed goes on where it was. Chunks are then merged into few large shards, and `manifest.json` is written
last: without it a folder is no store.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from reid.config import DataError, Manifest, default_storage, load_manifest
from reid.data.chunks import Chunk, Merge, TextureChunk, bytes_needed, write_chunk, write_merged, write_texture_chunk
from reid.data.dataset import Dataset
from reid.data.parallel import MapTasks, map_in_process
from reid.data.plan import plan_digest
from reid.data.readers import READERS, Records
from reid.data.readers.checks import some_of
from reid.data.readers.person_keypoints import with_keypoints
from reid.data.readers.texture_files import with_textures
from reid.data.remote import manifest_of, open_store
from reid.data.store import (
    MANIFEST,
    SCHEMA_VERSION,
    Encoding,
    Shard,
    StoredSplit,
    StoreManifest,
    content_digest,
)
from reid.progress import track
from reid.storage import Place, Storage, remove_leftovers, room_for

CHUNK_ROWS = 512
SHARD_BYTES = 512 * 2**20
"""Largest shard, more or less; a merge holds one in memory."""
DIGEST = "plan"
CHUNKS = "parts"


def prepare(
    name: str,
    source: str | Path,
    destination: str | Path,
    *,
    height: int = 256,
    width: int = 128,
    encoding: Encoding = "raw",
    map_tasks: MapTasks = map_in_process,
    splits: Collection[str] | None = None,
) -> Dataset:
    """Prepare a dataset, or open it when `destination` already holds the result.

    Args:
        name: a manifest in `datasets/`.
        source: folder of the dataset in its original format.
        destination: folder of the store, new or left by an unfinished run, a local path or a pyarrow.fs URI; every task
            must be able to read the source and to write to it.
        height, width: size of the stored images in pixels, where the dataset has no native size of its own.
        encoding: `raw` pixels or `compressed` JPEG and PNG.
        map_tasks: how the tasks are spread.
        splits: of a store that is there already, open these alone; none = all.

    Raises:
        DataError: the source is incomplete, unreadable or contradicts itself, and nothing is left in `destination`; or
            `destination` holds something else, which is left alone.
        DiskFullError: there is no room for it; what was done is there for the next time.
    """
    place, storage = Place(destination).absolute, Storage(default_storage())
    lock = Path(f"{place}.lock") if place.is_local else storage.scratch / f"{place.name}.lock"
    size = {"height": height, "width": width}
    prepare_store(name, source, place, **size, encoding=encoding, map_tasks=map_tasks, lock=lock)
    return open_store(place, storage, splits)


def prepare_store(
    name: str,
    source: str | Path,
    destination: Place,
    *,
    height: int,
    width: int,
    encoding: Encoding,
    map_tasks: MapTasks,
    lock: Path,
) -> StoreManifest:
    """Prepare a dataset, see `prepare`, without opening it, so without a copy on this node.

    Args:
        lock: a file by which the processes of a node keep each other out; on several nodes they would write the same.
    """
    source = Path(source).absolute()  # tasks may run in another folder
    manifest = load_manifest(name, source)
    plan = plan_digest(name, source, height=height, width=width, encoding=encoding)
    if destination.is_local and Path(destination).resolve().is_relative_to(source.resolve()):
        raise DataError(f"the store {destination} would lie within its source {source}: choose another destination")
    image_size = manifest.stored_size(height, width)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        if not (destination / MANIFEST).exists():
            splits = _read(manifest, source, image_size)
            try:
                with room_for(destination, bytes_needed(splits, source, image_size, encoding)):
                    _start(destination, plan)
                    textures = _texture_chunks(splits, source, destination, image_size[0])
                    _write_texture_chunks(textures, source, destination, map_tasks)
                    chunks = _chunks(splits, source, destination, image_size, encoding)
                    _write_chunks(manifest.name, chunks, source, destination, map_tasks)
                    stored = _merge_chunks(chunks, textures, splits, destination, map_tasks)
                    fields = _store_manifest(manifest, source, plan, encoding, image_size, splits, stored)
                    (destination / MANIFEST).write(fields.model_dump_json(indent=1))
            except FileNotFoundError:  # of chunks that another node has removed, being done with the same
                if not (destination / MANIFEST).exists():
                    raise
        return _finished(destination, plan)


def _read(manifest: Manifest, source: Path, image_size: tuple[int, int]) -> dict[str, Records]:
    if manifest.reader not in READERS:
        raise DataError(
            f"datasets/{manifest.name}.yaml: invalid reader '{manifest.reader}', expected one of {', '.join(READERS)}"
        )
    splits = READERS[manifest.reader](source, manifest, image_size)
    return with_textures(with_keypoints(splits, source, manifest, image_size), source, manifest)


def _start(destination: Place, plan: str) -> None:
    """Make the folder ready; chunks of an unfinished run stay if they belong to the same plan."""
    begun = (destination / DIGEST).read_text()
    if begun is None and destination.names():
        raise DataError(f"{destination} is not empty and no store: choose an empty or a new folder")
    if begun != plan:
        destination.delete()
        (destination / DIGEST).write(plan)


def _chunks(
    splits: Mapping[str, Records], source: Path, destination: Place, image_size: tuple[int, int], encoding: Encoding
) -> list[Chunk]:
    chunks = []
    for split, records in splits.items():
        rows = {file: row for row, file in enumerate(records.distinct_textures)}
        for start in range(0, len(records), CHUNK_ROWS):
            part = records[start : start + CHUNK_ROWS]
            chunk = Chunk(
                split=split,
                records=part,
                source=source,
                path=destination / CHUNKS / f"{split}-{start:09d}.arrow",
                image_size=image_size,
                encoding=encoding,
                texture_rows=tuple(rows.get(file or "", -1) for file in part.textures or ()) if rows else None,
            )
            chunks.append(chunk)
    return chunks


def _texture_chunks(splits: Mapping[str, Records], source: Path, destination: Place, side: int) -> list[TextureChunk]:
    return [
        TextureChunk(
            split=split,
            files=records.distinct_textures[start : start + CHUNK_ROWS],
            source=source,
            path=destination / CHUNKS / f"{split}-textures-{start:09d}.arrow",
            side=side,
        )
        for split, records in splits.items()
        for start in range(0, len(records.distinct_textures), CHUNK_ROWS)
    ]


def _write_chunks(name: str, chunks: list[Chunk], source: Path, destination: Place, map_tasks: MapTasks) -> None:
    total = sum(len(chunk.records) for chunk in chunks)
    unreadable: list[str] = []
    with track(f"preparing {name}", total, "images") as advance:
        for chunk, complaints in zip(chunks, map_tasks(write_chunk, chunks), strict=True):
            unreadable += complaints
            advance(len(chunk.records))
    if unreadable:
        destination.delete()
        raise DataError(f"{source}: replace or remove {len(unreadable)} unreadable images: {some_of(unreadable)}")


def _write_texture_chunks(chunks: list[TextureChunk], source: Path, destination: Place, map_tasks: MapTasks) -> None:
    if wrong := [complaint for complaints in map_tasks(write_texture_chunk, chunks) for complaint in complaints]:
        destination.delete()
        raise DataError(
            f"{source}: {len(wrong)} textures are not what they should be, make them anew: {some_of(wrong)}"
        )


def _merge_chunks(
    chunks: list[Chunk],
    textures: list[TextureChunk],
    splits: Mapping[str, Records],
    destination: Place,
    map_tasks: MapTasks,
) -> dict[str, StoredSplit]:
    shards, texture_shards = (_merged(kind, destination, map_tasks) for kind in (chunks, textures))
    return {
        split: StoredSplit(
            rows=len(records),
            identities=records.num_identities,
            shards=shards[split],
            textures=texture_shards.get(split, ()),
            seen=records.seen is not None,
        )
        for split, records in splits.items()
    }


def _merged(
    chunks: Sequence[Chunk | TextureChunk], destination: Place, map_tasks: MapTasks
) -> dict[str, tuple[Shard, ...]]:
    """Few large shards by split, named as its chunks are."""
    paths: dict[str, list[Place]] = {}
    for chunk in chunks:
        paths.setdefault(chunk.split, []).append(chunk.path)
    merges = [
        Merge(split=split, chunks=group, path=destination / f"{group[0].name.rpartition('-')[0]}-{number:05d}.arrow")
        for split, files in paths.items()
        for number, group in enumerate(_grouped(files))
    ]
    shards: dict[str, tuple[Shard, ...]] = {}
    for merge, shard in zip(merges, map_tasks(write_merged, merges), strict=True):
        shards[merge.split] = (*shards.get(merge.split, ()), shard)
    return shards


def _grouped(paths: Iterable[Place]) -> list[tuple[Place, ...]]:
    """Consecutive files of at most `SHARD_BYTES` together."""
    groups: list[list[Place]] = []
    size = 0
    for path in paths:
        own = path.size() or 0
        size += own
        if not groups or size > SHARD_BYTES:
            groups.append([])
            size = own
        groups[-1].append(path)
    return [tuple(group) for group in groups]


def _store_manifest(
    manifest: Manifest,
    source: Path,
    plan: str,
    encoding: Encoding,
    image_size: tuple[int, int],
    splits: Mapping[str, Records],
    stored: dict[str, StoredSplit],
) -> StoreManifest:
    found = next(iter(splits.values())).attributes
    keypoints = [records.keypoints_NMJ3 for records in splits.values() if records.keypoints_NMJ3 is not None]
    textured = any(split.textures for split in stored.values())
    fields = StoreManifest(
        schema_version=SCHEMA_VERSION,
        name=manifest.name,
        source=str(source),
        plan=plan,
        digest="",
        encoding=encoding,
        height=image_size[0],
        width=image_size[1],
        max_people=max((joints_NMJ3.shape[1] for joints_NMJ3 in keypoints), default=0),
        attributes=manifest.attributes if found is None else found,
        attribute_protocol=manifest.attribute_protocol,
        texture_side=image_size[0] if textured else 0,
        texture_layout=manifest.textures.layout if textured and manifest.textures is not None else None,
        splits=stored,
    )
    return fields.model_copy(update={"digest": content_digest(fields.model_dump(mode="json"))})


def _finished(destination: Place, plan: str) -> StoreManifest:
    """What was prepared, without what a preparation leaves beside it."""
    manifest = manifest_of(destination)
    if manifest.plan != plan:
        raise DataError(
            f"{destination} holds {manifest.name} prepared from other files or with other settings: delete the folder "
            "or choose another destination"
        )
    (destination / CHUNKS).delete()
    (destination / DIGEST).delete()
    if destination.is_local:
        remove_leftovers(Path(destination))
    return manifest
