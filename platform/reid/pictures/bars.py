"""Bars, as PNG files: attributes beside their rival, where time went, what the rows of an ablation reached.

All take mappings by the names that are shown.
"""

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from reid.pictures.figure import COLOURS, RIVAL, SMALL, legend, new_figure, plain, png

LONGEST_NAME = 44
PARTS = {
    "batches": "waiting for batches",
    "steps": "training steps",
    "scoring": "scoring and pictures",
    "saving": "saving, but for the last checkpoint",
}
"""What is said of `EpochRecord.seconds`."""
UNITS = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


def attributes_picture(accuracies: Mapping[str, float], rivals: Mapping[str, float]) -> bytes:
    """Accuracy of every attribute beside that of always saying what is most common in training."""
    return png(attributes_figure(accuracies, rivals))


def attributes_figure(accuracies: Mapping[str, float], rivals: Mapping[str, float]) -> Figure:
    mean, common = (statistics.fmean(values[name] for name in accuracies) for values in (accuracies, rivals))
    title = f"Attributes: {mean:.1%} right on average, {common:.1%} by always saying the most common class"
    figure = new_figure(0.42 * len(accuracies) + 1.7, title)
    axes = figure.subplots()
    _horizontal(axes, [name.replace("_", " ") for name in accuracies])
    for offset, values, colour, label in (
        (-0.19, accuracies, COLOURS[0], "the model"),
        (0.19, rivals, RIVAL, "the most common class in training"),
    ):
        places = [row + offset for row in range(len(accuracies))]
        bars = axes.barh(places, [values[name] for name in accuracies], height=0.36, color=colour, label=label)
        axes.bar_label(bars, [f"{values[name]:.1%}" for name in accuracies], padding=3, fontsize=SMALL)
    axes.set_xlim(0, 1.08)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.set_xlabel("share of the gallery's images of people whose class is right", fontsize=11)
    legend(figure, [axes])
    return figure


def time_picture(seconds: Mapping[str, Mapping[str, float]]) -> bytes:
    """Where time went: a bar for each training, of the parts of `EpochRecord.seconds`."""
    return png(time_figure(seconds))


def time_figure(seconds: Mapping[str, Mapping[str, float]]) -> Figure:
    totals = {name: sum(parts.values()) for name, parts in seconds.items()}
    unit, size = next((unit, size) for unit, size in UNITS.items() if max(totals.values()) >= 2 * size or size == 1)
    figure = new_figure(0.45 * len(seconds) + 1.7, "Where time went")
    axes = figure.subplots()
    _horizontal(axes, [_cut(name) for name in seconds])
    starts = dict.fromkeys(seconds, 0.0)
    for number, (part, label) in enumerate(PARTS.items()):
        widths = {name: parts.get(part, 0.0) / size for name, parts in seconds.items()}
        axes.barh(
            range(len(seconds)),
            list(widths.values()),
            left=list(starts.values()),
            height=0.6,
            color=COLOURS[(1, 0, 2, 4)[number]],
            label=label,
        )
        starts = {name: start + widths[name] for name, start in starts.items()}
    for row, end in enumerate(starts.values()):
        axes.annotate(f"{end:.1f}", (end, row), (4, 0), textcoords="offset points", va="center", fontsize=SMALL)
    axes.set_xlim(0, 1.1 * max(starts.values()) or 1.0)
    axes.set_xlabel(unit, fontsize=11)
    legend(figure, [axes], columns=2)
    return figure


def rows_picture(scores: Mapping[str, Sequence[float]]) -> bytes:
    """mAP of every row of an ablation: a mark for each seed, and their mean."""
    return png(rows_figure(scores))


def rows_figure(scores: Mapping[str, Sequence[float]]) -> Figure:
    figure = new_figure(0.36 * len(scores) + 1.9, "What the rows of the ablation reached")
    axes = figure.subplots()
    _horizontal(axes, [_cut(name) for name in scores])
    points = [(score, row) for row, seeds in enumerate(scores.values()) for score in seeds]
    means = [(statistics.fmean(seeds), row) for row, seeds in enumerate(scores.values()) if seeds]
    x, y = zip(*points, strict=True)
    axes.scatter(x, y, color=COLOURS[0], alpha=0.6, s=34, label="one seed")
    x, y = zip(*means, strict=True)
    axes.scatter(x, y, color="black", marker="|", s=260, linewidths=2, label="mean over the seeds")
    axes.set_xlim(left=0)
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.set_xlabel("mAP", fontsize=11)
    axes.grid(visible=True, axis="y", color="#f0f0f0")
    legend(figure, [axes])
    return figure


def _horizontal(axes: Axes, names: Sequence[str]) -> None:
    """A row for each name, from the top down."""
    plain(axes)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
