from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

from reid.config import Attribute, Manifest, load_manifest
from reid.config.body import LAYOUTS
from reid.config.manifests import AttributeProtocol, manifest_folder
from reid.data import DataError
from reid.data.readers import READERS
from reid.evaluation import ATTRIBUTE_PROTOCOLS

NAMES = sorted(path.stem for path in manifest_folder().glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_manifest_is_complete_and_names_what_exists(name: str) -> None:
    manifest = load_manifest(name)
    assert manifest.name == name
    assert manifest.reader in READERS
    assert manifest.layout is None or manifest.layout in LAYOUTS
    assert all((manifest.title, manifest.citation, manifest.url, manifest.licence))


@pytest.mark.parametrize("name", [name for name in NAMES if load_manifest(name).attributes])
def test_every_part_of_the_default_layout_has_an_attribute(name: str) -> None:
    manifest = load_manifest(name)
    assert manifest.layout is not None
    regions = {attribute.name: attribute.region for attribute in manifest.attributes}
    assigned = LAYOUTS[manifest.layout].attributes_of_parts(regions)
    assert [part for part, names in assigned.items() if not names] == ["plenary"]


def test_the_embedded_benchmark_has_market1501s_format() -> None:
    ours, theirs = load_manifest("embedded"), load_manifest("market1501")
    shared = ("reader", "file_name", "cameras", "image_height", "image_width", "layout", "attributes",
              "attribute_protocol")  # fmt: skip
    assert all(getattr(ours, field) == getattr(theirs, field) for field in shared)
    assert ours.counts is None


TABLE_1 = {
    "market1501": "gender hair L.slv L.low T.low hat B.pack bag H.bag age C.up C.low",
    "dukemtmc": "gender L.up hat B.pack H.bag age C.up C.low C.shoes boots",
    "peta": "gender hair L.slv L.up T.low hat B.pack bag age C.up C.low C.shoes boots",
}
"""What the paper's Table I ticks for each dataset, in its own abbreviations."""
OURS = {
    "gender": ("gender", "head"),
    "hair": ("hair", "head"),
    "L.slv": ("sleeve_length", "upper_arm"),
    "L.low": ("lower_length", "lower_leg"),
    "L.up": ("upper_length", "upper_arm"),
    "T.low": ("lower_type", "upper_leg"),
    "hat": ("hat", "head"),
    "B.pack": ("backpack", "upper_body"),
    "bag": ("bag", "upper_body"),
    "H.bag": ("handbag", "lower_arm"),
    "age": ("age", "head"),
    "C.up": ("upper_colour", "upper_body"),
    "C.low": ("lower_colour", "upper_leg"),
    "C.shoes": ("shoes_colour", "lower_leg"),
    "boots": ("boots", "lower_leg"),
}
"""Our name of each column, and the region that shows it: the paper names six regions, and leaves this to the reader."""
NOT_IN_THE_ANNOTATION = {"dukemtmc": {"age"}, "peta": {"L.up"}}
"""Ticked, but nobody has annotated it."""
NOT_IN_THE_TABLE = {"dukemtmc": {"bag"}}
"""Annotated and not ticked: one tick of Duke's ten stands in a wrong column, since ten are annotated."""
OTHER_REGIONS = {"peta": {"bag": "lower_arm"}}
"""PETA's bags are carried in the hand, and it has no handbag."""


@pytest.mark.parametrize("name", TABLE_1)
def test_the_attributes_are_those_of_table_1(name: str) -> None:
    ticked = set(TABLE_1[name].split())
    assert ticked <= OURS.keys()
    columns = ticked - NOT_IN_THE_ANNOTATION.get(name, set()) | NOT_IN_THE_TABLE.get(name, set())
    expected = dict(OURS[column] for column in columns) | OTHER_REGIONS.get(name, {})
    assert {attribute.name: attribute.region for attribute in load_manifest(name).attributes} == expected


def test_market1501_has_the_order_and_the_classes_of_the_published_predictions() -> None:
    assert [(attribute.name, len(attribute.classes)) for attribute in load_manifest("market1501").attributes] == [
        ("gender", 2), ("hair", 2), ("age", 4), ("sleeve_length", 2), ("lower_length", 2), ("lower_type", 2),
        ("hat", 2), ("backpack", 2), ("bag", 2), ("handbag", 2), ("upper_colour", 8), ("lower_colour", 9),
    ]  # fmt: skip


def test_peta35_has_the_labels_of_attribute_recognition() -> None:
    labels = {
        "accessory": "Hat Muffler Nothing Sunglasses",
        "hair": "Long",
        "upperBody": "Casual Formal Jacket Logo Plaid ShortSleeve ThinStripes Tshirt Other VNeck",
        "lowerBody": "Casual Formal Jeans Shorts ShortSkirt Trousers",
        "footwear": "LeatherShoes Sandals Shoes Sneaker",
        "carrying": "Backpack Other MessengerBag Nothing PlasticBags",
        "personal": "Less30 Less45 Less60 Larger60 Male",
    }
    manifest = load_manifest("peta35")
    fields = [attribute.fields[0].rpartition("|")[2] for attribute in manifest.attributes]
    assert fields == [f"{where}{what}" for where, listed in labels.items() for what in listed.split()]
    assert len(fields) == 35
    assert {(len(attribute.fields), *attribute.classes) for attribute in manifest.attributes} == {(1, "no", "yes")}
    shared = ("title", "url", "licence", "reader", "file_name", "cameras", "counts")
    assert all(getattr(manifest, field) == getattr(load_manifest("peta"), field) for field in shared)


def test_attributes_are_scored_as_their_figures_are_published() -> None:
    protocols = {name: load_manifest(name).attribute_protocol for name in NAMES if load_manifest(name).attributes}
    assert protocols == {
        "dukemtmc": "labelled", "embedded": "market", "market1501": "market", "peta": "labelled", "peta35": "peta",
    }  # fmt: skip
    assert set(get_args(AttributeProtocol)) == ATTRIBUTE_PROTOCOLS.keys()


def test_images_are_stored_at_native_size_where_there_is_one() -> None:
    assert load_manifest("market1501").stored_size(256, 128) == (128, 64)
    assert load_manifest("coco").stored_size(256, 128) == (256, 128)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        DataError,
        match=r"invalid dataset 'market', expected one of coco, coco_whole, .*, msmt17, peta, peta35",
    ):
        load_manifest("market")


