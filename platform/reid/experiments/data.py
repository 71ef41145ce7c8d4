"""Makes the Arrow stores that a run trains on: renders the embedded benchmark if need be, prepares, verifies."""

import functools
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from reid.cluster import connect, map_on_cluster, nodes_that_see
from reid.config import DataConfig, RunConfig, is_own, load_manifest
from reid.data import (
    MANIFEST,
    POSE,
    REID,
    TEXTURES,
    DataError,
    DataKind,
    MapTasks,
    StoreManifest,
    manifest_of,
    map_in_process,
    map_in_processes,
    open_dataset,
    plan_digest,
    prepare_store,
)
from reid.embedded import EDITION, SIZES, render_coco, render_market1501, render_pairs
from reid.progress import say
from reid.stages import check_phases, stage_of
from reid.storage import Place, Storage

EMBEDDED = "embedded"
POSE_DATASETS = {"crops": "coco", "whole": "coco_whole"}
"""Manifests by `data.pose_images`."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where data of one kind come from in their original format."""

    manifest: Callable[[DataConfig], str]
    """Name of the dataset."""
    setting: Literal["source", "pose_source", "texture_source"]
    """Of `data`: the folder where the user has it; not used by `embedded`."""
    remedy: Callable[[DataConfig], str]
    """What to do where there is none."""
    rendered: str
    """Its folder in the embedded benchmark."""
    render: Callable[..., None]


def _remedy_of_person_images(data: DataConfig) -> str:
    """Only what was published has been unpacked."""
    if is_own(data.name):
        return "set it to the folder of your images"
    return f"set it to the folder where {data.name} was unpacked"


SOURCES = {
    REID.name: Source(
        manifest=lambda data: data.name,
        setting="source",
        remedy=_remedy_of_person_images,
        rendered="market1501",
        render=render_market1501,
    ),
    POSE.name: Source(
        manifest=lambda data: POSE_DATASETS[data.pose_images],
        setting="pose_source",
        remedy=lambda data: "set it to a COCO folder with annotations/ and train2017/ for the pose phase",
        rendered="coco",
        render=render_coco,
    ),
    TEXTURES.name: Source(
        manifest=lambda data: "texture_pairs",
        setting="texture_source",
        remedy=lambda data: (
            "set it to a folder of image–texture pairs with train/ and val/ for the phases that learn textures"
        ),
        rendered="pairs",
        render=render_pairs,
    ),
}
"""By the name of the kind of data."""

Stores = dict[str, Place]
"""Arrow stores by the name of the kind of data."""


def prepare_all(config: RunConfig) -> Stores:
    """Prepare everything that the configured phases read."""
    config = without_unfed_phases(config)
    check_phases(config)
    storage = Storage.of(config)
    storage.make_ready()
    if config.scaling.num_workers:
        connect(config.extensions)
    return prepare_data(config, storage, kinds_of(config))


def without_unfed_phases(config: RunConfig) -> RunConfig:
    """The configuration without the phases that a user's own images cannot feed; it says which, and what to do.

    Left out are phases whose kind of data has no source, such as joints, and with them those after them whose model
    would take what nobody has trained. Of a published dataset nothing is left out, nor is all: a missing source is an
    error then.

    Raises:
        ConfigError: see `check_phases`.
    """
    if not is_own(config.data.name):
        return config
    check_phases(config)
    left_out: dict[str, list[str]] = {}
    kept: list[str] = []
    for phase in config.phases:
        stage = stage_of(config, phase)
        reason = _unfed(stage.data, config.data)
        if reason is None and left_out:
            reason = stage.untrained(config, {config.phases[name].stage for name in kept})
        if reason is None:
            kept.append(phase)
        else:
            left_out.setdefault(reason, []).append(phase)
    if not left_out or not kept:
        return config
    reasons = "; ".join(f"{' and '.join(phases)}, {reason}" for reason, phases in left_out.items())
    rest = f"What is trained, {', '.join(kept)}, starts from the weights that the settings name"
    say(f"left out for want of data: {reasons}. {rest}")
    return config.model_copy(update={"phases": {phase: config.phases[phase] for phase in kept}})


def _unfed(kind: DataKind, data: DataConfig) -> str | None:
    """What a phase lacks, and what to do; the person images themselves cannot be done without."""
    source = SOURCES[kind.name]
    if kind == REID or getattr(data, source.setting) is not None:
        return None
    return f"which learns from data.{source.setting}: {source.remedy(data)}"


