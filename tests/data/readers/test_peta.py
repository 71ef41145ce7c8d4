import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reid.config import load_manifest
from reid.config.manifests import SplitCounts
from reid.data import DataError
from reid.data.readers import READERS, Records
from reid.data.readers.peta import SUBSETS

PETA = load_manifest("peta").model_copy(update={"counts": None})


def read(source: Path) -> dict[str, Records]:
    return READERS["peta"](source, PETA, (256, 128))


def label(splits: dict[str, Records], prefix: str, name: str) -> str:
    """The one class of an attribute of all images whose name begins so."""
    column = [attribute.name for attribute in PETA.attributes].index(name)
    labels = {
        int(records.attributes_NA[row, column])
        for records in splits.values()
        for row, image in enumerate(records.names)
        if image.startswith(prefix)
    }
    assert len(labels) == 1
    value = labels.pop()
    return "missing" if value == -1 else PETA.attributes[column].classes[value]


def test_all_images_of_all_formats_are_read_once(peta: Path) -> None:
    splits = read(peta)
    names = sorted(name for records in splits.values() for name in records.names)
    images = sorted(
        path.relative_to(peta).as_posix().replace("/archive", "")
        for path in peta.rglob("*")
        if path.suffix in (".bmp", ".jpg", ".jpeg", ".png")
    )
    assert names == images
    assert len(names) == 9 * 6 + 4
    assert {Path(name).suffix for name in names} == {".bmp", ".jpg", ".jpeg", ".png"}


def test_the_split_is_disjoint_and_whole_identities(peta: Path) -> None:
    splits = read(peta)
    pids = {split: set(records.pids_N.tolist()) for split, records in splits.items()}
    assert len(pids["train"]) == 9, "half of the 18 people with several images"
    assert len(pids["query"]) == len(splits["query"]) == 9
    assert pids["query"] <= pids["gallery"]
    assert not pids["train"] & pids["gallery"]
    assert len(pids["gallery"] - pids["query"]) == 9 + 4, "people with one image are distractors"
    assert not any(name.startswith("CUHK/") for name in splits["train"].names)


def test_the_split_depends_on_the_images_alone(peta: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(peta.rglob("*.bmp"), reverse=True)):  # another order in the folder
        path.rename(tmp_path / f"{number}.bmp")
        (tmp_path / f"{number}.bmp").rename(path)
    shutil.copytree(peta, tmp_path / "copy")
    assert {split: records.names for split, records in read(peta).items()} == {
        split: records.names for split, records in read(tmp_path / "copy").items()
    }


def test_labels_become_the_attributes_of_table_1(peta: Path) -> None:
    splits = read(peta)
    expected = {
        "gender": ("male", "female", "female"),
        "hair": ("short", "long", "missing"),
        "age": ("up_to_30", "over_60", "up_to_45"),
        "sleeve_length": ("long", "short", "missing"),
        "lower_type": ("pants", "dress", "missing"),  # the third wears both
        "hat": ("no", "yes", "no"),
        "backpack": ("yes", "no", "no"),
        "bag": ("no", "yes", "no"),
        "upper_colour": ("missing", "red", "missing"),  # the first wears two
        "lower_colour": ("blue", "pink", "missing"),
        "shoes_colour": ("white", "black", "missing"),
        "boots": ("no", "yes", "no"),
    }
    assert list(expected) == [attribute.name for attribute in PETA.attributes]
    for name, classes in expected.items():
        for subset in SUBSETS:
            assert tuple(label(splits, f"{subset}/000{person}", name) for person in (1, 2, 3)) == classes


@pytest.mark.parametrize("name", ["peta", "peta35"])
def test_every_field_is_a_label_of_peta(name: str) -> None:
    colours = ["Black", "Blue", "Brown", "Green", "Grey", "Orange", "Pink", "Purple", "Red", "White", "Yellow"]
    published = {f"{part}{colour}" for part in ("upperBody", "lowerBody", "footwear", "hair") for colour in colours} | {
        *(f"personal{kind}" for kind in ("Male", "Female", "Less15", "Less30", "Less45", "Less60", "Larger60")),
        *(f"hair{kind}" for kind in ("Bald", "Long", "Short")),
        *(f"upperBody{kind}Sleeve" for kind in ("Long", "No", "Short")),
        *(f"lowerBody{kind}" for kind in ("Capri", "HotPants", "Jeans", "LongSkirt", "Shorts", "ShortSkirt")),
        *(f"lowerBody{kind}" for kind in ("Casual", "Formal", "Suits", "Trousers")),
        *(f"upperBody{kind}" for kind in ("Casual", "Formal", "Jacket", "Logo", "Other", "Plaid", "ThinStripes")),
        *("upperBodyTshirt", "upperBodyVNeck"),
        *(f"accessory{kind}" for kind in ("Hat", "Muffler", "Nothing", "Sunglasses")),
        *(f"carrying{kind}" for kind in ("Backpack", "LuggageCase", "MessengerBag", "PlasticBags", "Suitcase")),
        *("carryingNothing", "carryingOther"),
        *(f"footwear{kind}" for kind in ("Boots", "LeatherShoes", "Sandals", "Shoes", "Sneaker", "Sneakers")),
    }
    attributes = load_manifest(name).attributes
    assert {label for attribute in attributes for field in attribute.fields for label in field.split("|")} <= published