@pytest.mark.parametrize("text", ["- a list", "title: [unclosed", "title: only a title", "cameras: 6\nunknown: 1"])
def test_a_malformed_manifest_is_named(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid.config.manifests.manifest_folder", lambda: tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(DataError, match=r"mine\.yaml is malformed"):
        load_manifest("mine")


@pytest.mark.parametrize(
    "change",
    [
        {"image_width": None},
        {"attribute_protocol": "peta"},
        {"attribute_protocol": "official"},
        {"file_name": r"^(\d+)_c(\d)"},
        {"keypoints": "../joints.json"},
        {"keypoints": "labels/joints.json"},
        {"keypoints": "/joints.json"},
        {"keypoints": ".."},
        {"textures": {"folder": "../textures"}},
        {"textures": {"folder": ".."}},
        {"textures": {"file_name": r"^(\d{4})_"}},
        {"textures": {"layout": "smplx"}},
        {"textures": "textures"},
        {"attributes": [{"name": "hat", "region": "head", "classes": ["no", "yes"], "fields": ["hat"]}] * 2},
    ],
)
def test_contradictions_are_refused(change: dict[str, object]) -> None:
    fields = yaml.safe_load((manifest_folder() / "market1501.yaml").read_text())
    Manifest.model_validate({"name": "market1501", **fields})
    with pytest.raises(ValidationError):
        Manifest.model_validate({"name": "market1501", **fields, **change})


def test_an_attribute_has_one_field_or_one_for_each_class() -> None:
    with pytest.raises(ValidationError, match="one for each of 3 classes"):
        Attribute(name="colour", classes=("red", "green", "blue"), region="head", fields=("red", "green"))


def test_a_folder_of_pairs_describes_itself(tmp_path: Path) -> None:
    ours = load_manifest("texture_pairs").textures
    assert ours is not None
    assert (ours.folder, ours.file_name, ours.layout) == ("textures", None, None)
    (tmp_path / "manifest.yaml").write_text("title: Mine\ntextures: {layout: embedded}\n")
    manifest = load_manifest("texture_pairs", tmp_path)
    assert (manifest.name, manifest.title, manifest.reader) == ("texture_pairs", "Mine", "texture_pairs")
    assert manifest.textures is not None
    assert manifest.textures.layout == "embedded"


def test_a_manifest_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text((manifest_folder() / "folder.yaml").read_text())
    assert load_manifest(str(file)).model_copy(update={"name": "folder"}) == load_manifest("folder")
    assert load_manifest(str(file)).name == "mine"
    with pytest.raises(DataError, match=r"there is no manifest /nowhere/mine\.yaml: correct data\.name"):
        load_manifest("/nowhere/mine.yaml")
