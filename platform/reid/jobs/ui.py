"""`reid ui`."""

from typing import TYPE_CHECKING

import click

from reid.config import TrackingConfig, default_storage
from reid.jobs import command

if TYPE_CHECKING:
    from reid.storage import Place


@click.command("ui")
@click.option(
    "--storage", type=command.PlaceType(), metavar="FOLDER", help="Of the runs; $REID_STORAGE if none, else ~/reid."
)
@click.option(
    "--experiment", metavar="NAME", default=TrackingConfig().experiment, show_default=True, help="To open on."
)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Of the page.")
def ui(storage: "Place | None", experiment: str, port: int) -> None:
    """Open the experiment browser on 127.0.0.1."""
    with command.heard():
        from reid.tracking import serve_ui

        serve_ui(storage or default_storage(), port, experiment)
