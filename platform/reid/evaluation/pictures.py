"""Pictures of an evaluation, as PNG files: how many queries find a match, and how soon."""

from collections.abc import Mapping
from io import BytesIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from reid.evaluation.retrieval import RetrievalResult

CMC_RANKS = 20


def cmc_picture(results: Mapping[str, RetrievalResult]) -> bytes:
    """The cumulative matching characteristic up to rank 20 as a PNG file.

    Args:
        results: one or several evaluations by name, such as plain and re-ranked.
    """
    figure = Figure(figsize=(6.4, 4.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, result in results.items():
        cmc = result.cmc[:CMC_RANKS].tolist()
        label = f"{name}: mAP {result.mAP:.1%}, rank-1 {cmc[0]:.1%}"
        axes.plot(range(1, len(cmc) + 1), cmc, marker="o", markersize=3.5, label=label)
    (first, *_) = results.values()
    axes.set_title(f"CMC over {first.num_valid_queries:,} queries, mAP {first.mAP:.1%}")
    axes.set_xlabel("rank k")
    axes.set_ylabel("queries with a match among the k nearest")
    axes.set_xlim(0.5, CMC_RANKS + 0.5)
    axes.set_ylim(0, 1.02)
    axes.set_xticks((1, 5, 10, 15, 20))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return _png_of(figure)


def _png_of(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
