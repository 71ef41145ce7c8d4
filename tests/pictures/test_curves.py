"""What the curves show, read back from the figures."""

import itertools
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from reid.pictures import Curve, cmc_picture, losses_picture
from reid.pictures.curves import cmc_figure, is_wide, loss_terms, losses_figure

CURVES = {
    "mean colour": Curve(cmc=[0.01 * k for k in range(1, 51)], mAP=0.03, rival=True),
    "baseline": Curve(cmc=[0.3] * 50, mAP=0.25),
    "final": Curve(cmc=[0.455, *[0.9] * 19], mAP=0.4049),
}
HISTORY = [
    {
        "train/identity": 3.0 - epoch,
        "train/attributes/hat": 0.5,
        "train/attributes/upper_colour": 0.4,
        "train/total": 3.9 - epoch,
        "train/learning_rate": 1e-3 / (1 + epoch),
        "train/images_per_second": 40.0,
        "eval/mAP": 0.5,
    }
    for epoch in range(3)
]


def lines(axes: Axes) -> dict[str, tuple[Any, Any]]:
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axes.lines
    }


def size(png: bytes) -> tuple[int, int]:
    return Image.open(BytesIO(png)).size


def test_every_curve_is_the_cmc_that_was_given_and_says_rank_1_and_map() -> None:
    (axes,) = cmc_figure(CURVES).axes
    ranks = list(range(1, 21))
    assert lines(axes) == {
        "mean colour: rank-1 1.0%, mAP 3.0%": (ranks, [0.01 * k for k in ranks]),
        "baseline: rank-1 30.0%, mAP 25.0%": (ranks, [0.3] * 20),
        "final: rank-1 45.5%, mAP 40.5%": (ranks, [0.455, *[0.9] * 19]),
    }
    assert axes.get_ylim() == (0, 1)
    assert [line.get_linestyle() for line in axes.lines] == ["--", "-", "-"]
    assert "first\ntrue match is among the first k" in axes.get_ylabel()


@pytest.mark.parametrize("count", [1, 4, 12])
def test_a_cmc_picture_has_a_bounded_size(count: int) -> None:
    width, height = size(cmc_picture({f"phase_{n}": CURVES["final"] for n in range(count)}))
    assert width == 1200
    assert height <= 900


def test_terms_are_grouped_by_family_with_the_total_first() -> None:
    terms = loss_terms(HISTORY)
    assert terms == {
        "": {"total": [3.9, 2.9, 1.9], "identity": [3.0, 2.0, 1.0]},
        "attributes": {"hat": [0.5] * 3, "upper_colour": [0.4] * 3},
    }
    assert list(terms[""]) == ["total", "identity"]


def test_a_panel_for_each_family_shows_all_terms_over_the_epochs_and_the_last_the_learning_rate() -> None:
    loss, attributes, rate = losses_figure("final", HISTORY).axes
    epochs = [1, 2, 3]
    assert lines(loss) == {"total": (epochs, [3.9, 2.9, 1.9]), "identity": (epochs, [3.0, 2.0, 1.0])}
    assert lines(attributes) == {"hat": (epochs, [0.5] * 3), "upper colour": (epochs, [0.4] * 3)}
    assert lines(rate) == {"at the epoch's end": (epochs, [1e-3, 5e-4, pytest.approx(1e-3 / 3)])}
    assert [axes.get_yscale() for axes in (loss, attributes)] == ["linear", "linear"]
    for axes, largest in ((loss, 3.9), (attributes, 0.5)):
        low, high = axes.get_ylim()
        assert low == 0
        assert high > largest


def test_no_two_terms_of_a_panel_look_alike() -> None:
    history = [{"train/total": 1.0, "train/learning_rate": 1.0} | {f"train/attributes/a{n}": 1.0 for n in range(25)}]
    _, attributes, _ = losses_figure("final", history).axes
    looks = [(line.get_color(), line.get_linestyle()) for line in attributes.lines]
    assert len(set(looks)) == len(looks) == 25


@pytest.mark.parametrize(
    ("values", "wide"),
    [([1.0, 2.0], False), ([0.01, 2.0], True), ([0.0, 2.0], False), ([-1.0, 100.0], False), ([0.0], False)],
)
def test_powers_of_ten_where_losses_differ_much_and_none_is_nothing(values: Sequence[float], wide: bool) -> None:
    assert is_wide(values) == wide
    history = [{"train/total": value, "train/learning_rate": 1e-3} for value in values]
    assert losses_figure("pose", history).axes[0].get_yscale() == ("log" if wide else "linear")


@pytest.mark.parametrize(("epochs", "terms"), [(1, 1), (3, 30), (400, 12)])
def test_panels_and_their_legends_lie_within_the_picture_and_apart(epochs: int, terms: int) -> None:
    history = [
        {"train/total": 1.0, "train/learning_rate": 1e-3, **{f"train/attributes/a{n}": 0.1 * n for n in range(terms)}}
        for _ in range(epochs)
    ]
    figure = losses_figure("a_phase", history)
    FigureCanvasAgg(figure).draw()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
    for above, below in itertools.pairwise(boxes):
        assert above.y0 >= below.y1
    assert size(losses_picture("a_phase", history))[1] <= 1400


def test_the_scores_of_a_sample_have_a_panel_of_their_own() -> None:
    history = [
        {"train/total": 2.0 - epoch, "train/learning_rate": 0.1, "sample/mAP": 0.2 * epoch, "sample/rank1": 0.3}
        for epoch in range(2)
    ]
    panels = losses_figure("final", history).axes
    assert [axes.get_ylabel() for axes in panels] == ["loss", "scores of\na sample", "learning\nrate"]
    drawn = {line.get_label(): list(line.get_ydata()) for line in panels[1].get_lines()}
    assert drawn == {"mAP": [0.0, 0.2], "rank1": [0.3, 0.3]}
    without = [{name: value for name, value in metrics.items() if "sample" not in name} for metrics in history]
    assert len(losses_figure("final", without).axes) == 2
