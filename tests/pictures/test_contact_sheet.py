"""What stands where on a contact sheet, read back from its pixels."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor

from reid.pictures.contact_sheet import COLUMNS, Found, contact_sheet
from reid.pictures.retrieval import MATCH, MISTAKE


def flat(blue: int) -> NDArray[np.uint8]:
    """An image of a colour that nothing else on the sheet has."""
    return np.broadcast_to(np.array([255, 0, blue], np.uint8), (64, 32, 3))


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def corner(sheet_HW3: NDArray[np.uint8], blue: int) -> list[int]:
    """Row and column of the upper left corner of an image."""
    corner_2: list[int] = np.argwhere((sheet_HW3 == (255, 0, blue)).all(axis=2)).min(axis=0).tolist()
    return corner_2


def columns_of(sheet_HW3: NDArray[np.uint8], colour: str) -> int:
    """Number of separate runs of columns that have the colour of a frame along their whole height."""
    of_colour = (sheet_HW3 == ImageColor.getrgb(colour)).all(axis=2).sum(axis=0) > 300
    return int((np.diff(of_colour.astype(int), prepend=0) == 1).sum())


def found(pids: list[int | None]) -> list[Found]:
    return [
        Found(image_HW3=flat(40 + place), name=f"a/very/long/name/of/an/image_{place}.jpg", pid=pid, distance=place / 9)
        for place, pid in enumerate(pids)
    ]


def test_images_stand_in_their_order_and_frames_tell_identities_apart() -> None:
    sheet_HW3 = pixels(contact_sheet(flat(200), "title", 7, found([7, 8, None])))
    firsts = [corner(sheet_HW3, blue)[1] for blue in (200, 40, 41, 42)]
    assert firsts == sorted(firsts)
    assert columns_of(sheet_HW3, MATCH) == 2  # left and right of one image
    assert columns_of(sheet_HW3, MISTAKE) == 2


def test_without_a_known_identity_no_frame_claims_one() -> None:
    sheet_HW3 = pixels(contact_sheet(flat(200), "title", None, found([7, 8])))
    assert not (sheet_HW3 == ImageColor.getrgb(MATCH)).all(axis=2).any()
    assert not (sheet_HW3 == ImageColor.getrgb(MISTAKE)).all(axis=2).any()


@pytest.mark.parametrize("count", [1, COLUMNS, COLUMNS + 1, 3 * COLUMNS])
def test_many_images_take_more_rows(count: int) -> None:
    sheet_HW3 = pixels(contact_sheet(flat(200), "title", None, found([None] * count)))
    tops = {corner(sheet_HW3, 40 + place)[0] for place in range(count)}
    assert len(tops) == -(-count // COLUMNS)
