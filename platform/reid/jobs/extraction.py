"""Describes any images over the cluster, and finds the people in them that look most like one."""

import argparse
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from reid.config import RunConfig
from reid.data import DataError
from reid.data.descriptors import DescriptorTable, Origin, list_images, write_table
from reid.data.store import MANIFEST
from reid.jobs import command
from reid.jobs.checkpoints import CHECKPOINT_HELP, absolute, settings_of
from reid.jobs.lookup import Lookup, look_up
from reid.models.export import Descriptor
from reid.training.cluster import connect, map_on_workers, require_placeable, uses_gpu
from reid.training.extraction import Described, Extractor, load_describer, shares_of

FILE_NAME = "descriptors.parquet"


def main(argv: Sequence[str] | None = None) -> None:
    parser = command.parser(
        "Describe every image of a folder or of a prepared store with a checkpoint's model and write a Parquet table; "
        "with --query, find the images that are nearest to one. Without --preset, the settings are those the "
        "checkpoint was trained with."
    )
    parser.add_argument("--checkpoint", metavar="PLACE", help=CHECKPOINT_HELP)
    parser.add_argument("--images", metavar="PLACE", help="a folder of jpg and png files, or a prepared store")
    parser.add_argument("--output", metavar="PLACE", help=f"the table: FILE.parquet, or a folder for {FILE_NAME}")
    parser.add_argument("--descriptors", metavar="FILE", help="a table written before, to search in without extraction")
    parser.add_argument("--query", metavar="IMAGE", help="an image file, or the name of an image in the table")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many to find; 10 if not given")
    parser.add_argument("--sheet", metavar="FILE.png", help="where to draw what was found; beside the table if none")
    arguments = parser.parse_args(argv)
    _require_whole(parser, arguments)
    command.run(functools.partial(run_extraction, arguments), arguments, base=lambda: _settings(arguments))


def run_extraction(arguments: argparse.Namespace, config: RunConfig) -> None:
    """Write the table, unless there is one, and search in it.

    Raises:
        ValueError: checkpoint, images or output do not permit it, or some images cannot be read: the table holds the
            others.
    """
    if arguments.top < 1:
        raise ValueError(f"--top is {arguments.top}: ask for at least 1")
    unreadable: list[str] = []
    table = None if arguments.descriptors is None else Path(arguments.descriptors).absolute()
    if table is None:
        checkpoint, images = absolute(arguments.checkpoint), absolute(arguments.images)
        table = _table_place(arguments.output)
        unreadable = extract(config, checkpoint=checkpoint, images=images, table=table)
    if arguments.query is not None:
        sheet = None if arguments.sheet is None else Path(arguments.sheet).absolute()
        images_now = None if arguments.images is None else absolute(arguments.images)
        look_up(config, Lookup(table=table, query=arguments.query, top=arguments.top, sheet=sheet, images=images_now))
    if unreadable:
        raise DataError(f"{len(unreadable)} images cannot be read and are not in {table}: {'; '.join(unreadable)}")


def extract(config: RunConfig, *, checkpoint: str, images: str, table: Path) -> list[str]:
    """Write a table of descriptors; returns a complaint for each image that could not be read.

    Raises:
        ValueError: as `run_extraction`; nothing is written.
    """
    names = None if _is_store(images) else list_images(Path(images))
    model, state = load_describer(checkpoint, config, torch.device("cpu"))
    origin = Origin(
        images=images,
        kind="store" if names is None else "folder",
        checkpoint=checkpoint,
        digest=Descriptor(model, (config.data.height, config.data.width)).digest(),
        phase=state.phase,
        height=config.data.height,
        width=config.data.width,
        settings=config.model_dump(mode="json"),
    )
    _require_writable(table)
    shares = shares_of(images, config.storage, names)
    unreadable: list[str] = []

    def rows(described: Iterator[Described]) -> Iterator[pa.RecordBatch]:
        done = 0
        for share, part in zip(shares, described, strict=True):
            unreadable.extend(part.unreadable)
            done += share.stop - share.start
            print(f"described {done:,} of {sum(share.stop - share.start for share in shares):,} images", flush=True)
            if part.rows is not None:
                yield part.rows

    if config.scaling.num_workers:
        connect()
        require_placeable(config.scaling)
        device = torch.device("cuda" if uses_gpu(config.scaling) else "cpu")
        make = functools.partial(Extractor, config, checkpoint, images, device)
        count = write_table(table, origin, rows(map_on_workers(make, shares, config.scaling)))
    else:
        device = torch.device("cuda" if torch.cuda.is_available() and config.scaling.accelerator != "cpu" else "cpu")
        extractor = Extractor(config, checkpoint, images, device)
        count = write_table(table, origin, rows(map(extractor, shares)))
    print(f"descriptors: {count:,} rows in {table}" if count else f"descriptors: none, {table} was not written")
    return unreadable


def _require_whole(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.descriptors is None:
        missing = [name for name in ("checkpoint", "images", "output") if getattr(arguments, name) is None]
        if missing:
            parser.error(f"--{missing[0]} is missing: give --checkpoint, --images and --output, or --descriptors")
    elif arguments.output is not None or arguments.checkpoint is not None:
        parser.error("--descriptors is a table that is there already: leave --checkpoint and --output out")
    elif arguments.query is None:
        parser.error("--query is missing: say what to look for in --descriptors")


def _settings(arguments: argparse.Namespace) -> Mapping[str, Any]:
    if arguments.descriptors is None:
        return settings_of(absolute(arguments.checkpoint))
    settings = DescriptorTable(Path(arguments.descriptors).absolute()).origin.settings
    return {key: value for key, value in settings.items() if key not in ("storage", "tracking", "scaling")}


def _is_store(images: str) -> bool:
    return "://" in images or (Path(images) / MANIFEST).is_file()


def _table_place(output: str) -> Path:
    path = Path(output).absolute()
    return path if path.suffix == ".parquet" else path / FILE_NAME


def _require_writable(table: Path) -> None:
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        probe = table.with_name(f".{table.name}.writable")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(f"{table} cannot be written ({error}): choose another --output") from error
