"""`reid page`."""

from typing import TYPE_CHECKING

import click

from reid.jobs import command

if TYPE_CHECKING:
    from reid.storage import Place


@click.command("page")
@click.argument("table", type=command.PlaceType())
@click.option(
    "--images",
    type=command.PlaceType(),
    metavar="PLACE",
    help="Where the table's images lie now; where they lay if none.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="Of the page; 0 = any.")
def page(table: "Place", images: "Place | None", port: int) -> None:
    """Open a page on 127.0.0.1 that finds the people of TABLE who look most like a picture.

    TABLE is a file that `reid extract` has written.
    """
    with command.heard():
        from reid.page import serve

        serve(table, images=images, port=port)
