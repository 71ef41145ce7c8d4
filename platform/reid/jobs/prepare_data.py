"""`jobs/prepare_data.py`."""

from collections.abc import Sequence

from reid.experiments import prepare_all
from reid.jobs import command


def main(argv: Sequence[str] | None = None) -> None:
    command.run(prepare_all, command.parse("Prepare the configured datasets as Arrow stores.", argv))
