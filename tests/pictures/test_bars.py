"""What the bars show, read back from the figures."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from PIL import Image

from reid.pictures import attributes_picture, rows_picture, time_picture
from reid.pictures.bars import attributes_figure, rows_figure, time_figure

SECONDS = {
    "pose": {"batches": 10.0, "steps": 200.0, "scoring": 30.0, "saving": 0.0},
    "final": {"batches": 20.0, "steps": 100.0, "scoring": 60.0, "saving": 5.0},
}


def bars(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Beginning and length of the bars by their label."""
    found = {}
    for container in axes.containers:
        assert isinstance(container, BarContainer)
        found[str(container.get_label())] = [(bar.get_x(), bar.get_width()) for bar in container.patches]
    return found


def names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def require_room(figure: Figure) -> None:
    """Texts are within the picture, and none of the axes' lies on another."""
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in (*axes.texts, *axes.get_yticklabels()) if text.get_text()]
    for number, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_attributes_stand_beside_their_rivals() -> None:
    accuracies, rivals = {"hat": 0.9, "upper_colour": 0.4}, {"bag": 0.1, "upper_colour": 0.5, "hat": 0.7}
    figure = attributes_figure(accuracies, rivals)
    (axes,) = figure.axes
    assert names(axes) == ["hat", "upper colour"]
    assert bars(axes) == {
        "the model": [(0, 0.9), (0, 0.4)],
        "the most common class in training": [(0, 0.7), (0, 0.5)],
    }
    assert [text.get_text() for text in axes.texts] == ["90.0%", "40.0%", "70.0%", "50.0%"]
    assert figure.get_suptitle().startswith("Attributes: 65.0% right on average, 60.0%")
    require_room(figure)


@pytest.mark.parametrize("count", [1, 35])
def test_many_attributes_have_room(count: int) -> None:
    values = {f"attribute_{n}": 1.0 for n in range(count)}
    require_room(attributes_figure(values, values))
    width, height = Image.open(BytesIO(attributes_picture(values, values))).size
    assert width == 1200
    assert height <= 2000


def test_parts_of_the_time_follow_one_another_in_the_unit_of_the_longest() -> None:
    figure = time_figure(SECONDS)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "minutes"
    found = np.array(list(bars(axes).values())) * 60
    assert found[:, 0].tolist() == pytest.approx(np.array([(0, 10), (10, 200), (210, 30), (240, 0)]))
    assert found[:, 1].tolist() == pytest.approx(np.array([(0, 20), (20, 100), (120, 60), (180, 5)]))
    assert names(axes) == ["pose", "final"]
    assert [text.get_text() for text in axes.texts] == ["4.0", "3.1"]
    require_room(figure)


@pytest.mark.parametrize(
    ("longest", "unit"), [(5.0, "seconds"), (119.0, "seconds"), (120.0, "minutes"), (7200.0, "hours")]
)
def test_the_unit_is_the_largest_that_the_longest_has_two_of(longest: float, unit: str) -> None:
    assert time_figure({"a": {"steps": 1.0}, "b": {"steps": longest}}).axes[0].get_xlabel() == unit


def test_time_of_nothing_and_of_long_names_is_drawn() -> None:
    seconds = {"a" * 200: {"steps": 0.0}, "b": {}}
    require_room(time_figure(seconds))
    assert Image.open(BytesIO(time_picture(seconds))).size[0] == 1200


def test_rows_show_every_seed_and_the_mean() -> None:
    scores = {"base": [0.2, 0.3], "full": [0.5]}
    figure = rows_figure(scores)
    (axes,) = figure.axes
    marks = {str(each.get_label()): np.asarray(each.get_offsets()).tolist() for each in axes.collections}
    assert marks == {
        "one seed": [[0.2, 0], [0.3, 0], [0.5, 1]],
        "mean over the seeds": [[pytest.approx(0.25), 0], [0.5, 1]],
    }
    assert names(axes) == ["base", "full"]
    assert axes.get_xlim()[0] == 0
    require_room(figure)
    assert Image.open(BytesIO(rows_picture(scores))).size[0] == 1200
