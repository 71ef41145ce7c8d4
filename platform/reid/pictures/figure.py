"""How figures look: size, grid and legend, the same in all of them.

Drawn with matplotlib's objects alone, so that neither the process's style nor its current figure changes.
"""

import io
from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH_IN, DPI = 10.0, 120  # 1,200 pixels
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6F47")
"""By Okabe and Ito, whose colours the colour-blind tell apart, with a brown in place of their yellow."""
RIVAL = "#8c8c8c"
"""Of what anything trained should beat."""
SMALL = 9


def new_figure(height_in: float, title: str) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=13)
    return figure


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(file, format="png")
    return file.getvalue()


def plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def legend(figure: Figure, panels: Iterable[Axes], *, columns: int | None = None) -> None:
    """One legend below all panels, each entry once.

    Args:
        columns: entries side by side at most; none = as many as there is room for.
    """
    entries = {}
    for axes in panels:
        entries.update({label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)})
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    for side_by_side in range(columns or len(entries), 0, -1):
        box = figure.legend(
            entries.values(), entries.keys(), loc="outside lower center", ncols=side_by_side, frameon=False
        )
        if side_by_side == 1 or box.get_window_extent(renderer).width < figure.bbox.width:
            return
        box.remove()
