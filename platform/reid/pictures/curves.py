# ruff: noqa: N815 - mAP is the name of the field
"""Curves, as PNG files: how soon matches come, and what a phase minimised."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from reid.pictures.figure import COLOURS, RIVAL, SMALL, legend, new_figure, plain, png

CMC_RANKS = 20
LOG_FROM = 30.0
"""How many times the smallest loss the largest is, for a scale by powers of ten."""
MOST_IN_A_COLUMN = 4
MOST_MARKED = 40
"""Epochs that are marked one by one."""
TOTAL = "total"
TERM_COLOURS = tuple(colour for colour in COLOURS if colour != "#000000")
NO_TERMS = ("train/learning_rate", "train/images_per_second")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The cumulative matching characteristic of one ranking."""

    cmc: Sequence[float]
    """cmc[k - 1] = share of queries whose first true match is among the first k."""
    mAP: float
    rival: bool = False
    """Whether it is of something that was not trained."""


def cmc_picture(curves: Mapping[str, Curve]) -> bytes:
    """The share of queries with a match among the first k, up to k = 20, of several rankings of the same queries."""
    return png(cmc_figure(curves))


def cmc_figure(curves: Mapping[str, Curve]) -> Figure:
    figure = new_figure(5.6, "How soon the first true match comes (CMC)")
    axes = figure.subplots()
    plain(axes)
    colours = iter(COLOURS * len(curves))
    for name, curve in curves.items():
        shown = list(curve.cmc[:CMC_RANKS])
        look: dict[str, Any] = {"color": RIVAL, "linestyle": "--"} if curve.rival else {"color": next(colours)}
        label = f"{name}: rank-1 {shown[0]:.1%}, mAP {curve.mAP:.1%}"
        axes.plot(range(1, len(shown) + 1), shown, marker="o", markersize=4, clip_on=False, label=label, **look)
    axes.set_xlabel("k, gallery images from the nearest on", fontsize=11)
    axes.set_ylabel("share of queries whose first\ntrue match is among the first k", fontsize=11)
    axes.set_xlim(0.5, CMC_RANKS + 0.5)
    axes.set_ylim(0, 1)
    axes.set_xticks((1, 5, 10, 15, 20))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    legend(figure, [axes], columns=1 if len(curves) < MOST_IN_A_COLUMN else 2)
    return figure


def losses_picture(phase: str, history: Sequence[Mapping[str, float]]) -> bytes:
    """All terms of a phase's loss over its epochs, those of one family in a panel; below them the scores of the sample
    that the phase was followed by, if it was, and the learning rate.

    Args:
        history: the metrics of every epoch.
    """
    return png(losses_figure(phase, history))


def losses_figure(phase: str, history: Sequence[Mapping[str, float]]) -> Figure:
    families = loss_terms(history)
    scores = sample_scores(history)
    heights = [max(1.7, 0.19 * len(terms) + 0.3) for terms in families.values()] + [1.7] * bool(scores)
    figure = new_figure(sum(heights) + 2.2, f"Terms of the loss in phase {phase}")
    panels = figure.subplots(len(heights) + 1, 1, sharex=True, height_ratios=[*heights, 1.1])
    epochs = list(range(1, len(history) + 1))
    for axes, (family, terms) in zip(panels, families.items(), strict=False):
        _draw_terms(axes, epochs, terms)
        axes.set_ylabel(family.replace("_", " ") or "loss", fontsize=11)
    if scores:
        _draw_terms(panels[-2], epochs, scores)
        panels[-2].set_ylabel("scores of\na sample", fontsize=11)
        panels[-2].set_yscale("linear")
        panels[-2].set_ylim(0, 1)
        panels[-2].yaxis.set_major_formatter(PercentFormatter(xmax=1))
    rates = [metrics["train/learning_rate"] for metrics in history]
    plain(panels[-1])
    panels[-1].plot(epochs, rates, color="black", label="at the epoch's end", **_marks(epochs))
    panels[-1].set_ylim(bottom=0)
    panels[-1].set_ylabel("learning\nrate", fontsize=11)
    panels[-1].set_xlabel("epoch", fontsize=11)
    panels[-1].set_xlim(0.5, len(history) + 0.5)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=SMALL, frameon=False)
    return figure


def loss_terms(history: Sequence[Mapping[str, float]]) -> dict[str, dict[str, list[float]]]:
    """Terms by family, the part of a name before its stroke, and then by the rest of it; the total first."""
    families: dict[str, dict[str, list[float]]] = {"": {TOTAL: []}}
    for name in history[0]:
        if name.startswith("train/") and name not in NO_TERMS:
            family, _, term = name.removeprefix("train/").rpartition("/")
            families.setdefault(family, {})[term] = [metrics[name] for metrics in history]
    return families


def sample_scores(history: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Of a few identities or scenes, as `evaluation.sample` says, by metric."""
    names = [name for name in history[0] if name.startswith("sample/")]
    return {name.removeprefix("sample/"): [metrics.get(name, math.nan) for metrics in history] for name in names}


def is_wide(values: Sequence[float]) -> bool:
    """Whether values are seen better on a scale by powers of ten."""
    positive = [value for value in values if value > 0]
    return len(positive) == len(values) and max(values) > LOG_FROM * min(values)


def _draw_terms(axes: Axes, epochs: Sequence[int], terms: Mapping[str, Sequence[float]]) -> None:
    plain(axes)
    colours = [("#c4c4c4", "-"), *((colour, style) for style in ("-", "--", ":", "-.") for colour in TERM_COLOURS)]
    for (term, values), (colour, style) in zip(terms.items(), colours[TOTAL not in terms :], strict=False):
        width = 5.0 if term == TOTAL else 1.5  # a single term is the total, and would hide it
        label = term.replace("_", " ")
        axes.plot(epochs, values, color=colour, linestyle=style, linewidth=width, label=label, **_marks(epochs))
    shown = [value for values in terms.values() for value in values]
    if is_wide(shown):
        axes.set_yscale("log")
    else:
        axes.set_ylim(min(0.0, 1.06 * min(shown)), max(1e-9, 1.06 * max(shown)))


def _marks(epochs: Sequence[int]) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3.5} if len(epochs) <= MOST_MARKED else {}
