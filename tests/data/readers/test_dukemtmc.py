from collections.abc import Callable
from pathlib import Path

import pytest

from reid.config import load_manifest
from reid.data import DataError
from reid.data.readers import READERS, Records

DUKE = load_manifest("dukemtmc").model_copy(update={"counts": None})
COLUMNS = {attribute.name: column for column, attribute in enumerate(DUKE.attributes)}
Rewrite = Callable[..., None]


def read(source: Path) -> dict[str, Records]:
    return READERS["dukemtmc"](source, DUKE, (256, 128))


def label(records: Records, pid: int, name: str) -> str:
    labels = set(records.attributes_NA[records.pids_N == pid, COLUMNS[name]].tolist())
    assert len(labels) == 1
    value = labels.pop()
    return "missing" if value == -1 else DUKE.attributes[COLUMNS[name]].classes[value]


def test_names_tell_identity_and_camera(duke: Path) -> None:
    splits = read(duke)
    assert splits["train"].pids_N.tolist() == [10] * 3 + [12] * 3
    assert splits["train"].camids_N.tolist() == [1, 2, 8] * 2
    assert splits["query"].names == ("0011_c2_f0046182.jpg", "0020_c5_f0046183.jpg")


def test_distractors_have_ordinary_numbers_and_no_attributes(duke: Path) -> None:
    gallery = read(duke)["gallery"]
    assert gallery.pids_N.tolist() == [11] * 3 + [20] * 3 + [30] * 2
    assert gallery.num_identities == 3
    assert (gallery.attributes_NA[-2:] == -1).all()
    assert (gallery.attributes_NA[:-2] == 0).all()


def test_distractors_that_are_annotated_keep_it(duke: Path, rewrite_duke_attributes: Rewrite) -> None:
    rewrite_duke_attributes(duke / "duke_attribute.mat", train=(10, 12), test=(11, 20, 30), changes={(30, "hat"): 2})
    gallery = read(duke)["gallery"]
    assert (label(gallery, 30, "hat"), label(gallery, 20, "hat")) == ("yes", "no")


def test_what_names_no_single_class_is_missing(duke: Path, rewrite_duke_attributes: Rewrite) -> None:
    changes = {
        (10, "downgray"): 2,  # beside black
        **{(12, field): 2 for field in ("downblue", "downbrown")},
        (11, "downblack"): 1,
        (20, "downblack"): 1,
        (20, "downbrown"): 2,
        (12, "top"): 0,
        (11, "top"): 2,
    }
    rewrite_duke_attributes(duke / "duke_attribute.mat", train=(10, 12), test=(11, 20), changes=changes)
    splits = read(duke)
    lower = [label(splits["train"], pid, "lower_colour") for pid in (10, 12)]
    lower += [label(splits["gallery"], pid, "lower_colour") for pid in (11, 20)]
    assert lower == ["missing", "missing", "missing", "brown"]
    assert [label(splits["train"], pid, "upper_length") for pid in (10, 12)] == ["short", "missing"]
    assert [label(splits["query"], pid, "upper_length") for pid in (11, 20)] == ["long", "short"]


@pytest.mark.parametrize(
    ("annotated", "changes", "said"),
    [
        ({"train": (10, 12), "test": (11, 30)}, {}, "lacks identities 20"),
        ({"train": (10,), "test": (11, 20)}, {}, "lacks identities 12"),
        ({"train": (10, 12), "test": (11, 20)}, {(20, "boots"): 3}, "boots of identities 20 is outside 1..2"),
    ],
)
def test_senseless_annotations_are_named(
    duke: Path,
    rewrite_duke_attributes: Rewrite,
    annotated: dict[str, tuple[int, ...]],
    changes: dict[tuple[int, str], int],
    said: str,
) -> None:
    rewrite_duke_attributes(duke / "duke_attribute.mat", **annotated, changes=changes)
    with pytest.raises(DataError, match=r"duke_attribute\.mat") as error:
        read(duke)
    assert said in str(error.value)


def test_what_is_wrong_is_named(duke: Path) -> None:
    (duke / "query" / "0011_c2_f0046182.jpg").rename(duke / "query" / "0011_c9_f0046182.jpg")
    with pytest.raises(DataError, match=r"cameras are numbered 1\.\.8.*0011_c9_f0046182\.jpg"):
        read(duke)
    (duke / "query" / "0011_c9_f0046182.jpg").rename(duke / "query" / "0011_c9s1_000151_00.jpg")
    with pytest.raises(DataError, match=r"0011_c9s1_000151_00\.jpg tell no identity and camera"):
        read(duke)
