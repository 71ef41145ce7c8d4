"""Colours of clothing and skin as functions of where on the body they are seen.

Legend: N pixels. Azimuth: 0 front, ±π back, positive to the person's left; fall: 0 at the top of the garment, 1 at its hem.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reid.data.embedded.draw import Floats, Paint
from reid.data.embedded.people import PALETTE, Colour

Mask = NDArray[np.bool_]
Pattern = Callable[[Floats, Floats], Mask]  # where the accent colour is seen

PATTERN_MASKS: dict[str, Pattern] = {
    "hoops": lambda azimuth, fall: (fall * 4.5) % 1 < 0.42,
    "stripes": lambda azimuth, fall: (azimuth * 2.2) % 1 < 0.4,
    "checks": lambda azimuth, fall: ((azimuth * 1.5) % 1 < 0.5) ^ ((fall * 3.5) % 1 < 0.5),
    "logo": lambda azimuth, fall: (np.abs(azimuth) < 0.62) & (np.abs(fall - 0.36) < 0.17),
    "band": lambda azimuth, fall: np.abs(fall - 0.5) < 0.15,
    "yoke": lambda azimuth, fall: fall < 0.27,
    "halves": lambda azimuth, fall: fall < 0.5,
}
TWO_COLOURED = frozenset({"checks", "halves"})  # neither colour dominates


def shade_of(name: str, jitter: Colour = (0, 0, 0)) -> Floats:
    """RGB of a named colour (3,)."""
    return np.clip(np.array(PALETTE[name], np.float32) + np.array(jitter, np.float32), 8, 245)


def plain(colour: Floats | Colour) -> Paint:
    """One colour everywhere."""
    rgb = np.asarray(colour, np.float32)
    return lambda azimuth, fall: np.broadcast_to(rgb, (len(azimuth), 3))


def where(mask: Pattern, inside: Floats | Colour, outside: Paint) -> Paint:
    """`inside` where the mask holds, else another paint."""
    rgb = np.asarray(inside, np.float32)
    return lambda azimuth, fall: np.where(mask(azimuth, fall)[:, None], rgb, outside(azimuth, fall))


def face(*, skin: Floats, hair: Floats, bald: bool, beard: bool, glasses: bool, hairline: float = 0.3) -> Paint:
    """A head: face in front, hair behind and above."""
    mouth = where(lambda a, f: (np.abs(a) < 0.35) & (np.abs(f - 0.84) < 0.05), skin * (0.75, 0.5, 0.5), plain(skin))
    chin = where(lambda a, f: (np.abs(a) < 1.3) & (f > 0.74), hair, mouth) if beard else mouth
    eyes = where(lambda a, f: (np.abs(np.abs(a) - 0.42) < 0.2) & (np.abs(f - 0.55) < 0.06), (40, 32, 30), chin)
    rims = where(lambda a, f: (np.abs(a) < 1.3) & (np.abs(f - 0.55) < 0.09), (24, 24, 28), eyes) if glasses else eyes
    if bald:
        return rims
    return where(lambda a, f: (f < hairline) | ((np.abs(a) > 1.25) & (f < 0.78)), hair, rims)
