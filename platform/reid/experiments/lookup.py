"""Finds the nearest of a table's images to one image, and draws them."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from reid.config import RunConfig
from reid.data import DataError, DescriptorTable, RowLabels, TableImages, UnreadableImageError, pixels_of
from reid.evaluation import nearest
from reid.inference import load_model_of
from reid.pictures import Found, contact_sheet
from reid.progress import say_result, show_table
from reid.storage import Place, Storage


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """What is looked for, and where."""

    table: Place
    query: str
    """Name of an image in the table, else an image file."""
    top: int
    """How many to find."""
    sheet: Place | None
    """PNG file to draw; none = beside the table."""
    images: str | None
    """Where the table's images lie now; none = where they lay when it was written."""


def look_up(config: RunConfig, wanted: Lookup) -> Place:
    """Print the nearest images and draw them; returns the place of the drawing.

    A query from the table is left out of what is found.

    Raises:
        ValueError: the query is neither a file nor a name, an image is not where it was, or the model is another than
            the table's.
    """
    table = DescriptorTable(wanted.table)
    images = TableImages(table, wanted.images, Storage.of(config))
    rows = table.find(wanted.query)
    if len(rows) > 1:
        choices = ", ".join(f"{table.row(row)['split']}/{wanted.query}" for row in rows)
        raise DataError(f"the name {wanted.query} stands for {len(rows)} images: give one of {choices}")
    if rows:
        (own,) = rows
        query_HW3, query_D, pid = images[own], table.descriptor(own), table.row(own)["pid"]
    else:
        own, pid = None, None
        query_HW3 = _pixels(table, wanted.query)
        query_D = load_model_of(table, config).describe_pixels(torch.from_numpy(np.array(query_HW3))[None])[0]
    found = nearest(query_D[None], table.blocks(), wanted.top, without=own)
    rows_K, distances_K = found.rows_QK[0].tolist(), found.distances_QK[0].tolist()
    labels = table.rows(rows_K)
    _show(wanted.query, labels, distances_K)
    items = [
        Found(image_HW3=images[row], name=label["name"], pid=label["pid"], distance=distance)
        for row, label, distance in zip(rows_K, labels, distances_K, strict=True)
    ]
    sheet = wanted.sheet or table.path.parent / f"{Path(table.path.name).stem}-{Path(wanted.query).stem}.png"
    title = f"The {len(items)} of {len(table):,} images that are nearest to {Path(wanted.query).name}"
    try:
        sheet.write(contact_sheet(query_HW3, title, pid, items))
    except OSError as error:
        raise DataError(f"{sheet} cannot be written ({error}): choose another --sheet") from error
    say_result(f"sheet: {sheet}")
    return sheet


def _pixels(table: DescriptorTable, file: str) -> NDArray[np.uint8]:
    """An image file at the size of the table's model."""
    if not os.path.isfile(file):
        raise DataError(f"the image {file} is neither a name in {table.path} nor an image file")
    try:
        return pixels_of(file, (table.origin.height, table.origin.width))
    except UnreadableImageError as error:
        raise DataError(f"{error}: choose another image") from error


def _show(query: str, labels: list[RowLabels], distances: list[float]) -> None:
    shown = Table("", "distance", "name", "split", "pid", "camid", title=f"nearest to {query}")
    for rank, (label, distance) in enumerate(zip(labels, distances, strict=True), start=1):
        texts = ("" if label[key] is None else str(label[key]) for key in ("name", "split", "pid", "camid"))
        shown.add_row(str(rank), f"{distance:.4f}", *texts)
    show_table(shown)
