"""The legend below a figure has room, however long its entries are."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from reid.pictures import legend, new_figure


@pytest.mark.parametrize("letters", [3, 12, 40, 90])
@pytest.mark.parametrize("entries", [1, 5, 9])
def test_a_legend_stays_within_its_figure(letters: int, entries: int) -> None:
    figure = new_figure(5, "title")
    axes = figure.subplots()
    for number in range(entries):
        axes.plot([0, 1], [number, number], label=f"{number}" * letters)
    legend(figure, [axes])
    FigureCanvasAgg(figure).draw()
    (box,) = figure.legends
    extent = box.get_window_extent()
    assert 0 <= extent.x0 <= extent.x1 <= figure.bbox.width
    assert len(box.get_texts()) == entries
    assert extent.y1 <= axes.get_tightbbox().y0
