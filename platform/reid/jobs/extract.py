"""`reid extract`."""

import functools
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from reid.jobs import command

if TYPE_CHECKING:
    from reid.experiments import Extraction, Lookup, Matching
    from reid.storage import Place


@command.named("extract")
@command.takes_checkpoint(required=False)
@click.option(
    "--images", type=command.PlaceType(), metavar="PLACE", help="A folder of jpg and png files, or a prepared store."
)
@click.option(
    "--output",
    type=command.PlaceType(),
    metavar="PLACE",
    help="What is written: FILE.arrow, which is read fastest, FILE.parquet, or a folder for one of a fixed name.",
)
@click.option(
    "--descriptors", type=command.PlaceType(), metavar="PLACE", help="A table written before, to search in alone."
)
@click.option("--query", metavar="IMAGE", help="An image file, or the name of an image in the table.")
@click.option(
    "--queries",
    type=command.PlaceType(),
    metavar="PLACE",
    help="A table of images, for each of which to find the nearest.",
)
@click.option("--top", type=int, default=10, metavar="K", show_default=True, help="How many to find.")
@click.option(
    "--sheet",
    type=command.PlaceType(),
    metavar="FILE.png",
    help="Where to draw what was found; beside the table if none.",
)
@command.takes_settings
def extract(given: command.Given, **asked: Any) -> None:
    """Describe every image of a folder or of a prepared store, and find those that are nearest to one.

    The descriptors, by a checkpoint's model, are written as a table. Without --preset, the settings are those the
    checkpoint was trained with. With --descriptors and --queries, two tables by the same model, the nearest of the one
    to each image of the other are written as a table.
    """
    _require_whole(asked)
    if asked["top"] < 1:
        sys.exit(f"error: --top is {asked['top']}: ask for at least 1")
    base = functools.partial(_settings_of, asked["descriptors"]) if asked["descriptors"] else None
    with command.job(given, base=base or functools.partial(command.settings_of, asked["checkpoint"])) as config:
        from reid.experiments import match_tables, run_extraction

        if asked["queries"] is not None:
            match_tables(config, _matching(asked))
            return
        extraction = None if asked["descriptors"] else _extraction(asked)
        table = asked["descriptors"] if extraction is None else extraction.table
        lookup = None if asked["query"] is None else _lookup(asked, table)
        run_extraction(config, extraction=extraction, lookup=lookup)


def _require_whole(asked: Mapping[str, Any]) -> None:
    needed: tuple[str, ...]
    unused: tuple[str, ...]
    if asked["queries"] is not None:
        needed, unused = ("descriptors", "output"), ("checkpoint", "images", "query", "sheet")
        purpose = "--queries is a table to look up in the table --descriptors"
    elif asked["descriptors"] is not None:
        needed, unused = ("query",), ("checkpoint", "output")
        purpose = "--descriptors is a table that is there already, to look up --query or --queries in"
    else:
        needed, unused = ("checkpoint", "images", "output"), ()
        purpose = "give --checkpoint, --images and --output, or --descriptors"
    for name in needed:
        if asked[name] is None:
            raise click.UsageError(f"--{name} is missing: {purpose}")
    for name in unused:
        if asked[name] is not None:
            raise click.UsageError(f"leave --{name} out: {purpose}")


def _extraction(asked: Mapping[str, Any]) -> "Extraction":
    from reid.experiments import Extraction, file_in

    table = file_in(asked["output"], "descriptors")
    return Extraction(checkpoint=asked["checkpoint"], images=asked["images"], table=table)


def _matching(asked: Mapping[str, Any]) -> "Matching":
    from reid.experiments import Matching, file_in

    return Matching(
        queries=asked["queries"],
        table=asked["descriptors"],
        matches=file_in(asked["output"], "matches"),
        top=asked["top"],
    )


def _lookup(asked: Mapping[str, Any], table: "Place") -> "Lookup":
    from reid.experiments import Lookup

    return Lookup(table=table, query=asked["query"], top=asked["top"], sheet=asked["sheet"], images=asked["images"])


def _settings_of(table: "Place") -> Mapping[str, Any]:
    """The settings that a table was written with, but those of where."""
    from reid.data import DescriptorTable

    settings = DescriptorTable(table).origin.settings
    return {key: value for key, value in settings.items() if key not in command.OF_ANOTHER_PLACE}
