"""A picture of how queries of one camera are found among another's images.

Legend: A cameras of the queries, C cameras of the gallery.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from reid.evaluation import CameraPairs
from reid.pictures.figure import SMALL, new_figure, png

NO_PAIRS, COLOURS = "#d6d6d6", "cividis"
MOST_CAMERAS, COMPACT_FROM = 16, 9
"""On a side, for the numbers to be read."""


def cameras_picture(pairs: CameraPairs) -> bytes:
    """Rank-1 for each camera of the queries and each of the gallery, with the number of queries."""
    return png(cameras_figure(pairs))


def cameras_figure(pairs: CameraPairs) -> Figure:
    rows, columns = pairs.queries_AC.shape
    figure = new_figure(0.62 * rows + 2.0, "Rank-1 of one camera's queries among another camera's images alone")
    axes = figure.subplots()
    share_AC = np.ma.masked_invalid(pairs.rank1_AC)
    colours = axes.figure.axes[0].imshow(share_AC, cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    axes.set_facecolor(NO_PAIRS)
    for row, column in np.argwhere(pairs.queries_AC > 0):
        share = share_AC[row, column]
        text = f"{share:.0%}\nof {pairs.queries_AC[row, column]:,}"
        ink = "white" if share < 0.55 else "black"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=SMALL if columns < COMPACT_FROM else 6, color=ink
        )
    axes.set_xticks(
        range(columns), [f"camera {camera}" if columns < COMPACT_FROM else f"{camera}" for camera in pairs.gallery_C]
    )
    axes.set_yticks(range(rows), [f"camera {camera}" for camera in pairs.query_A])
    axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("gallery images of", fontsize=11)
    axes.set_ylabel("queries of", fontsize=11)
    figure.colorbar(colours, ax=axes, format=PercentFormatter(xmax=1), label="rank-1", fraction=0.04)
    no_pairs = Patch(
        color=NO_PAIRS, label="no query has a true match there: a camera's own images of a person are left out"
    )
    figure.legend(handles=[no_pairs], loc="outside lower center", frameon=False)
    return figure
