"""`jobs/export.py`."""

import functools
from collections.abc import Sequence
from pathlib import Path

from reid.experiments import run_export
from reid.jobs import command
from reid.tracking import MODEL_NAME

DEFAULT_ALIAS = "exported"


def main(argv: Sequence[str] | None = None) -> None:
    parser = command.parser(
        "Export a checkpoint's model from pixels to descriptor as a torch.export program and as ONNX, check both, and "
        f"register the program in MLflow as the model {MODEL_NAME}. Without --preset, the settings are those the "
        "checkpoint was trained with."
    )
    parser.add_argument(
        "--checkpoint", required=True, type=command.place, metavar="PLACE", help=command.CHECKPOINT_HELP
    )
    parser.add_argument(
        "--alias",
        default=DEFAULT_ALIAS,
        metavar="NAME",
        help=f"moves to the registered version; {DEFAULT_ALIAS} if none",
    )
    parser.add_argument("--output", metavar="FOLDER", help="for the files; <storage>/exports/… if none")
    arguments = parser.parse_args(argv)
    checkpoint = arguments.checkpoint
    output = None if arguments.output is None else Path(arguments.output).absolute()
    job = functools.partial(run_export, checkpoint=checkpoint, alias=arguments.alias, output=output)
    command.run(job, arguments, base=lambda: command.settings_of(checkpoint))
