"""Named random streams: each kind of draw has its own, so that adding one leaves the others as they were."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What is drawn; the numbers are part of every result and never change."""

    SHUFFLE = 1
    BALANCED = 2
    AUGMENT = 3
    HOLD_OUT = 4


def generator(stream: Stream, *position: int) -> np.random.Generator:
    """The generator of a stream at a position such as (seed, epoch, step)."""
    return np.random.default_rng([int(stream), *position])
