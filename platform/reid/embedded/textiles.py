"""Colours of clothing and skin as functions of where on the body they are seen.

Azimuth: 0 front, ±π back, positive to the person's left. Fall: 0 at the top of the garment, 1 at its hem.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reid.embedded.draw import Floats, Paint
from reid.embedded.people import PALETTE, Colour

Mask = NDArray[np.bool_]
Place = Callable[[Floats, Floats], Mask]  # (azimuth_N, fall_N) → where

PATTERN_MASKS: dict[str, Place] = {  # where the accent colour is seen
    "hoops": lambda azimuth, fall: (fall * 4.5) % 1 < 0.42,
    "stripes": lambda azimuth, fall: (azimuth * 2.2) % 1 < 0.4,
    "checks": lambda azimuth, fall: ((azimuth * 1.5) % 1 < 0.5) ^ ((fall * 3.5) % 1 < 0.5),
    "logo": lambda azimuth, fall: (np.abs(azimuth) < 0.62) & (np.abs(fall - 0.36) < 0.17),
    "band": lambda azimuth, fall: np.abs(fall - 0.5) < 0.15,
    "yoke": lambda azimuth, fall: fall < 0.27,
    "halves": lambda azimuth, fall: fall < 0.5,
}
SEAM_HALF_WIDTH = 0.5  # radians
TWO_COLOURED = frozenset({"checks", "halves"})  # neither colour dominates


def shade_of(name: str, jitter: Colour = (0, 0, 0)) -> Floats:
    """RGB of a named colour (3,)."""
    shade: Floats = np.clip(rgb(PALETTE[name]) + rgb(jitter), np.float32(8), np.float32(245))
    return shade


def rgb(colour: Colour) -> Floats:
    """A colour as an array (3,)."""
    return np.array(colour, np.float32)


def where(place: Place, inside: Floats, outside: Paint) -> Paint:
    """`inside` at the place, else another paint."""

    def paint(azimuth: Floats, fall: Floats) -> Floats:
        rest = outside if isinstance(outside, np.ndarray) else outside(azimuth, fall)
        return np.where(place(azimuth, fall)[:, None], inside, rest)

    return paint


def side_seam(side: float) -> Place:
    """A stripe along the outside of a leg; `side` is 1 for the left one and -1 for the right one."""
    return lambda azimuth, fall: np.abs(azimuth - side * np.pi / 2) < SEAM_HALF_WIDTH


def face(*, skin: Floats, hair: Floats, bald: bool, beard: bool, glasses: bool, hairline: float = 0.3) -> Paint:
    """A head: face in front, hair behind and above."""
    lips = skin * np.array((0.75, 0.5, 0.5), np.float32)
    mouth = where(lambda a, f: (np.abs(a) < 0.35) & (np.abs(f - 0.84) < 0.05), lips, skin)
    chin = where(lambda a, f: (np.abs(a) < 1.3) & (f > 0.74), hair, mouth) if beard else mouth
    eyes = where(lambda a, f: (np.abs(np.abs(a) - 0.42) < 0.2) & (np.abs(f - 0.55) < 0.06), rgb((40, 32, 30)), chin)
    rims = (
        where(lambda a, f: (np.abs(a) < 1.3) & (np.abs(f - 0.55) < 0.09), rgb((24, 24, 28)), eyes) if glasses else eyes
    )
    if bald:
        return rims
    return where(lambda a, f: (f < hairline) | ((np.abs(a) > 1.25) & (f < 0.78)), hair, rims)
