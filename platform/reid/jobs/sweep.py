"""`jobs/sweep.py`."""

from collections.abc import Sequence

from reid.experiments import run_sweep
from reid.jobs import command


def main(argv: Sequence[str] | None = None) -> None:
    description = (
        "Search settings of the last phase by mAP on identities held out of the training split, then train the winner "
        "and the paper's values on all of it, score both on query and gallery, and register the winner."
    )
    command.run(run_sweep, command.parse(description, argv))
