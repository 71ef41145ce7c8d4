"""`jobs/ablation.py`."""

from collections.abc import Sequence

from reid.experiments import run_ablation
from reid.jobs import command


def main(argv: Sequence[str] | None = None) -> None:
    description = (
        "Train a model without each of its components, over several seeds and with equal budgets, and table what each "
        "brings; with phases of several models, compare these."
    )
    command.run(run_ablation, command.parse(description, argv))
