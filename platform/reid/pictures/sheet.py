"""A sheet of images in rows and columns, with a title, headings, captions and a legend; all sizes are in pixels."""

import math
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

INK, FAINT, PALE, WHITE = "#222222", "#777777", "#ececec", "white"
MARGIN, GAP, FRAME = 20, 10, 4
CAPTION, HEADING, TITLE = 12, 14, 18
"""Sizes of letters; a line takes 1.5 times as much."""
SWATCH, ENTRY_GAP = (48, 12), 30

Swatch = str | Image.Image | None
"""What an entry of the legend explains: a colour, or an image to be scaled."""


class Sheet:
    """An empty sheet.

    Args:
        title: one line above everything.
        columns: headings; they may have two lines.
        rows: labels on the left; they may have several lines, or be empty.
        cell: width and height of every image.
        legend: one line at the bottom; each entry a swatch and a text.
        first_apart: whether the first column stands a little apart.
    """

    def __init__(
        self,
        *,
        title: str,
        columns: Sequence[str],
        rows: Sequence[str],
        cell: tuple[int, int],
        legend: Sequence[tuple[Swatch, str]],
        first_apart: bool = True,
    ) -> None:
        self._cell, self._first_apart = cell, first_apart
        self._left = MARGIN + (max(_text_width(row, HEADING) for row in rows) + GAP if any(rows) else 0)
        self._top = MARGIN + _line(TITLE) + 2 * _line(HEADING) + GAP
        self._pitch = (cell[0] + 2 * FRAME + GAP, cell[1] + 2 * FRAME + _line(CAPTION) + GAP)
        right = (
            self._corner(0, len(columns))[0] - GAP,
            MARGIN + _text_width(title, TITLE),
            self._left + sum(_entry_width(*entry) for entry in legend) - ENTRY_GAP,
        )
        width = max(right) + MARGIN
        height = self._top + len(rows) * self._pitch[1] + GAP + _line(HEADING) + MARGIN
        self._image = Image.new("RGB", (width, height), WHITE)
        self._draw = ImageDraw.Draw(self._image)
        self._draw.text((MARGIN, MARGIN), title, INK, _font(TITLE))
        for column, heading in enumerate(columns):
            x, y = self._corner(0, column)
            middle = x + FRAME + cell[0] // 2
            self._draw.text((middle, y - GAP // 2), heading, INK, _font(HEADING), anchor="md", align="center")
        for row, label in enumerate(rows):
            _, y = self._corner(row, 0)
            self._draw.text((MARGIN, y + FRAME + cell[1] // 2), label, INK, _font(HEADING), anchor="lm")
        self._draw_legend(legend, height - MARGIN - _line(HEADING) // 2)

    def place(self, row: int, column: int, image_HW3: NDArray[np.uint8], *, frame: str, caption: str = "") -> None:
        """Put a uint8 image, scaled to the cell, into a frame of a colour."""
        (x, y), (width, height) = self._corner(row, column), self._cell
        self._draw.rectangle((x, y, x + width + 2 * FRAME - 1, y + height + 2 * FRAME - 1), fill=frame)
        scaled = Image.fromarray(image_HW3).resize(self._cell, Image.Resampling.BICUBIC)
        self._image.paste(scaled, (x + FRAME, y + FRAME))
        below = (x + FRAME + width // 2, y + height + 2 * FRAME + 2)
        self._draw.text(below, caption, INK, _font(CAPTION), anchor="ma")

    def place_words(self, row: int, column: int, words: str) -> None:
        """Say in a cell why it has no image; the words may have several lines."""
        (x, y), (width, height) = self._corner(row, column), self._cell
        self._draw.rectangle((x, y, x + width + 2 * FRAME - 1, y + height + 2 * FRAME - 1), fill=PALE)
        middle = (x + FRAME + width // 2, y + FRAME + height // 2)
        self._draw.text(middle, words, FAINT, _font(CAPTION), anchor="mm", align="center")

    def png(self) -> bytes:
        file = BytesIO()
        self._image.save(file, "PNG")
        return file.getvalue()

    def _corner(self, row: int, column: int) -> tuple[int, int]:
        apart = GAP if column and self._first_apart else 0
        return self._left + apart + column * self._pitch[0], self._top + row * self._pitch[1]

    def _draw_legend(self, legend: Sequence[tuple[Swatch, str]], middle: int) -> None:
        x = self._left
        for swatch, text in legend:
            if swatch is not None:
                patch = Image.new("RGB", SWATCH, swatch) if isinstance(swatch, str) else swatch.resize(SWATCH)
                self._image.paste(patch, (x, middle - SWATCH[1] // 2))
            after = x + _entry_width(swatch, text)
            text_at = after - ENTRY_GAP - _text_width(text, HEADING)
            self._draw.text((text_at, middle), text, INK, _font(HEADING), anchor="lm")
            x = after


def _entry_width(swatch: Swatch, text: str) -> int:
    return (0 if swatch is None else SWATCH[0] + GAP) + _text_width(text, HEADING) + ENTRY_GAP


def _text_width(text: str, size: int) -> int:
    return math.ceil(max(_font(size).getlength(line) for line in text.split("\n")))


def _line(size: int) -> int:
    return size * 3 // 2


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
