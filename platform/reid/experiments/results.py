"""The table of scores, and the way to the experiment browser."""

import re
import shlex
import statistics
from collections.abc import Mapping

from rich.table import Table

from reid.config import TrackingConfig
from reid.progress import say_result, show_table
from reid.tracking import Recorder, RunRecord, sqlite_file

MEAN_COLOUR = "mean colour"
RETRIEVAL = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mAP": "mAP", "mINP": "mINP"}
ATTRIBUTES, JOINTS = "attributes", "people/pck"
COLUMNS = {**RETRIEVAL, ATTRIBUTES: "attributes", JOINTS: "joints (PCK)"}
"""Headings by key; a model that has nothing to say of the last two lacks them."""

Scores = dict[str, dict[str, float]]
"""What each model reaches, by the keys of `COLUMNS`, as fractions; `mean colour` is the floor."""


def of(metrics: dict[str, float]) -> dict[str, float]:
    """The columns of the table, out of `eval/*` metrics."""
    found = {name: metrics[f"eval/{name}"] for name in RETRIEVAL if f"eval/{name}" in metrics} | of_attributes(metrics)
    return found | ({JOINTS: metrics[f"eval/{JOINTS}"]} if f"eval/{JOINTS}" in metrics else {})


def of_attributes(metrics: Mapping[str, float]) -> dict[str, float]:
    """The column of the attributes alone; nothing where there are none."""
    accuracies = attribute_accuracies(metrics)
    return {ATTRIBUTES: statistics.fmean(accuracies.values())} if accuracies else {}


def attribute_accuracies(metrics: Mapping[str, float]) -> dict[str, float]:
    """Accuracy by attribute, without what a protocol sums up beside, which no attribute can be named like."""
    found = {re.fullmatch(r"eval/attributes/([a-z][a-z0-9_]*)", name): value for name, value in metrics.items()}
    return {match[1]: value for match, value in found.items() if match}


def markdown(scores: Scores) -> str:
    header, rows = cells(scores)
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def show(scores: Scores) -> None:
    header, rows = cells(scores)
    table = Table(*header, title="query against gallery")
    for row in rows:
        table.add_row(*row)
    show_table(table)


def cells(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Header and rows, without columns that no model has."""
    shown = [column for column in COLUMNS if any(column in values for values in scores.values())]
    rows = [
        [name, *(f"{values[column]:.1%}" if column in values else "–" for column in shown)]
        for name, values in scores.items()
    ]
    return ["", *(COLUMNS[column] for column in shown)], rows


def show_places(places: Mapping[str, str], runs: Recorder, record: RunRecord) -> None:
    """Print where a job's results lie, its MLflow run among them, and how to look at that."""
    for what, place in places.items():
        say_result(f"{what}: {place}")
    say_result(f"MLflow: {runs.uri}, experiment {runs.experiment}, run {record.name}")
    say_result(browse(runs))


def browse(runs: Recorder) -> str:
    """Where the run can be looked at."""
    if runs.uri.startswith("http"):
        return f"browse: {runs.uri}"
    file = sqlite_file(runs.uri)
    if file is None:
        return f"browse: mlflow server --backend-store-uri {runs.uri}"
    command = ["reid", "ui", "--storage", str(file.parent)]
    if runs.experiment != TrackingConfig().experiment:
        command += ["--experiment", runs.experiment]
    return f"browse: {shlex.join(command)}"
