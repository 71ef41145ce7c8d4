"""What the matrix of cameras shows, read back from the figure."""

import itertools
from io import BytesIO

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from reid.evaluation import CameraPairs
from reid.pictures import MOST_CAMERAS, cameras_picture
from reid.pictures.cameras import cameras_figure

PAIRS = CameraPairs(
    query_A=(1, 2, 7),
    gallery_C=(1, 2),
    queries_AC=np.array([[0, 8], [2, 0], [10, 1]]),
    hits_AC=np.array([[0, 2], [2, 0], [9, 0]]),
)


def test_cells_say_rank_1_and_how_many_queries_and_those_without_are_empty() -> None:
    axes, _ = cameras_figure(PAIRS).axes
    (image,) = axes.images
    values = np.ma.asarray(image.get_array())
    assert values.mask.tolist() == [[True, False], [False, True], [False, False]]
    assert values.filled(-1).tolist() == [[-1, 0.25], [1.0, -1], [0.9, 0.0]]
    assert image.get_clim() == (0, 1)
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(1, 0): "25%\nof 8", (0, 1): "100%\nof 2", (0, 2): "90%\nof 10", (1, 2): "0%\nof 1"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["camera 1", "camera 2", "camera 7"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["camera 1", "camera 2"]


@pytest.mark.parametrize("cameras", [2, 6, 11, 12, MOST_CAMERAS])
def test_numbers_have_room_in_their_cells(cameras: int) -> None:
    queries = np.full((cameras, cameras), 12_345)
    sides = tuple(range(1, cameras + 1))
    pairs = CameraPairs(query_A=sides, gallery_C=sides, queries_AC=queries, hits_AC=queries)
    figure = cameras_figure(pairs)
    FigureCanvasAgg(figure).draw()
    axes, _ = figure.axes
    cell = axes.get_window_extent().width / cameras, axes.get_window_extent().height / cameras
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.width <= cell[0]
        assert box.height <= cell[1]
    labels = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(labels))
    assert max(Image.open(BytesIO(cameras_picture(pairs))).size) <= 2200
