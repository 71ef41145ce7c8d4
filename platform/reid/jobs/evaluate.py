"""`jobs/evaluate.py`."""

import functools
from collections.abc import Sequence

from reid.experiments import run_evaluation
from reid.jobs import command


def main(argv: Sequence[str] | None = None) -> None:
    parser = command.parser(
        "Score a checkpoint on query and gallery and record the scores in MLflow. Without --preset, the settings are "
        "those the checkpoint was trained with."
    )
    parser.add_argument(
        "--checkpoint", required=True, type=command.place, metavar="PLACE", help=command.CHECKPOINT_HELP
    )
    arguments = parser.parse_args(argv)
    checkpoint = arguments.checkpoint
    job = functools.partial(run_evaluation, checkpoint=checkpoint)
    command.run(job, arguments, base=lambda: command.settings_of(checkpoint))
