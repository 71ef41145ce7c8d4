"""`reid export`."""

from typing import TYPE_CHECKING

import click

from reid.jobs import command

if TYPE_CHECKING:
    from reid.storage import Place

DEFAULT_ALIAS = "exported"


@command.named("export")
@command.takes_checkpoint()
@click.option("--alias", default=DEFAULT_ALIAS, metavar="NAME", show_default=True, help="Of the registered version.")
@click.option(
    "--output", type=command.PlaceType(), metavar="PLACE", help="Folder for the files; <storage>/exports/… if none."
)
@command.takes_settings
def export(given: command.Given, checkpoint: "Place", alias: str, output: "Place | None") -> None:
    """Export a checkpoint's model, from pixels to descriptor, and register it in MLflow.

    As a torch.export program and as ONNX; both are checked, the program is registered. Without --preset, the settings
    are those the checkpoint was trained with.
    """
    with command.job(given, base=lambda: command.settings_of(checkpoint)) as config:
        from reid.experiments import run_export

        run_export(config, checkpoint=checkpoint, alias=alias, output=output)
