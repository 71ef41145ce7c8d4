"""`jobs/flush.py`."""

from collections.abc import Sequence

from reid.experiments import run_flush
from reid.jobs import command


def main(argv: Sequence[str] | None = None) -> None:
    description = (
        "Send MLflow the records of earlier jobs that it could not take, of the configured storage and experiment."
    )
    command.run(run_flush, command.parse(description, argv))
