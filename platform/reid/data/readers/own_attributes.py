"""Attributes of a user's own images: those that the manifest declares, or columns of few classes.

Legend: N images, A attributes.
"""

import re

import numpy as np
from numpy.typing import NDArray
from torch import nn

from reid.config import Attribute, Manifest
from reid.data.readers.checks import some_of
from reid.data.readers.listing import Listing, Problems, in_order, shown
from reid.progress import say

MISSING = -1
MOST_CLASSES = 20
LONGEST_CLASS = 64
LONGEST_NAME = 64


def declares(manifest: Manifest) -> bool:
    """Whether the manifest says which attributes there are, perhaps none."""
    return "attributes" in manifest.model_fields_set


def declared_classes(listing: Listing, manifest: Manifest, problems: Problems) -> NDArray[np.int8]:
    """N × A classes of the manifest's attributes; a cell that names none of them goes to `problems`."""
    classes_NA = np.full((len(listing), len(manifest.attributes)), MISSING, np.int8)
    for column, attribute in enumerate(manifest.attributes):
        field = attribute.fields[0]
        class_of = {name: number for number, name in enumerate(attribute.classes)} | {"": MISSING}
        for row, cell in enumerate(listing.columns.get(field, ())):
            if cell not in class_of:
                expected = ", ".join(attribute.classes)
                problems.of_row(listing, row, f"invalid {field} {shown(cell)}, expected one of {expected}, or nothing")
            classes_NA[row, column] = class_of.get(cell, MISSING)
    return classes_NA


def found_classes(listing: Listing, train: NDArray[np.int64]) -> tuple[tuple[Attribute, ...], NDArray[np.int8]]:
    """Every column of few classes as an attribute, and the N × A classes.

    The classes are the values of the training images, of which there are half as many as images at most; a value that
    no training image has is missing. Nothing says which part of the body shows an attribute: the whole of it does.

    Args:
        train: rows of the training images.
    """
    attributes: list[Attribute] = []
    names: set[str] = set()
    columns: list[NDArray[np.int8]] = []
    told: list[str] = []
    left_out: list[str] = []
    for header, cells in listing.columns.items():
        values = [cells[row] for row in train if cells[row]]
        classes = in_order(values)
        if not (2 <= len(classes) <= MOST_CLASSES and 2 * len(classes) <= len(values) and all(map(_is_class, classes))):
            left_out.append(f"{shown(header)} ({len(classes):,} values)")
            continue
        name = _name(header, names, len(attributes))
        names.add(name)
        attributes.append(Attribute(name=name, classes=tuple(classes), fields=(header,)))
        class_of = {value: number for number, value in enumerate(classes)}
        columns.append(np.array([class_of.get(cell, MISSING) for cell in cells], np.int8))
        unseen = sum(bool(cell) and cell not in class_of for cell in cells)
        without = f", and {unseen:,} labels that no training image has count as missing" if unseen else ""
        told.append(f"{name} ({', '.join(classes)}{without})")
    if told:
        say(f"{listing.place}: attributes are {some_of(told)}")
    if left_out:
        say(
            f"{listing.place}: no attributes are the columns {some_of(left_out)}: these have 2 to {MOST_CLASSES} "
            "values, each of two training images on average"
        )
    classes_NA = np.stack(columns, axis=1) if columns else np.empty((len(listing), 0), np.int8)
    return tuple(attributes), classes_NA


def _is_class(value: str) -> bool:
    return len(value) <= LONGEST_CLASS and value.isprintable()


def _name(header: str, taken: set[str], number: int) -> str:
    """A name that an attribute may have, after that of its column."""
    name = re.sub("[^a-z0-9]+", "_", header.casefold()).strip("_")[:LONGEST_NAME]
    if not name or not name[0].isalpha():
        name = f"column_{name or number}"
    if hasattr(nn.ModuleDict(), name):  # the classifiers are kept in one, by the attributes' names
        name += "_"
    while name in taken:
        name += "_"
    return name
