"""`market_attribute.mat`: the attributes of every identity, laid out as in the file of Lin et al.

Yutian Lin et al., "Improving Person Re-identification by Attribute and Identity Learning", Pattern Recognition 2019.
"""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from reid.embedded.people import LONG_HAIR, Person
from reid.embedded.textiles import TWO_COLOURED

# The original lists its fields in a different order in the two splits; readers must go by name.
FIELDS: dict[str, tuple[str, ...]] = {
    "test": (
        "age", "backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender",
        "upblack", "upwhite", "upred", "uppurple", "upyellow", "upgray", "upblue", "upgreen",
        "downblack", "downwhite", "downpink", "downpurple", "downyellow", "downgray", "downblue", "downgreen",
        "downbrown", "image_index",
    ),
    "train": (
        "age", "backpack", "bag", "handbag",
        "downblack", "downblue", "downbrown", "downgray", "downgreen", "downpink", "downpurple", "downwhite",
        "downyellow", "upblack", "upblue", "upgreen", "upgray", "uppurple", "upred", "upwhite", "upyellow",
        "clothes", "down", "up", "hair", "hat", "gender", "image_index",
    ),
}  # fmt: skip


def attributes_of(person: Person) -> dict[str, int]:
    """Attribute values of one person by field name: 1/2, age 1..4.

    A garment without a dominant colour, or of a colour outside the original's list, has no colour field set to 2.
    """
    values = {
        "age": person.age,
        "backpack": 1 + (person.backpack is not None),
        "bag": 1 + (person.bag is not None),
        "handbag": 1 + (person.handbag is not None),
        "clothes": 2 if person.lower == "trousers" else 1,
        "down": 1 if person.long_lower else 2,
        "up": 1 if person.long_sleeves else 2,
        "hair": 1 + (person.hair in LONG_HAIR),
        "hat": 1 + (person.hat is not None),
        "gender": 1 + person.female,
    }
    two_coloured = person.pattern in TWO_COLOURED
    worn = {
        "up": None if two_coloured else person.upper_colour,
        "down": None if two_coloured and person.lower == "dress" else person.lower_colour,
    }
    for field in FIELDS["test"]:
        for garment, colour in worn.items():
            if field.startswith(garment) and field != garment:
                values[field] = 1 + (field == f"{garment}{colour}")
    return values


def encode_attributes(identities: Mapping[str, Mapping[int, Person]]) -> bytes:
    """The .mat file's bytes, the same on every run. `identities`: split → pid → person."""
    root = {split: _encode_split(FIELDS[split], identities[split]) for split in FIELDS}
    buffer = io.BytesIO()
    savemat(buffer, {"market_attribute": root})  # type: ignore[arg-type]  # the stubs know paths only
    header = b"MATLAB 5.0 MAT-file, rendered by reid".ljust(116)  # scipy would write the time of day
    return header + buffer.getvalue()[len(header) :]


def _encode_split(fields: tuple[str, ...], people: Mapping[int, Person]) -> dict[str, NDArray[np.generic]]:
    rows = [attributes_of(person) for person in people.values()]
    names = np.empty((1, len(people)), dtype=object)
    names[0] = [f"{pid:04d}" for pid in people]
    columns: dict[str, NDArray[np.generic]] = {
        field: np.array([[row[field] for row in rows]], np.uint8) for field in fields if field != "image_index"
    }
    return {field: names if field == "image_index" else columns[field] for field in fields}
