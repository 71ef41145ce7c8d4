"""Charts of textures and their mirror images."""

import pytest

from reid.config import TEXTURE_GRID as GRID
from reid.config import TEXTURE_LAYOUTS, TextureLayout
from reid.config.atlas import Chart, mirrored_part

EMBEDDED = TEXTURE_LAYOUTS["embedded"]


@pytest.mark.parametrize("layout", TEXTURE_LAYOUTS.values(), ids=list(TEXTURE_LAYOUTS))
@pytest.mark.parametrize("side", [GRID, 4 * GRID])
def test_charts_lie_in_the_square_and_apart(layout: TextureLayout, side: int) -> None:
    taken: set[tuple[int, int]] = set()
    for chart in layout.charts.values():
        rows, columns = (range(side)[part] for part in chart.texels(side))
        texels = {(row, column) for row in rows for column in columns}
        assert len(texels) == (chart.bottom - chart.top) * (chart.right - chart.left) * (side // GRID) ** 2 > 0
        assert not texels & taken
        taken |= texels


@pytest.mark.parametrize("layout", TEXTURE_LAYOUTS.values(), ids=list(TEXTURE_LAYOUTS))
def test_a_flip_of_the_square_puts_every_chart_on_its_counterpart(layout: TextureLayout) -> None:
    side = 2 * GRID
    for name, chart in layout.charts.items():
        rows, columns = chart.texels(side)
        mirrored_rows, mirrored_columns = layout.charts[mirrored_part(name)].texels(side)
        assert rows == mirrored_rows
        assert [side - 1 - column for column in range(side)[columns]] == list(range(side)[mirrored_columns])[::-1]


def test_left_parts_are_right_ones_in_the_mirror() -> None:
    sided = {name for name in EMBEDDED.charts if mirrored_part(name) != name}
    parts = ("thigh", "shin", "upper_arm", "lower_arm", "shoe", "hand")
    assert sided == {f"{side}_{part}" for part in parts for side in ("left", "right")}
    assert mirrored_part("left_upper_arm") == "right_upper_arm"
    assert mirrored_part("trunk") == "trunk"


@pytest.mark.parametrize(
    "charts",
    [
        {"trunk": Chart(0, 0, 8, 8)},
        {"left_hand": Chart(24, 0, 32, 8)},
        {"left_hand": Chart(24, 0, 32, 8), "right_hand": Chart(0, 8, 8, 16)},
        {"left_hand": Chart(8, 0, 24, 8), "right_hand": Chart(0, 0, 8, 8)},
    ],
)
def test_charts_without_their_mirror_image_are_refused(charts: dict[str, Chart]) -> None:
    with pytest.raises(ValueError, match="needs its mirror image at"):
        TextureLayout(charts)


def test_a_side_that_cuts_charts_is_refused() -> None:
    with pytest.raises(ValueError, match="a texture of 100 × 100 has no whole charts: take a multiple of 32"):
        EMBEDDED.charts["trunk"].texels(100)
