"""`jobs/full_pipeline.py`."""

from collections.abc import Sequence

from reid.experiments import run_pipeline
from reid.jobs import command


def main(argv: Sequence[str] | None = None) -> None:
    command.run(run_pipeline, command.parse("Train every phase, score each, record all in MLflow.", argv))
