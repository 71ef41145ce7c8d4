"""What a person looks like all around: the paints of the drawing, evaluated on the charts of a texture.

Legend: S texels along a side, N places on a chart.
"""

import numpy as np
from numpy.typing import NDArray

from reid.config import TEXTURE_LAYOUTS
from reid.embedded.draw import Capsule, Floats, Texels
from reid.embedded.figure import draw_person
from reid.embedded.people import Person
from reid.embedded.skeleton import Limb, Pose, View

LAYOUT = TEXTURE_LAYOUTS["embedded"]
BACKGROUND = 128
"""Grey of what is no part of the person."""

_LIMB = Limb(swing=0.0, abduction=0.0, elbow=0.0)
_POSE = Pose(phase=0.0, stride=0.0, lean=0.0, left_arm=_LIMB, right_arm=_LIMB)
_VIEW = View(yaw=0.0, pitch=0.0, scale=1.0, foot_x=0.0, foot_y=0.0)


class Atlas:
    """A texture that people can be drawn on: where they stand and how they move leaves it as it is.

    Raises:
        ValueError: its side is no multiple of the layout's grid.
    """

    def __init__(self, side: int) -> None:
        self.texture_SS3 = np.full((side, side, 3), BACKGROUND, np.uint8)
        self._charts = {name: chart.texels(side) for name, chart in LAYOUT.charts.items()}

    def draw(self, capsule: Capsule) -> None:
        """Paints the capsule's chart."""
        assert capsule.chart is not None
        place, paint = self.texture_SS3[self._charts[capsule.chart]], capsule.paint
        if isinstance(paint, np.ndarray):
            place[:] = paint
            return
        rows, columns = place.shape[:2]
        across = np.arange(1 - columns, columns, 2, dtype=np.float32) * np.float32(np.pi / columns)
        down = np.arange(1, 2 * rows, 2, dtype=np.float32) / np.float32(2 * rows)
        place[:] = paint(np.tile(across, rows), np.repeat(down, columns)).reshape(place.shape)

    def locate(self, chart: str, azimuth_N: Floats, fall_N: Floats) -> Texels:
        """The texel, row × S + column, that shows each place of a chart; what is beyond its ends shows the end."""
        down, across = self._charts[chart]
        rows, columns = down.stop - down.start, across.stop - across.start
        row_N = np.clip(np.floor(fall_N * rows), 0, rows - 1).astype(np.int32)
        column_N = np.clip(np.floor((azimuth_N / np.float32(2 * np.pi) + 0.5) * columns), 0, columns - 1)
        texels: Texels = (row_N + down.start) * len(self.texture_SS3) + column_N.astype(np.int32) + across.start
        return texels


def texture_of(person: Person, side: int) -> NDArray[np.uint8]:
    """The person's texture (S, S, 3)."""
    atlas = Atlas(side)
    draw_person(atlas, person, _POSE, _VIEW, owner=0)
    return atlas.texture_SS3


def seen_texels(texels: Texels, side: int) -> NDArray[np.bool_]:
    """Mask (S, S) of the texels that an image shows, from `Canvas.texels`."""
    seen_SS = np.zeros((side, side), np.bool_)
    seen_SS.flat[texels] = True
    return seen_SS
