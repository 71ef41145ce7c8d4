"""Attributes of a user's own images, without a manifest that declares them."""

from pathlib import Path

import pytest

from reid.config import LAYOUTS, load_manifest
from reid.data import prepare
from reid.data.readers import READERS, Records

TABLE = """path,pid,split,Hat,Coat colour,type,frame,note
1.jpg,a,train,yes,red,x,1,same
2.jpg,a,train,no,10,y,2,same
3.jpg,b,train,yes,9,x,3,same
4.jpg,b,train,,red,y,4,same
5.jpg,b,train,no,9,x,5,same
6.jpg,b,train,no,10,y,6,same
7.jpg,c,query,fedora,,x,7,same
8.jpg,c,gallery,yes,blue,y,8,other
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(1, 9):
        (tmp_path / f"{number}.jpg").touch()
    (tmp_path / "labels.csv").write_text(TABLE)
    return tmp_path


def read(folder: Path) -> dict[str, Records]:
    return READERS["folder_csv"](folder, load_manifest("folder", folder), (32, 16))


def test_columns_of_few_classes_are_attributes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = read(folder)
    said = capsys.readouterr().out
    attributes = splits["train"].attributes
    assert attributes is not None
    assert {attribute.name: attribute.classes for attribute in attributes} == {
        "hat": ("no", "yes"),
        "coat_colour": ("10", "9", "red"),
        "type_": ("x", "y"),
    }
    assert splits["train"].attributes_NA.tolist() == [
        [1, 2, 0], [0, 0, 1], [1, 1, 0], [-1, 2, 1], [0, 1, 0], [0, 0, 1]
    ]  # fmt: skip
    assert splits["query"].attributes_NA.tolist() == [[-1, -1, 0]]
    assert splits["gallery"].attributes_NA.tolist() == [[1, -1, 1]]
    assert "attributes are hat (no, yes, and 1 labels that no training image has count as missing)" in said
    assert "no attributes are the columns 'frame' (6 values), 'note' (1 values)" in said


def test_classes_that_are_numbers_are_in_the_order_of_their_values(folder: Path) -> None:
    (folder / "labels.csv").write_text(TABLE.replace("red", "100"))
    attributes = read(folder)["train"].attributes
    assert attributes is not None
    assert attributes[1].classes == ("9", "10", "100")


def test_the_whole_body_shows_them(folder: Path) -> None:
    attributes = read(folder)["train"].attributes
    assert attributes is not None
    regions = {attribute.name: attribute.region for attribute in attributes}
    assigned = LAYOUTS["six_parts"].attributes_of_parts(regions)
    assert assigned.pop("plenary") == ("hat", "coat_colour", "type_")
    assert not any(assigned.values())


def test_a_manifest_may_say_that_there_are_none(folder: Path) -> None:
    (folder / "manifest.yaml").write_text("attributes: []\n")
    splits = read(folder)
    assert splits["train"].attributes is None
    assert splits["train"].attributes_NA.shape == (6, 0)


def test_names_that_no_attribute_may_have_are_made_such(folder: Path) -> None:
    header = "path,pid,split,2nd hat!,帽子,keys,frame,note"
    (folder / "labels.csv").write_text(TABLE.replace(TABLE.splitlines()[0], header))
    attributes = read(folder)["train"].attributes
    assert attributes is not None
    assert [attribute.name for attribute in attributes] == ["column_2nd_hat", "column_1", "keys_"]


def test_a_store_has_them(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from PIL import Image

    for number in range(1, 9):
        Image.new("RGB", (8, 16), (9 * number, 0, 0)).save(folder / f"{number}.jpg")
    dataset = prepare("folder", folder, tmp_path_factory.mktemp("stores") / "store", height=32, width=16)
    assert list(dataset.attributes) == ["hat", "coat_colour", "type_"]
    assert dataset.splits["gallery"].attributes_NA.tolist() == [[1, -1, 1]]
