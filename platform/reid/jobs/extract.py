"""`jobs/extract.py`."""

import argparse
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reid.data import DescriptorTable
from reid.experiments import FILE_NAME, Extraction, Lookup, run_extraction, table_in
from reid.jobs import command


def main(argv: Sequence[str] | None = None) -> None:
    parser = command.parser(
        "Describe every image of a folder or of a prepared store with a checkpoint's model and write a Parquet table; "
        "with --query, find the images that are nearest to one. Without --preset, the settings are those the "
        "checkpoint was trained with."
    )
    parser.add_argument("--checkpoint", type=command.place, metavar="PLACE", help=command.CHECKPOINT_HELP)
    parser.add_argument(
        "--images", type=command.place, metavar="PLACE", help="a folder of jpg and png files, or a prepared store"
    )
    parser.add_argument("--output", metavar="PLACE", help=f"the table: FILE.parquet, or a folder for {FILE_NAME}")
    parser.add_argument("--descriptors", metavar="FILE", help="a table written before, to search in without extraction")
    parser.add_argument("--query", metavar="IMAGE", help="an image file, or the name of an image in the table")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many to find; 10 if not given")
    parser.add_argument("--sheet", metavar="FILE.png", help="where to draw what was found; beside the table if none")
    arguments = parser.parse_args(argv)
    _require_whole(parser, arguments)
    if arguments.top < 1:
        sys.exit(f"error: --top is {arguments.top}: ask for at least 1")
    extraction = _extraction(arguments) if arguments.descriptors is None else None
    table = Path(arguments.descriptors).absolute() if extraction is None else extraction.table
    lookup = None if arguments.query is None else _lookup(arguments, table)
    command.run(
        functools.partial(run_extraction, extraction=extraction, lookup=lookup),
        arguments,
        base=lambda: command.settings_of(extraction.checkpoint) if extraction is not None else _settings_of(table),
    )


def _extraction(arguments: argparse.Namespace) -> Extraction:
    return Extraction(
        checkpoint=arguments.checkpoint,
        images=arguments.images,
        table=table_in(arguments.output),
    )


def _lookup(arguments: argparse.Namespace, table: Path) -> Lookup:
    return Lookup(
        table=table,
        query=arguments.query,
        top=arguments.top,
        sheet=None if arguments.sheet is None else Path(arguments.sheet).absolute(),
        images=arguments.images,
    )


def _require_whole(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.descriptors is None:
        missing = [name for name in ("checkpoint", "images", "output") if getattr(arguments, name) is None]
        if missing:
            parser.error(f"--{missing[0]} is missing: give --checkpoint, --images and --output, or --descriptors")
    elif arguments.output is not None or arguments.checkpoint is not None:
        parser.error("--descriptors is a table that is there already: leave --checkpoint and --output out")
    elif arguments.query is None:
        parser.error("--query is missing: say what to look for in --descriptors")


def _settings_of(table: Path) -> Mapping[str, Any]:
    """The settings that a table was written with, but those of where."""
    settings = DescriptorTable(table).origin.settings
    return {key: value for key, value in settings.items() if key not in command.OF_ANOTHER_PLACE}
