"""The table of scores, and the way to the experiment browser."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reid.tracking import Recorder, RunRecord

MEAN_COLOUR = "mean colour"
COLUMNS = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mAP": "mAP", "mINP": "mINP"}

Scores = dict[str, dict[str, float]]
"""What each model reaches, by the keys of `COLUMNS`, as fractions; `mean colour` is the floor."""


def of(metrics: dict[str, float]) -> dict[str, float]:
    """The columns of the table, out of `eval/*` metrics."""
    return {name: metrics[f"eval/{name}"] for name in COLUMNS}


def markdown(scores: Scores) -> str:
    rows = [["", *COLUMNS.values()], ["---", *("---:" for _ in COLUMNS)]]
    rows += [[name, *(f"{values[column]:.1%}" for column in COLUMNS)] for name, values in scores.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def show(scores: Scores) -> None:
    table = Table("", *COLUMNS.values(), title="query against gallery")
    for name, values in scores.items():
        table.add_row(name, *(f"{values[column]:.1%}" for column in COLUMNS))
    Console(highlight=False).print(table)


def show_places(places: Mapping[str, str], runs: Recorder, record: RunRecord) -> None:
    """Print where a job's results lie, its MLflow run among them, and how to look at that."""
    for what, place in places.items():
        print(f"{what}: {place}")
    print(f"MLflow: {runs.uri}, experiment {runs.experiment}, run {record.name}")
    print(browse(runs))


def browse(runs: Recorder) -> str:
    """Where the run can be looked at, or why not yet."""
    if kept := runs.kept():
        return f"MLflow was out of reach: {len(kept)} records wait in {kept[0].parent} for the next job"
    if runs.uri.startswith("http"):
        return f"browse: {runs.uri}"
    mlflow = Path(sys.executable).with_name("mlflow")
    command = [str(mlflow), "ui", "--backend-store-uri", runs.uri, "--host", "127.0.0.1", "--port", "5000"]
    return f"browse: {shlex.join(command)}"
