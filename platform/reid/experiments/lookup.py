"""Finds the nearest of a table's images to one image, and draws them."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor

from reid.config import RunConfig
from reid.data import (
    DataError,
    DescriptorTable,
    RowLabels,
    UnreadableImageError,
    image_place,
    load_image,
    open_store,
    resized,
)
from reid.evaluation import nearest
from reid.experiments.describing import Extractor
from reid.experiments.export import descriptor_of
from reid.pictures import Found, contact_sheet
from reid.progress import say_result, show_table
from reid.stages import load_describer
from reid.storage import write_whole


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """What is looked for, and where."""

    table: Path
    query: str
    """Name of an image in the table, else an image file."""
    top: int
    """How many to find."""
    sheet: Path | None
    """PNG file to draw; none = beside the table."""
    images: str | None
    """Where the table's images lie now; none = where they lay when it was written."""


def look_up(config: RunConfig, wanted: Lookup) -> Path:
    """Print the nearest images and draw them; returns the place of the drawing.

    A query from the table is left out of what is found.

    Raises:
        ValueError: the query is neither a file nor a name, an image is not where it was, or the model is another than
            the table's.
    """
    table = DescriptorTable(wanted.table)
    pictures = _Pictures(config, table, wanted.images or table.origin.images)
    rows = table.find(wanted.query)
    if len(rows) > 1:
        choices = ", ".join(f"{table.row(row)['split']}/{wanted.query}" for row in rows)
        raise DataError(f"the name {wanted.query} stands for {len(rows)} images: give one of {choices}")
    if rows:
        (own,) = rows
        query_HW3, query_D, pid = pictures.of_row(own), table.descriptor(own), table.row(own)["pid"]
    else:
        own, pid = None, None
        query_HW3 = pictures.of_file(wanted.query, f"neither a name in {table.path} nor an image file")
        query_D = _describe(config, table, query_HW3)
    found = nearest(query_D, table.blocks(), wanted.top, without=own)
    labels = [table.row(row) for row in found.rows_K]
    _show(wanted.query, labels, found.distances_K)
    items = [
        Found(image_HW3=pictures.of_row(row), name=label["name"], pid=label["pid"], distance=distance)
        for row, label, distance in zip(found.rows_K, labels, found.distances_K, strict=True)
    ]
    sheet = wanted.sheet or table.path.with_name(f"{table.path.stem}-{Path(wanted.query).stem}.png")
    title = f"The {len(items)} of {len(table):,} images that are nearest to {Path(wanted.query).name}"
    try:
        write_whole(sheet, contact_sheet(query_HW3, title, pid, items))
    except OSError as error:
        raise DataError(f"{sheet} cannot be written ({error}): choose another --sheet") from error
    say_result(f"sheet: {sheet}")
    return sheet


class _Pictures:
    """Images at the model's size: uint8 H × W × 3."""

    def __init__(self, config: RunConfig, table: DescriptorTable, images: str) -> None:
        self._size = (table.origin.height, table.origin.width)
        self._table, self._images = table, images
        self._store = open_store(images, config.storage) if table.origin.kind == "store" else None

    def of_row(self, row: int) -> NDArray[np.uint8]:
        label = self._table.row(row)
        if self._store is None:
            file = image_place(Path(self._images), label["name"])
            return self.of_file(str(file), "not there any more: say with --images where the table's images lie now")
        split = self._store.splits.get(label["split"] or "")
        place = self._table.place_in_split(row)
        if split is None or place >= len(split) or split.names[place] != label["name"]:
            raise DataError(f"{self._images} is another store than the one that {self._table.path} was written from")
        return split.gather([place])[0].numpy()

    def of_file(self, file: str, complaint: str) -> NDArray[np.uint8]:
        if not os.path.isfile(file):
            raise DataError(f"the image {file} is {complaint}")
        try:
            return np.asarray(resized(load_image(Path(file)), self._size))
        except UnreadableImageError as error:
            raise DataError(f"{error}: choose another image") from error


def _describe(config: RunConfig, table: DescriptorTable, image_HW3: NDArray[np.uint8]) -> Tensor:
    """The descriptor of an image by the table's model."""
    origin, device = table.origin, torch.device("cpu")
    if descriptor_of(load_describer(origin.checkpoint, config, device), config).digest() != origin.digest:
        raise DataError(
            f"{origin.checkpoint} holds another model than the one that {table.path} was written with: write it anew"
        )
    extractor = Extractor(config, origin.checkpoint, origin.images, device)
    return extractor.describe(torch.from_numpy(np.array(image_HW3))[None])[0]


def _show(query: str, labels: list[RowLabels], distances: list[float]) -> None:
    shown = Table("", "distance", "name", "split", "pid", "camid", title=f"nearest to {query}")
    for rank, (label, distance) in enumerate(zip(labels, distances, strict=True), start=1):
        texts = ("" if label[key] is None else str(label[key]) for key in ("name", "split", "pid", "camid"))
        shown.add_row(str(rank), f"{distance:.4f}", *texts)
    show_table(shown)
