"""Describes any images over the cluster."""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch

from reid.cluster import connect, map_on_workers, require_placeable, uses_gpu
from reid.config import RunConfig
from reid.data import ARROW, MANIFEST, PARQUET, DataError, Origin, list_images, write_table
from reid.experiments.describing import Described, Extractor, shares_of
from reid.experiments.lookup import Lookup, look_up
from reid.inference import descriptor_of
from reid.progress import say_result, track
from reid.stages import load_describer
from reid.storage import Place, Storage
from reid.training import choose_device


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What is described, by what, and where the table is written."""

    checkpoint: Place
    images: Place
    """A folder of images, or a prepared store."""
    table: Place


def run_extraction(config: RunConfig, *, extraction: Extraction | None, lookup: Lookup | None) -> None:
    """Write the table, unless there is one, and search in it.

    Raises:
        ValueError: checkpoint, images or output do not permit it, or some images cannot be read: the table holds the
            others.
    """
    unreadable = [] if extraction is None else extract(config, extraction)
    if lookup is not None:
        look_up(config, lookup)
    if extraction is not None and unreadable:
        raise DataError(
            f"{len(unreadable)} images cannot be read and are not in {extraction.table}: {'; '.join(unreadable)}"
        )


def extract(config: RunConfig, extraction: Extraction) -> list[str]:
    """Write a table of descriptors; returns a complaint for each image that could not be read.

    Raises:
        ValueError: as `run_extraction`; nothing is written.
    """
    checkpoint, images, table = extraction.checkpoint, extraction.images, extraction.table
    names = None if _is_store(images) else list_images(Path(images))
    trained = load_describer(checkpoint, config, torch.device("cpu"))
    origin = Origin(
        images=images,
        kind="store" if names is None else "folder",
        checkpoint=checkpoint,
        digest=descriptor_of(trained, config).digest(),
        phase=trained.state.phase,
        height=config.data.height,
        width=config.data.width,
        settings=config.model_dump(mode="json"),
    )
    require_writable(table)
    shares = shares_of(images, Storage.of(config), names)
    unreadable: list[str] = []

    def rows(described: Iterator[Described]) -> Iterator[pa.RecordBatch]:
        total = sum(share.stop - share.start for share in shares)
        with track("describing", total, "images") as advance:
            for share, part in zip(shares, described, strict=True):
                unreadable.extend(part.unreadable)
                advance(share.stop - share.start)
                if part.rows is not None:
                    yield part.rows

    if config.scaling.num_workers:
        connect(config.extensions)
        require_placeable(config.scaling)
        device = torch.device("cuda" if uses_gpu(config.scaling) else "cpu")
        make = functools.partial(Extractor, config, checkpoint, images, device)
        described = map_on_workers(make, shares, config.scaling)
    else:
        described = map(Extractor(config, checkpoint, images, choose_device(config.scaling)), shares)
    try:
        with table.from_this_node() as file:
            count = write_table(file, origin, rows(described))
    except OSError as error:
        raise DataError(f"{table} cannot be written ({error}): choose another --output") from error
    say_result(f"descriptors: {count:,} rows in {table}" if count else f"descriptors: none, {table} was not written")
    return unreadable


def file_in(output: Place, name: str) -> Place:
    """The file that is meant by a file or its folder, where it has a name of its own."""
    return output if output.name.endswith((ARROW, PARQUET)) else output / f"{name}{ARROW}"


def _is_store(images: Place) -> bool:
    return not images.is_local or os.path.lexists(Path(images) / MANIFEST)


def require_writable(table: Place) -> None:
    """
    Raises:
        DataError: the table's folder cannot be written.
    """
    try:
        if table.is_local:
            Path(table.parent).mkdir(parents=True, exist_ok=True)
        table.parent.try_writing()
    except OSError as error:
        raise DataError(f"{table} cannot be written ({error}): choose another --output") from error
