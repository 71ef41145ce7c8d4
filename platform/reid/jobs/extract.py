"""`reid extract`."""

import functools
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from reid.jobs import command

if TYPE_CHECKING:
    from reid.experiments import Extraction, Lookup
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
    help="The table: FILE.parquet, or a folder for one of a fixed name.",
)
@click.option(
    "--descriptors", type=command.PlaceType(), metavar="PLACE", help="A table written before, to search in alone."
)
@click.option("--query", metavar="IMAGE", help="An image file, or the name of an image in the table.")
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

    The descriptors, by a checkpoint's model, are written as a Parquet table. Without --preset, the settings are those
    the checkpoint was trained with.
    """
    _require_whole(asked)
    if asked["top"] < 1:
        sys.exit(f"error: --top is {asked['top']}: ask for at least 1")
    base = functools.partial(_settings_of, asked["descriptors"]) if asked["descriptors"] else None
    with command.job(given, base=base or functools.partial(command.settings_of, asked["checkpoint"])) as config:
        from reid.experiments import run_extraction

        extraction = None if asked["descriptors"] else _extraction(asked)
        table = asked["descriptors"] if extraction is None else extraction.table
        lookup = None if asked["query"] is None else _lookup(asked, table)
        run_extraction(config, extraction=extraction, lookup=lookup)


def _require_whole(asked: Mapping[str, Any]) -> None:
    if asked["descriptors"] is None:
        missing = [name for name in ("checkpoint", "images", "output") if asked[name] is None]
        if missing:
            raise click.UsageError(
                f"--{missing[0]} is missing: give --checkpoint, --images and --output, or --descriptors"
            )
    elif asked["output"] is not None or asked["checkpoint"] is not None:
        raise click.UsageError("--descriptors is a table that is there already: leave --checkpoint and --output out")
    elif asked["query"] is None:
        raise click.UsageError("--query is missing: say what to look for in --descriptors")


def _extraction(asked: Mapping[str, Any]) -> "Extraction":
    from reid.experiments import Extraction, table_in

    return Extraction(checkpoint=asked["checkpoint"], images=asked["images"], table=table_in(asked["output"]))


def _lookup(asked: Mapping[str, Any], table: "Place") -> "Lookup":
    from reid.experiments import Lookup

    return Lookup(table=table, query=asked["query"], top=asked["top"], sheet=asked["sheet"], images=asked["images"])


def _settings_of(table: "Place") -> Mapping[str, Any]:
    """The settings that a table was written with, but those of where."""
    from reid.data import DescriptorTable

    settings = DescriptorTable(table).origin.settings
    return {key: value for key, value in settings.items() if key not in command.OF_ANOTHER_PLACE}
