"""Figures of a sweep: history, sensitivity (the paper's Fig. 5), importance, parallel coordinates, Pareto front, and
when its trials ran."""

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from optuna.distributions import IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.visualization.matplotlib import plot_timeline

from reid.pictures import DPI, WIDTH_IN, legend, new_figure, plain, png
from reid.search import chart
from reid.search.chart import NothingToDrawError
from reid.search.labels import metric_label, show_value
from reid.search.outcomes import Outcomes, read
from reid.search.parallel import draw_parallel

logger = logging.getLogger(__name__)

PANELS_PER_ROW, MOST_PANELS = 3, 12
FEWEST_FOR_TREND = 10
FEWEST_FOR_IMPORTANCE = 10
FEWEST_AMONG_BEST = 5
FEWEST_DRAWN = 5
"""Trials that have a conditional parameter, for its importance to be told."""
MOST_BARS = 16
MOST_NUMBERED = 50
"""Trials whose epoch is written beside their mark."""

Floats = npt.NDArray[np.float64]


def draw_figures(
    study: optuna.Study,
    *,
    metric_names: Sequence[str],
    paper: Mapping[str, Any],
    trained: Mapping[int, int],
    epochs: int,
) -> dict[str, bytes]:
    """Every figure that the study has enough for, as PNG by file name; the log says which are left out, and why.

    Args:
        study: with any number of objectives; pruned trials are those stopped early, running ones are left out.
        metric_names: one for each objective, in the study's order; fractions are shown in percent.
        paper: the paper's values by parameter name, marked where they belong.
        trained: epochs by number of trial, for those that reached a value.
        epochs: of a full trial.
    """
    if len(metric_names) != len(study.directions):
        raise ValueError(f"metric_names: {len(metric_names)} for {len(study.directions)} objectives, give one for each")
    outcomes = read(study, metric_names=tuple(metric_names), paper=paper, trained=trained, epochs=epochs)
    if not outcomes.trials:
        logger.info("no figures: no trial reached a value, %d failed", len(outcomes.failed))
        return {}
    pictures = {}
    for name, draw in FIGURES.items():
        try:
            pictures[name] = png(draw(outcomes))
        except NothingToDrawError as reason:
            logger.info("%s is left out: %s", name, reason)
    return pictures


def draw_history(outcomes: Outcomes) -> Figure:
    """Objectives by number of trial, the best so far, and the epochs that each trial was trained."""
    objectives = len(outcomes.metrics)
    figure = new_figure(3.0 * objectives + 2.2, "History of the sweep")
    panels = figure.subplots(objectives + 1, 1, sharex=True, height_ratios=[3] * objectives + [1.3])
    numbers = [trial.number for trial in outcomes.trials]
    for index, metric in enumerate(outcomes.metrics):
        axes = panels[index]
        plain(axes)
        chart.mark_metric(axes, "y", metric)
        values = [trial.values[index] if trial.finished else np.nan for trial in outcomes.trials]
        best_so_far = (np.fmax if outcomes.signs[index] > 0 else np.fmin).accumulate(values)
        axes.step(numbers, best_so_far, where="post", color=chart.BEST, label="best so far")
        if outcomes.paper_trial:
            axes.axhline(outcomes.paper_trial.values[index], color=chart.PAPER_COLOUR, linestyle="--", zorder=1)
        chart.mark_trials(axes, outcomes, {t.number: (t.number, t.values[index]) for t in outcomes.trials})
        _number_stopped(axes, outcomes, index)
        _mark_at_foot(axes, outcomes.failed, color=chart.FAILED, marker="x", label="failed")
    _draw_epochs(panels[-1], outcomes)
    legend(figure, panels)
    return figure


def _mark_at_foot(axes: Axes, x: Sequence[float], **look: Any) -> None:
    """Marks on the lower edge, for trials whose values cannot be compared."""
    if x:
        axes.plot(x, [0.0] * len(x), transform=axes.get_xaxis_transform(), linestyle="", mew=1.5, clip_on=False, **look)


