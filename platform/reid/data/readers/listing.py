"""The images of a user's own folder as they are listed there, before anything is numbered or divided."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reid.config import DataError

SHOWN = 10
KEPT = 1000
"""Problems that are kept at a time, of however many."""
LONGEST_CELL = 60
UNKNOWN_CAMERA = -1
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("query", "probe"), "query"),
    "gallery": "gallery",
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
"""What a split may be called, in any case."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Texts of N images, in the order in which they are listed."""

    place: str
    """The file or folder that lists them, for messages."""
    lines: Sequence[int] | None
    """Where in the file each begins, from 1; none = a folder lists them, and their paths say where."""
    paths: Sequence[str]
    """Image files, relative to the source folder."""
    identities: Sequence[str]
    splits: Sequence[str] | None
    """Values of `SPLIT_WORDS`; none = nobody has divided them."""
    cameras: Sequence[str] | None
    """Empty = unknown; none = all are."""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What else is said of the images, by the name of the column; empty = missing."""

    def __len__(self) -> int:
        return len(self.paths)

    def numbered_cameras(self) -> NDArray[np.int64]:
        """Cameras from 1, unknown ones -1. One camera alone tells nothing apart: it is unknown too."""
        known = set(self.cameras or ()) - {""}
        if self.cameras is None or (len(known) == 1 and "" not in self.cameras):
            return np.full(len(self), UNKNOWN_CAMERA, np.int64)
        number_of = numbers(known) | {"": UNKNOWN_CAMERA}
        return np.array([number_of[camera] for camera in self.cameras], np.int64)


class Problems:
    """What is wrong with a listing: the first few problems, and how many there are."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._found: list[tuple[int, str]] = []
        self._count = 0

    def in_line(self, line: int, what: str) -> None:
        """Of a line of the file."""
        self._add(line, f"line {line}", what)

    def of_row(self, listing: Listing, row: int, what: str) -> None:
        """Of an image that is listed."""
        if listing.lines is None:
            self._add(row, listing.paths[row], what)
        else:
            self.in_line(listing.lines[row], what)

    def _add(self, order: int, where: str, what: str) -> None:
        self._count += 1
        self._found.append((order, f"{where}: {what}"))
        if len(self._found) > KEPT:
            self._found = sorted(self._found)[:SHOWN]

    def raise_any(self) -> None:
        """
        Raises:
            DataError: naming the place and every problem, as far as they are shown.
        """
        first = [text for _, text in sorted(self._found)[:SHOWN]]
        if self._count == 1:
            raise DataError(f"{self._place}, {first[0]}")
        if first:
            rest = self._count - len(first)
            more = [f"and {rest:,} more"] if rest else []
            lines = (f"  {line}" for line in [*first, *more])
            raise DataError("\n".join([f"{self._place} has {self._count:,} errors:", *lines]))


def shown(text: str) -> str:
    """A cell in quotes, cut where it is long."""
    return repr(text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…")


def in_order(texts: Iterable[str]) -> list[str]:
    """Distinct texts, sorted; by value where all are whole numbers."""
    distinct = set(texts)
    if all(re.fullmatch("[0-9]+", text) for text in distinct):
        return sorted(distinct, key=lambda text: (len(text.lstrip("0")), text.lstrip("0"), text))
    return sorted(distinct)


def numbers(texts: Iterable[str]) -> dict[str, int]:
    """Whole numbers from 1 for distinct texts: their own where all are such numbers, else in their order."""
    distinct = set(texts)
    if all(re.fullmatch("[0-9]{1,10}", text) and 1 <= int(text) < 2**31 for text in distinct):
        return {text: int(text) for text in distinct}
    return {text: number for number, text in enumerate(in_order(distinct), start=1)}
