"""Parallel coordinates of a sweep: every trial as a line through its parameters to the objective that it reached."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution, IntDistribution

from reid.pictures import legend, new_figure
from reid.search import chart
from reid.search.labels import metric_label, show_metric, show_value
from reid.search.outcomes import Outcomes

MOST_PER_ROW, MOST = 7, 14
TICKS = 5
NONE = -0.14
"""Height of trials without a value: a conditional parameter that was not drawn, or training that was stopped."""
SPREAD = 0.06
"""Distance from the lowest to the highest line through one category, or through none; the best trial is on top."""
CURVE = (1 - np.cos(np.linspace(0, np.pi, 24))) / 2
LONGEST_LABEL = 16
LABEL_BOX = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """One of the parallel axes."""

    name: str
    heights: Floats
    """From 0 to 1, or around `NONE`; of the trials as ranked."""
    ticks: dict[float, str]
    """Label by height."""


def draw_parallel(outcomes: Outcomes) -> Figure:
    """Rows of at most seven parameters, each ending in the first objective, which gives the lines their colours."""
    if not outcomes.distributions:
        raise chart.NothingToDrawError("no parameter took more than one value")
    objective = _objective(outcomes)
    paths = list(outcomes.distributions)
    parameters = [_parameter(outcomes, path) for path in paths[:MOST]]
    rows = math.ceil(len(parameters) / MOST_PER_ROW)
    per_row = math.ceil(len(parameters) / rows)
    title = f"Parameters and the {objective.name} that they reached"
    if len(paths) > MOST:
        title += f", {MOST} of {len(paths)}: those that most trials have"
    figure = new_figure(4.0 * rows + 0.8, title)
    panels = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for row, axes in enumerate(panels):
        _draw_row(axes, outcomes, [*parameters[row * per_row : (row + 1) * per_row], objective])
    legend(figure, panels)
    return figure


def _objective(outcomes: Outcomes) -> Coordinate:
    metric = outcomes.metrics[0]
    values = np.array([trial.values[0] for trial in outcomes.ranked])
    values[len(outcomes.comparable) :] = np.nan
    ticks = np.linspace(np.nanmin(values), np.nanmax(values), TICKS).tolist()
    return _coordinate(metric_label(metric), values, {t: show_metric(metric, t) for t in ticks}, none="stopped")


def _parameter(outcomes: Outcomes, path: str) -> Coordinate:
    name, distribution, log = outcomes.names[path], outcomes.distributions[path], outcomes.is_log(path)
    values = np.array(
        [distribution.to_internal_repr(t.params[path]) if path in t.params else np.nan for t in outcomes.ranked],
        dtype=float,
    )
    if isinstance(distribution, CategoricalDistribution):
        taken = np.unique(values[~np.isnan(values)])
        places = np.where(np.isnan(values), np.nan, np.searchsorted(taken, values))
        choices = {float(place): str(distribution.choices[int(index)]) for place, index in enumerate(taken)}
        return _coordinate(name, places, choices, spread=True)
    ticks = (np.geomspace if log else np.linspace)(np.nanmin(values), np.nanmax(values), TICKS)
    if isinstance(distribution, IntDistribution):
        ticks = np.unique(np.round(ticks).astype(int))
    labels = {math.log(tick) if log else float(tick): show_value(tick) for tick in ticks.tolist()}
    return _coordinate(name, np.log(values) if log else values, labels)


def _coordinate(
    name: str, values: Floats, labels: Mapping[float, str], *, none: str = "not used", spread: bool = False
) -> Coordinate:
    """Values scaled to their range; NaN is drawn below, and lines that would coincide are spread."""
    missing = np.isnan(values)
    low = np.nanmin(values)
    size = np.nanmax(values) - low or 1.0
    heights = np.where(missing, NONE, (values - low) / size)
    heights += np.where(missing | spread, np.linspace(SPREAD / 2, -SPREAD / 2, len(values)), 0.0)
    ticks = {(value - low) / size: label for value, label in labels.items()}
    return Coordinate(name=name, heights=heights, ticks=ticks | ({NONE: none} if missing.any() else {}))


def _draw_row(axes: Axes, outcomes: Outcomes, coordinates: Sequence[Coordinate]) -> None:
    points = np.stack([coordinate.heights for coordinate in coordinates], axis=1)
    y = points[:, :-1, None] * (1 - CURVE) + points[:, 1:, None] * CURVE
    x = np.arange(len(coordinates) - 1)[:, None] + np.linspace(0, 1, len(CURVE))
    lines = [np.column_stack([x.ravel(), curve.ravel()]) for curve in y]
    compared = len(outcomes.comparable)
    values = np.array([trial.values[0] for trial in outcomes.comparable])
    axes.add_collection(
        LineCollection(lines[compared:], colors="#d9d9d9", linewidths=0.8, label=chart.STOPPED_LABEL),
    )
    axes.add_collection(
        LineCollection(lines[:compared][::-1], array=values[::-1], cmap="viridis", linewidths=1.3, alpha=0.9)
    )
    for trial, line in zip(outcomes.ranked, lines, strict=True):
        if trial is outcomes.ranked[0]:
            axes.plot(*line.T, color="black", linewidth=3, label=chart.best_label(trial))
        if trial is outcomes.paper_trial:
            axes.plot(*line.T, color=chart.PAPER_COLOUR, linestyle="--", linewidth=2, zorder=3, label=chart.PAPER_LABEL)
    axes.set_axis_off()
    axes.set_xlim(-0.1, len(coordinates) - 0.4)
    axes.set_ylim(NONE - 0.06, 1.14)
    for place, coordinate in enumerate(coordinates):
        _draw_coordinate(axes, place, coordinate)


def _draw_coordinate(axes: Axes, place: int, coordinate: Coordinate) -> None:
    axes.plot([place, place], [0, 1], color="black", linewidth=1.2, zorder=4)
    axes.text(place, 1.08, coordinate.name, ha="center", fontsize=11)
    for height, label in coordinate.ticks.items():
        text = label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
        axes.plot(place, height, marker="_", color="black", markersize=7, zorder=4)
        axes.text(place + 0.05, height, text, va="center", fontsize=9, zorder=5, bbox=LABEL_BOX)
