"""How the figures of a sweep look: colours, marks and axes, the same in all of them.

`optuna.visualization.matplotlib` knows neither trials that were stopped early nor the paper's values, which these mark.
"""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from reid.search.labels import is_fraction, metric_label
from reid.search.outcomes import Outcome, Outcomes

FINISHED, STOPPED, FAILED, PAPER_COLOUR, BEST = "#0072B2", "#8c8c8c", "#D55E00", "#CC79A7", "#009E73"
"""By Okabe and Ito, whose colours the colour-blind tell apart."""
FINISHED_LABEL = "trained to the end"
PAPER_LABEL = "the paper's values"
STOPPED_LABEL = "stopped early"
EARLIER_LABEL = "stopped early: measured at an earlier epoch"


class NothingToDrawError(Exception):
    """Why a figure is left out."""


def mark_metric(axes: Axes, which: str, metric: str) -> None:
    """Name the `x` or `y` axis after a metric; fractions are shown in percent."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_label_text(metric_label(metric), fontsize=11)
    if is_fraction(metric):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")


def best_label(trial: Outcome) -> str:
    return f"best: trial {trial.number}"


def mark_trials(axes: Axes, outcomes: Outcomes, places: Mapping[int, tuple[float, float]]) -> None:
    """Finished trials full, stopped ones hollow, the best and the paper's on top.

    Args:
        places: x and y by number of trial; those without are not marked.
    """
    trials = [trial for trial in outcomes.trials if trial.number in places]
    looks: dict[str, tuple[list[Outcome], dict[str, Any]]] = {
        FINISHED_LABEL: (
            [trial for trial in trials if trial.finished],
            {"color": FINISHED, "s": 34, "alpha": 0.7},
        ),
        EARLIER_LABEL: (
            [trial for trial in trials if not trial.finished],
            {"facecolors": "none", "edgecolors": STOPPED, "s": 22},
        ),
        PAPER_LABEL: (
            [trial for trial in trials if trial is outcomes.paper_trial],
            {"color": PAPER_COLOUR, "s": 140, "marker": "D", "edgecolors": "black", "zorder": 4},
        ),
        best_label(outcomes.ranked[0]): (
            [trial for trial in trials if trial is outcomes.ranked[0]],
            {"color": BEST, "s": 170, "marker": "*", "edgecolors": "black", "zorder": 5},
        ),
    }
    for label, (marked, look) in looks.items():
        if marked:
            x, y = zip(*(places[trial.number] for trial in marked), strict=True)
            axes.scatter(x, y, label=label, **look)
