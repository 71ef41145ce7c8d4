"""Who stands where on the sheet, read back from its pixels."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor

from reid.data import Split, prepare
from reid.pictures import identities_picture
from reid.pictures.sheet import FAINT, PALE

SEEN = [(2, 1, 40), (2, 1, 60), (2, 3, 80), (5, 2, 100), (0, 2, 120), (7, 3, 140)]
"""Identity, camera, and the blue of the image; 0 is a distractor."""


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("people")
    rows = ["path,split,pid,camid"]
    people = [("gallery", *one) for one in SEEN]
    for number, (split, pid, camera, blue) in enumerate(
        [("train", 9, 1, 0), ("train", 9, 2, 0), ("query", 2, 2, 0), *people]
    ):
        Image.new("RGB", (16, 32), (255, 0, blue)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{split},{pid},{camera}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return prepare("folder", folder, folder.parent / "store", height=32, width=16).splits["gallery"]


def corners(sheet_HW3: NDArray[np.uint8], colour: tuple[int, ...]) -> tuple[int, int] | None:
    places = np.argwhere((sheet_HW3 == colour).all(axis=2))
    return tuple(places.min(axis=0).tolist()) if len(places) else None


def test_first_images_stand_in_the_row_of_their_identity_and_the_column_of_their_camera(gallery: Split) -> None:
    sheet_HW3 = np.asarray(Image.open(BytesIO(identities_picture(gallery, "people", aspect=0.5))).convert("RGB"))
    places = {blue: corners(sheet_HW3, (255, 0, blue)) for _, _, blue in SEEN}
    assert places[60] is None, "another of the same person and camera"
    assert places[120] is None, "a distractor"
    shown = {blue: place for blue, place in places.items() if place}
    rows, columns = (sorted({place[axis] for place in shown.values()}) for axis in (0, 1))
    assert {blue: (rows.index(y), columns.index(x)) for blue, (y, x) in shown.items()} == {
        40: (0, 0),
        80: (0, 2),
        100: (1, 1),
        140: (2, 2),
    }


def test_a_cell_without_an_image_says_so(gallery: Split) -> None:
    sheet_HW3 = np.asarray(Image.open(BytesIO(identities_picture(gallery, "people", aspect=0.5))).convert("RGB"))
    pale = (sheet_HW3 == ImageColor.getrgb(PALE)).all(axis=2)
    framed = (sheet_HW3 == ImageColor.getrgb(FAINT)).all(axis=2)
    cell = (128 + 8) * (64 + 8)
    assert 0.85 * 5 * cell < pale.sum() < 5 * cell, "five cells, less the words in them"
    assert framed.sum() >= 4 * (cell - 128 * 64)