def _number_stopped(axes: Axes, outcomes: Outcomes, objective: int) -> None:
    """Write beside every stopped trial after how many epochs it was measured, unless there are too many trials."""
    stopped = [trial for trial in outcomes.trials if not trial.finished]
    if not stopped or len(outcomes.trials) > MOST_NUMBERED:
        return
    axes.set_title("beside a hollow mark: the epoch at which it was measured", fontsize=11, color="#555555")
    for trial in stopped:
        place = trial.number, trial.values[objective]
        axes.annotate(f"{trial.epochs}", place, (5, 4), textcoords="offset points", fontsize=8, color="#555555")


def _draw_epochs(axes: Axes, outcomes: Outcomes) -> None:
    plain(axes)
    colours = [chart.FINISHED if trial.finished else chart.STOPPED for trial in outcomes.trials]
    axes.bar([trial.number for trial in outcomes.trials], [trial.epochs for trial in outcomes.trials], color=colours)
    trained = sum(trial.epochs for trial in outcomes.trials)
    full = sum(trial.epochs if trial.finished else outcomes.epochs for trial in outcomes.trials)
    axes.set_title(f"{trained:,} of {full:,} epochs trained, {1 - trained / full:.0%} saved by stopping", fontsize=11)
    axes.set_ylabel("epochs", fontsize=11)
    axes.set_xlabel("trial", fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def draw_sensitivity(outcomes: Outcomes) -> Figure:
    """The first objective against each numeric parameter (the paper's Fig. 5).

    Stopped trials are ticks on the lower edge.
    """
    paths = [path for path in outcomes.distributions if outcomes.is_numeric(path)][:MOST_PANELS]
    if not paths:
        raise NothingToDrawError("no numeric parameter took more than one value")
    rows, columns = math.ceil(len(paths) / PANELS_PER_ROW), min(PANELS_PER_ROW, len(paths))
    figure = new_figure(3.2 * rows + 0.9, f"Sensitivity of {metric_label(outcomes.metrics[0])}")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in panels[:, 0]:
        chart.mark_metric(axes, "y", outcomes.metrics[0])
    for axes in panels.flat[len(paths) :]:
        axes.set_visible(False)
    for axes, path in zip(panels.flat, paths, strict=False):
        _draw_one_sensitivity(axes, outcomes, path)
    legend(figure, panels.flat)
    return figure


def _draw_one_sensitivity(axes: Axes, outcomes: Outcomes, path: str) -> None:
    plain(axes)
    axes.set_xlabel(outcomes.names[path], fontsize=12)
    if path in outcomes.paper:
        axes.axvline(outcomes.paper[path], color=chart.PAPER_COLOUR, linestyle="--", label=chart.PAPER_LABEL)
    compared = [trial for trial in outcomes.comparable if path in trial.params]
    chart.mark_trials(axes, outcomes, {trial.number: (trial.params[path], trial.values[0]) for trial in compared})
    stopped = [trial.params[path] for trial in outcomes.stopped if path in trial.params]
    _mark_at_foot(axes, stopped, color=chart.STOPPED, marker="|", label=chart.STOPPED_LABEL)
    if len(compared) >= FEWEST_FOR_TREND:
        x = np.array([trial.params[path] for trial in compared], dtype=float)
        y = np.array([trial.values[0] for trial in compared])
        axes.plot(*_trend(x, y), color="black", linewidth=1.8, label="median")
    if outcomes.is_log(path):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(lambda value, _: show_value(value))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif isinstance(outcomes.distributions[path], IntDistribution):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _trend(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Medians of x and y within at most eight groups of about equally many points, equal x in one group."""
    edges = np.quantile(x, np.linspace(0, 1, min(8, len(x) // 5) + 1)[1:-1])
    group = np.searchsorted(edges, x, side="right")
    members = [group == each for each in np.unique(group)]
    return np.array([np.median(x[m]) for m in members]), np.array([np.median(y[m]) for m in members])


def draw_importance(outcomes: Outcomes) -> Figure:
    """How much each parameter decides whether a trial is among the best, or with several objectives on the front.

    By PED-ANOVA (arXiv 2304.10255), which takes conditional parameters too (arXiv 2601.20800) and draws no numbers.
    """
    trials = outcomes.ranked
    paths = [path for path in outcomes.distributions if sum(path in trial.params for trial in trials) >= FEWEST_DRAWN]
    if len(trials) < FEWEST_FOR_IMPORTANCE:
        raise NothingToDrawError(f"{len(trials)} trials are too few, it takes {FEWEST_FOR_IMPORTANCE}")
    if not paths or len({trial.values for trial in trials}) == 1:
        raise NothingToDrawError("no parameter, or no objective, took more than one value")
    best = max(0.1, FEWEST_AMONG_BEST / len(trials))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some regimes for parameter")  # those of one trial, which are left out
        shares = get_param_importances(
            _with_stopped(outcomes), evaluator=PedAnovaImportanceEvaluator(target_quantile=best), params=paths
        )
    shown = sorted(shares, key=lambda path: -shares[path])[:MOST_BARS]
    what = f"the best {best:.0%} of the trials" if len(outcomes.metrics) == 1 else "the Pareto front"
    figure = new_figure(0.36 * len(shown) + 1.6, f"Importance of each parameter for reaching {what}")
    axes = figure.subplots()
    plain(axes)
    bars = axes.barh([outcomes.names[path] for path in shown], [shares[path] for path in shown], color=chart.FINISHED)
    axes.bar_label(bars, [f"{shares[path]:.0%}" for path in shown], padding=4)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xlabel("share of the importance of all parameters", fontsize=11)
    return figure


def _with_stopped(outcomes: Outcomes) -> optuna.Study:
    """A study in which stopped trials count, as worse than all others; for the importance, rank alone matters."""
    if len(outcomes.metrics) > 1:
        return outcomes.study
    study = optuna.create_study(direction="maximize")
    distributions = {trial.number: trial.distributions for trial in outcomes.study.get_trials(deepcopy=False)}
    study.add_trials(
        optuna.trial.create_trial(value=-place, params=trial.params, distributions=distributions[trial.number])
        for place, trial in enumerate(outcomes.ranked)
    )
    return study


def draw_pareto(outcomes: Outcomes) -> Figure:
    """The first objective against each other one, with the trials that no other is better than in all of them."""
    others = range(1, len(outcomes.metrics))
    if not others:
        raise NothingToDrawError("there is one objective")
    front = {trial.number for trial in outcomes.study.best_trials}
    best = [trial for trial in outcomes.trials if trial.number in front]
    names = " and ".join(metric_label(metric) for metric in outcomes.metrics)
    figure = new_figure(6.0, f"{names}: {len(best)} of {len(outcomes.trials)} trials on the Pareto front")
    panels = figure.subplots(1, len(others), squeeze=False, sharey=True)[0]
    chart.mark_metric(panels[0], "y", outcomes.metrics[0])
    for axes, other in zip(panels, others, strict=True):
        plain(axes)
        chart.mark_metric(axes, "x", outcomes.metrics[other])
        chart.mark_trials(axes, outcomes, {t.number: (t.values[other], t.values[0]) for t in outcomes.trials})
        x, y = zip(*sorted((trial.values[other], trial.values[0]) for trial in best), strict=True)
        axes.scatter(x, y, s=120, facecolors="none", edgecolors="black", linewidths=1.4, label="Pareto front")
        if len(others) == 1:
            axes.step(x, y, where="post" if outcomes.signs[other] < 0 else "pre", color="black", linewidth=1, zorder=1)
    legend(figure, panels)
    return figure


def draw_timeline(outcomes: Outcomes) -> Figure:
    """When each trial ran, and how it ended: Optuna's own figure, in its style, which it sets for the whole process."""
    with mpl.rc_context({"figure.figsize": (WIDTH_IN, 5), "figure.dpi": DPI}), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        figure = plot_timeline(outcomes.study).get_figure(root=True)
        assert figure is not None
        plt.close(figure)
    return figure


FIGURES: dict[str, Callable[[Outcomes], Figure]] = {
    "history.png": draw_history,
    "sensitivity.png": draw_sensitivity,
    "importance.png": draw_importance,
    "parallel.png": draw_parallel,
    "pareto.png": draw_pareto,
    "timeline.png": draw_timeline,
}
