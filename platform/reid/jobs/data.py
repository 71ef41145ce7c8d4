"""Makes the Arrow stores that a run trains on: renders the embedded benchmark if need be, prepares, verifies."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from reid.config import RunConfig
from reid.data import DataError, Dataset, open_dataset, plan_digest, prepare
from reid.data.embedded import SIZES, render_coco, render_market1501
from reid.data.parallel import MapTasks, map_in_process, map_in_processes
from reid.data.store import MANIFEST
from reid.jobs import command
from reid.training.cluster import connect, map_on_cluster
from reid.training.storage import Storage

EMBEDDED = "embedded"
POSE_DATASETS = {"crops": "coco", "whole": "coco_whole"}
"""Manifests by `data.pose_images`."""


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """Arrow stores by what is trained on them."""

    reid: str
    """Folder or URI of the person images."""
    pose: str | None
    """Folder or URI of the images with joints; None when no phase needs them."""

    def store_of(self, stage: str) -> str:
        place = self.pose if stage == "pose" else self.reid
        assert place is not None
        return place


def main(argv: Sequence[str] | None = None) -> None:
    command.run(prepare_all, command.parse("Prepare the configured datasets as Arrow stores.", argv))


def prepare_all(config: RunConfig) -> PreparedData:
    """Prepare everything that the configured phases read."""
    storage = Storage(config.storage)
    storage.require_writable()
    if config.scaling.num_workers:
        connect()
    return prepare_data(config, storage, {phase.stage for phase in config.phases.values()})


def prepare_data(
    config: RunConfig, storage: Storage, stages: Collection[str], splits: Collection[str] | None = None
) -> PreparedData:
    """Prepare everything that the given stages read; what was prepared before is opened and verified.

    Args:
        splits: of the person images, if prepared before, open these alone; none = all.

    Raises:
        DataError: a source is missing or wrong.
    """
    map_tasks = _map_tasks(config, storage)
    needs_pose = "pose" in stages
    reid_source, pose_source = _sources(config, storage, needs_pose, map_tasks)
    reid = _store(config, storage, config.data.name, reid_source, map_tasks, splits)
    pose_name = POSE_DATASETS[config.data.pose_images]
    pose = _store(config, storage, pose_name, pose_source, map_tasks) if pose_source is not None else None
    return PreparedData(reid=reid, pose=pose)


def _sources(config: RunConfig, storage: Storage, needs_pose: bool, map_tasks: MapTasks) -> tuple[Path, Path | None]:
    """Folders of the datasets in their original formats; rendered where `data.name` is `embedded`."""
    data = config.data
    if data.name != EMBEDDED:
        if data.source is None:
            raise DataError(f"data.source: is missing; set it to the folder where {data.name} was unpacked")
        if needs_pose and data.pose_source is None:
            raise DataError(
                "data.pose_source: is missing; set it to a COCO folder with annotations/ and train2017/ for the pose "
                "phase"
            )
        return Path(data.source), Path(data.pose_source) if needs_pose and data.pose_source else None
    if data.source is not None or data.pose_source is not None:
        raise DataError("data.source: the embedded benchmark has none; set data.name to your dataset, as in market1501")
    root = storage.scratch / "sources" / f"embedded-{data.size}-{data.seed}"
    size = SIZES[data.size]
    for name, render in (("market1501", render_market1501), ("coco", render_coco)):
        if not (root / name).exists() and (name == "market1501" or needs_pose):
            print(f"rendering {root / name}", flush=True)
            render(root / name, size=size, seed=data.seed, map_tasks=map_tasks)
    return root / "market1501", root / "coco" if needs_pose else None


def _store(
    config: RunConfig,
    storage: Storage,
    name: str,
    source: Path,
    map_tasks: MapTasks,
    splits: Collection[str] | None = None,
) -> str:
    data = config.data
    plan = plan_digest(name, source, height=data.height, width=data.width, encoding=data.encoding)
    folder = f"{name}-{plan[:12]}"
    local = storage.scratch / "stores" / folder
    with _progress_bar(f"preparing {local}") as progress:
        prepare(
            name,
            source,
            local,
            height=data.height,
            width=data.width,
            encoding=data.encoding,
            map_tasks=map_tasks,
            progress=progress,
            splits=splits,
        )
    dataset = open_dataset(local, splits=splits)
    print(f"prepared {_counts(dataset)} in {local}", flush=True)
    if storage.is_local:
        return str(local)
    remote = storage.place("stores", folder)
    if storage.read("stores", folder, MANIFEST) is None:
        _upload(local, storage, "stores", folder)
    return remote


def _upload(local: Path, storage: Storage, *names: str) -> None:
    """Copy a store; its manifest comes last, so a folder that has one is whole."""
    for shard in sorted(local.glob("*.arrow")):
        storage.upload(shard, *names, shard.name)
    storage.write((local / MANIFEST).read_text(), *names, MANIFEST)


def _map_tasks(config: RunConfig, storage: Storage) -> MapTasks:
    if config.scaling.num_workers == 0:
        return map_in_process
    if not storage.is_local:  # files are written on this node, then copied to the storage
        return map_in_processes(os.cpu_count() or 1)
    return map_on_cluster


def _counts(dataset: Dataset) -> str:
    return ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())


@contextmanager
def _progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(title)
        yield lambda done, total: bar.update(task, completed=done, total=total)
