# ruff: noqa: N815 - fields carry their shape as a suffix
"""A query and the images that are nearest to it, on one sheet."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.pictures.retrieval import MATCH, MISTAKE
from reid.pictures.sheet import FAINT, Sheet

COLUMNS = 6
CELL_WIDTH, NAME_LETTERS = 168, 14
"""Pixels, and the letters of a name that fit below an image with the rest of its caption."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One image on the sheet."""

    image_HW3: NDArray[np.uint8]
    name: str
    pid: int | None
    """Its identity, if known."""
    distance: float
    """From the query."""


def contact_sheet(query_HW3: NDArray[np.uint8], title: str, pid: int | None, found: Sequence[Found]) -> bytes:
    """A PNG file: the query first, then what was found, nearest first; green and red frames where identities are known.

    Args:
        pid: the query's identity, if known.
    """
    height, width = query_HW3.shape[:2]
    sheet = Sheet(
        title=title,
        columns=["query", *("nearest, from left to right" if column == 0 else "" for column in range(COLUMNS))],
        rows=[""] * -(-len(found) // COLUMNS),
        cell=(CELL_WIDTH, round(CELL_WIDTH * height / width)),
        legend=[
            *([] if pid is None else [(MATCH, "the query's identity"), (MISTAKE, "another identity")]),
            (None, "below each image: distance · identity · name"),
        ],
    )
    sheet.place(0, 0, query_HW3, frame=FAINT, caption="" if pid is None else f"{pid}")
    for place, item in enumerate(found):
        frame = FAINT if pid is None or item.pid is None else MATCH if item.pid == pid else MISTAKE
        row, column = divmod(place, COLUMNS)
        sheet.place(row, 1 + column, item.image_HW3, frame=frame, caption=_caption(item))
    return sheet.png()


def _caption(item: Found) -> str:
    name = item.name if len(item.name) <= NAME_LETTERS else "…" + item.name[1 - NAME_LETTERS :]
    return f"{item.distance:.3f} · {'?' if item.pid is None else item.pid} · {name}"
