"""Textures of people: a person's whole surface unrolled into a square, every part of the body in a place of its own.

A place is a chart. Across it runs the azimuth around the part: the middle is what faces forwards, the right edge and
the left one meet at the back, and the person's left is on the right. Down it runs the fall, from the part's top to
its bottom.
"""

from collections.abc import Mapping
from dataclasses import dataclass

TEXTURE_GRID = 32
"""Cells along a side of the square; the edges of charts lie between cells."""


@dataclass(frozen=True)
class Chart:
    """A rectangle of the square, in cells."""

    left: int
    top: int
    right: int
    bottom: int

    def texels(self, side: int) -> tuple[slice, slice]:
        """Its rows and columns in a texture of `side` × `side`.

        Raises:
            ValueError: an edge would lie within a texel.
        """
        if side % TEXTURE_GRID:
            raise ValueError(f"a texture of {side} × {side} has no whole charts: take a multiple of {TEXTURE_GRID}")
        cell = side // TEXTURE_GRID
        return slice(self.top * cell, self.bottom * cell), slice(self.left * cell, self.right * cell)


@dataclass(frozen=True)
class TextureLayout:
    """Where the parts are. What no chart covers, and the chart of what a person has not got, is background.

    The chart of a left part mirrors that of the right one, every other chart mirrors itself. So the texture of the
    person in a mirror is the texture flipped left to right, at any size.

    Raises:
        ValueError: it is not so.
    """

    charts: Mapping[str, Chart]
    """By part."""

    def __post_init__(self) -> None:
        for name, chart in self.charts.items():
            image = Chart(TEXTURE_GRID - chart.right, chart.top, TEXTURE_GRID - chart.left, chart.bottom)
            if self.charts.get(mirrored_part(name)) != image:
                raise ValueError(f"chart '{name}' needs its mirror image at {image}, as '{mirrored_part(name)}'")


def mirrored_part(name: str) -> str:
    """What the mirror shows in a part's place."""
    side, _, part = name.partition("_")
    return {"left": f"right_{part}", "right": f"left_{part}"}.get(side, name)


def _both(name: str, top: int, bottom: int) -> dict[str, Chart]:
    """A chart at each edge of the square, for the parts that a person has two of."""
    return {f"right_{name}": Chart(0, top, 8, bottom), f"left_{name}": Chart(24, top, 32, bottom)}


TEXTURE_LAYOUTS: dict[str, TextureLayout] = {
    "embedded": TextureLayout(
        {
            "head": Chart(8, 0, 24, 6),
            "neck": Chart(8, 6, 24, 7),
            "trunk": Chart(8, 7, 24, 18),
            "pelvis": Chart(8, 18, 24, 20),
            "skirt": Chart(8, 20, 24, 25),
            "hair": Chart(8, 25, 24, 26),
            "hat": Chart(8, 26, 24, 27),
            "backpack": Chart(8, 27, 24, 29),
            "bag": Chart(8, 29, 24, 30),
            "handbag": Chart(8, 30, 24, 31),
            "handle": Chart(8, 31, 24, 32),
            **_both("hand", 0, 3),
            **_both("upper_arm", 3, 9),
            **_both("lower_arm", 9, 15),
            **_both("thigh", 15, 22),
            **_both("shin", 22, 29),
            **_both("shoe", 29, 32),
        }
    )
}
"""By the name that a dataset's manifest gives it. Textures of a layout that has none are not mirrored."""
