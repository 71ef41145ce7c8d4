from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from reid.config.body import LAYOUTS
from reid.data import Attribute, DataError, Manifest, load_manifest
from reid.data.manifests import manifest_folder
from reid.data.readers import READERS

NAMES = sorted(path.stem for path in manifest_folder().glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_manifest_is_complete_and_names_what_exists(name: str) -> None:
    manifest = load_manifest(name)
    assert manifest.name == name
    assert manifest.reader in READERS
    assert manifest.layout is None or manifest.layout in LAYOUTS
    assert all((manifest.title, manifest.citation, manifest.url, manifest.licence))


@pytest.mark.parametrize("name", [name for name in NAMES if load_manifest(name).layout])
def test_every_part_of_the_default_layout_has_an_attribute(name: str) -> None:
    manifest = load_manifest(name)
    assert manifest.layout is not None
    regions = {attribute.name: attribute.region for attribute in manifest.attributes}
    assigned = LAYOUTS[manifest.layout].attributes_of_parts(regions)
    assert [part for part, names in assigned.items() if not names] == ["plenary"]


def test_the_embedded_benchmark_has_market1501s_format() -> None:
    ours, theirs = load_manifest("embedded"), load_manifest("market1501")
    shared = ("reader", "file_name", "cameras", "image_height", "image_width", "layout", "attributes")
    assert all(getattr(ours, field) == getattr(theirs, field) for field in shared)
    assert ours.counts is None


def test_market1501_has_the_attributes_of_table_1() -> None:
    assert [(attribute.name, len(attribute.classes)) for attribute in load_manifest("market1501").attributes] == [
        ("gender", 2), ("hair", 2), ("age", 4), ("sleeve_length", 2), ("lower_length", 2), ("lower_type", 2),
        ("hat", 2), ("backpack", 2), ("bag", 2), ("handbag", 2), ("upper_colour", 8), ("lower_colour", 9),
    ]  # fmt: skip


def test_images_are_stored_at_native_size_where_there_is_one() -> None:
    assert load_manifest("market1501").stored_size(256, 128) == (128, 64)
    assert load_manifest("coco").stored_size(256, 128) == (256, 128)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        DataError,
        match=r"invalid dataset 'market', expected one of coco, cuhk03np_detected, .*, market1501, msmt17, peta",
    ):
        load_manifest("market")


@pytest.mark.parametrize("text", ["- a list", "title: [unclosed", "title: only a title", "cameras: 6\nunknown: 1"])
def test_a_malformed_manifest_is_named(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid.data.manifests.manifest_folder", lambda: tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(DataError, match=r"mine\.yaml is malformed"):
        load_manifest("mine")


@pytest.mark.parametrize(
    "change",
    [
        {"image_width": None},
        {"file_name": r"^(\d+)_c(\d)"},
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