def test_the_labels_of_attribute_recognition_are_absent_or_present(peta: Path) -> None:
    manifest = load_manifest("peta35").model_copy(update={"counts": None})
    splits = READERS["peta"](peta, manifest, (256, 128))
    worn = {}
    for records in splits.values():
        for name, classes in zip(records.names, records.attributes_NA, strict=True):
            labels = zip(manifest.attributes, classes, strict=True)
            worn[name] = {attribute.name for attribute, label in labels if attribute.classes[label] == "yes"}
    assert worn["CUHK/0003.png"] == {"personal_less_45", "lower_body_trousers", "carrying_nothing"}
    assert worn["MIT/0001_0.jpg"] == worn["MIT/0001_1.jpg"] == {
        "personal_male", "personal_less_30", "lower_body_jeans", "lower_body_casual", "footwear_sneaker",
        "carrying_backpack", "accessory_nothing",
    }  # fmt: skip
    assert all((records.attributes_NA >= 0).all() for records in splits.values())
    assert {split: records.names for split, records in splits.items()} == {
        split: records.names for split, records in read(peta).items()
    }, "the split does not depend on the attributes"


def test_several_lines_about_one_person_are_united(peta: Path) -> None:
    with (peta / "MIT" / "archive" / "Label.txt").open("a") as file:
        file.write("0001 accessoryHat upperBodyBlack\n0003 upperBodyGreen\n")
    splits = read(peta)
    assert label(splits, "MIT/0001", "hat") == "yes"
    assert label(splits, "MIT/0001", "backpack") == "yes"
    assert label(splits, "MIT/0003", "upper_colour") == "green"


def test_the_same_key_in_two_subsets_is_two_people(peta: Path) -> None:
    splits = read(peta)
    pids = {
        name.rpartition("_")[0].partition("_")[0]: int(pid)
        for records in splits.values()
        for name, pid in zip(records.names, records.pids_N, strict=True)
        if not name.startswith("CUHK")
    }
    assert len(set(pids.values())) == len(pids) == 27


def test_counts_are_checked_by_subset(peta: Path) -> None:
    counts = {subset: SplitCounts(images=4 if subset == "CUHK" else 6, identities=None) for subset in SUBSETS}
    READERS["peta"](peta, PETA.model_copy(update={"counts": counts}), (256, 128))
    (peta / "VIPeR" / "archive" / "0002_2.bmp").unlink()
    with pytest.raises(DataError, match="VIPeR has 5 images of 3 identities instead of 6"):
        READERS["peta"](peta, PETA.model_copy(update={"counts": counts}), (256, 128))


def test_the_published_counts_add_up() -> None:
    counts = load_manifest("peta").counts
    assert counts is not None
    assert tuple(counts) == SUBSETS
    assert np.sum([expected.images for expected in counts.values()]) == 19000


def no_subset(peta: Path) -> None:
    shutil.rmtree(peta / "GRID")


def no_labels(peta: Path) -> None:
    (peta / "GRID" / "archive" / "Label.txt").unlink()


def unlabelled_image(peta: Path) -> None:
    (peta / "CUHK" / "archive" / "0001.png").rename(peta / "CUHK" / "archive" / "0009.png")


def other_labels(peta: Path) -> None:
    for path in peta.rglob("Label.txt"):
        path.write_text(path.read_text().replace("footwearBoots", "boots"))


def binary_labels(peta: Path) -> None:
    (peta / "MIT" / "archive" / "Label.txt").write_bytes(b"\xff\xfe\x00")


def nobody_seen_twice(peta: Path) -> None:
    for path in peta.glob("*/archive/000[12]_*"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (no_subset, "lacks GRID/archive/"),
        (no_labels, "Label.txt"),
        (unlabelled_image, "says nothing about 0009.png"),
        (other_labels, "no Label.txt names footwearBoots, which boots is read from"),
        (binary_labels, "is no text"),
        (nobody_seen_twice, "has no images of train, query"),
    ],
)
def test_what_is_wrong_is_named(peta: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(peta)
    with pytest.raises(DataError) as error:
        read(peta)
    assert said in str(error.value)
    assert str(peta) in str(error.value)