def kinds_of(config: RunConfig) -> tuple[DataKind, ...]:
    """The kinds of data that the configured phases read, person images first."""
    kinds = {stage_of(config, phase).data.name: stage_of(config, phase).data for phase in config.phases}
    return tuple(sorted(kinds.values(), key=lambda kind: list(SOURCES).index(kind.name)))


def prepare_data(
    config: RunConfig, storage: Storage, kinds: Collection[DataKind], splits: Collection[str] | None = None
) -> Stores:
    """Prepare data of the given kinds; what was prepared before is opened and verified.

    Args:
        splits: of the person images, if prepared before, open these alone; none = all.

    Raises:
        DataError: a source is missing or wrong.
    """
    _require_sources([SOURCES[kind.name] for kind in kinds], config.data)
    rendering = _rendering(config, storage)
    sources = {kind.name: _source(SOURCES[kind.name], config.data, storage, rendering) for kind in kinds}
    return {
        name: _store(name, config, storage, source, splits if name == REID.name else None)
        for name, source in sources.items()
    }


def prepared(config: RunConfig, storage: Storage, kind: DataKind) -> StoreManifest | None:
    """What was prepared of a kind before, if it was; it is not opened.

    Raises:
        DataError: a source that the user must have is missing.
    """
    source = SOURCES[kind.name]
    _require_sources([source], config.data)
    folder = _folder_of(source, config.data, storage)
    if not folder.exists():
        return None
    store = storage.place("stores", _store_name(source, config.data, folder))
    return manifest_of(store) if (store / MANIFEST).exists() else None


def _require_sources(sources: Sequence[Source], data: DataConfig) -> None:
    """
    Raises:
        DataError: naming every source that is missing, or one that the embedded benchmark has not.
    """
    if data.name == EMBEDDED:
        if given := [source.setting for source in SOURCES.values() if getattr(data, source.setting) is not None]:
            raise DataError(
                f"data.{given[0]}: the embedded benchmark has none; set data.name to your dataset, as in market1501"
            )
        return
    problems = []
    for source in sources:
        folder = getattr(data, source.setting)
        if folder is None or not os.path.isdir(folder):
            what = "is missing" if folder is None else f"there is no folder {folder}"
            problems.append(f"data.{source.setting}: {what}; {source.remedy(data)}")
    if problems:
        raise DataError("\n".join(problems))


def _source(source: Source, data: DataConfig, storage: Storage, map_tasks: MapTasks) -> Path:
    """Folder of a dataset in its original format; rendered where `data.name` is `embedded`."""
    place = _folder_of(source, data, storage)
    if data.name != EMBEDDED:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):  # another job may be rendering it
        if not place.exists():
            say(f"rendering {place}")
            source.render(place, size=SIZES[data.size], seed=data.seed, map_tasks=map_tasks)
    return place


def _folder_of(source: Source, data: DataConfig, storage: Storage) -> Path:
    if data.name != EMBEDDED:
        return Path(getattr(data, source.setting))
    return storage.scratch / "sources" / f"embedded-{EDITION}-{data.size}-{data.seed}" / source.rendered


def _store_name(source: Source, data: DataConfig, folder: Path) -> str:
    name = source.manifest(data)
    plan = plan_digest(name, folder, height=data.height, width=data.width, encoding=data.encoding)
    return f"{load_manifest(name, folder).name}-{plan[:12]}"


def _store(kind: str, config: RunConfig, storage: Storage, source: Path, splits: Collection[str] | None) -> Place:
    data = config.data
    folder = _store_name(SOURCES[kind], data, source)
    place = storage.place("stores", folder)
    manifest = prepare_store(
        SOURCES[kind].manifest(data),
        source,
        place,
        height=data.height,
        width=data.width,
        encoding=data.encoding,
        map_tasks=_preparing(config, source),
        lock=storage.scratch / "stores" / f"{folder}.lock",
    )
    if place.is_local:
        open_dataset(place, splits=splits)
    counts = ", ".join(f"{split.rows:,} {name}" for name, split in manifest.only(splits).splits.items())
    say(f"prepared {counts} in {place}")
    return place


def _rendering(config: RunConfig, storage: Storage) -> MapTasks:
    """How tasks that write to this node, or to what all nodes share, are spread."""
    if config.scaling.num_workers == 0:
        return map_in_process
    return map_on_cluster if storage.is_local else map_in_processes(os.cpu_count() or 1)


def _preparing(config: RunConfig, source: Path) -> MapTasks:
    """How tasks that read a source, and write to the storage, are spread: over the nodes that see the source."""
    if config.scaling.num_workers == 0:
        return map_in_process
    nodes = nodes_that_see(source)
    return functools.partial(map_on_cluster, nodes=nodes) if nodes else map_in_processes(os.cpu_count() or 1)
