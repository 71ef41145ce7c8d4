from pathlib import Path

import pytest

from reid.config import load_manifest
from reid.data import DataError
from reid.data.readers import READERS, Records

MSMT17 = load_manifest("msmt17").model_copy(update={"counts": None})


def read(source: Path) -> dict[str, Records]:
    return READERS["msmt17"](source, MSMT17, (256, 128))


def test_test_identities_are_not_confused_with_train_identities(msmt: Path) -> None:
    splits = read(msmt)
    assert splits["train"].pids_N.tolist() == [1, 1, 1, 2, 2, 2]
    assert splits["val"].pids_N.tolist() == [1, 2]
    assert splits["query"].pids_N.tolist() == [3, 4, 5]
    assert splits["gallery"].pids_N.tolist() == [3, 3, 4, 4, 5, 5]


def test_the_third_field_is_the_camera(msmt: Path) -> None:
    splits = read(msmt)
    assert splits["train"].camids_N.tolist() == [1, 8, 15] * 2
    assert splits["train"].names[2] == "0000_002_15_0303morning_0008_0.jpg"
    assert splits["query"].camids_N.tolist() == [2, 2, 2]


def test_both_versions_are_read(msmt: Path, msmt_v2: Path) -> None:
    first, second = read(msmt), read(msmt_v2)
    for split, records in first.items():
        assert second[split].names == records.names
        assert second[split].pids_N.tolist() == records.pids_N.tolist()
    assert second["val"].paths[0].startswith("mask_train_v2/")
    assert second["query"].paths[0].startswith("mask_test_v2/")


def test_only_what_is_listed_is_read(msmt: Path) -> None:
    lines = (msmt / "list_train.txt").read_text().splitlines()
    (msmt / "list_train.txt").write_text("\n".join(lines[:-1]) + "\n\n")
    assert len(read(msmt)["train"]) == 5
    assert len(read(msmt)["val"]) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0000/0000_000_02_0303morning_0008_0.jpg", "is no path within test/ and an identity"),
        ("0000/0000_000_02_0303morning_0008_0.jpg 0 2", "is no path within test/ and an identity"),
        ("0000/0000_000_02_0303morning_0008_0.jpg -1", "is no path within test/ and an identity"),
        ("../0000_000_02_0303morning_0008_0.jpg 0", "is no path within test/ and an identity"),
        ("/0000/0000_000_02_0303morning_0008_0.jpg 0", "is no path within test/ and an identity"),
        ("0000/0000_000_16_0303morning_0008_0.jpg 0", "0000_000_16_0303morning_0008_0.jpg tells no camera 1..15"),
        ("0000/0000_c2_f0046182.jpg 0", "0000_c2_f0046182.jpg tells no camera"),
        ("0000/0000_000_02_0303morning_0008_0.jpg 1", "is listed as identity 1"),
        ("0000/0000_000_02_0303morning_0008_0.jpg 0", "0000/0000_000_02_0303morning_0008_0.jpg is in line 1 already"),
    ],
)
def test_a_wrong_line_is_named(msmt: Path, line: str, said: str) -> None:
    lines = (msmt / "list_query.txt").read_text().splitlines()
    (msmt / "list_query.txt").write_text("\n".join([lines[0], line, *lines[1:]]))
    with pytest.raises(DataError) as error:
        read(msmt)
    assert f"{msmt / 'list_query.txt'}, line 2" in str(error.value)
    assert said in str(error.value)


def test_an_image_in_two_lists_is_named(msmt: Path) -> None:
    shared = (msmt / "list_query.txt").read_text().splitlines()[1]
    with (msmt / "list_gallery.txt").open("a") as file:
        file.write(shared)
    with pytest.raises(DataError, match=r"test/0001/0001_000_02_\S+ are in both list_query\.txt and list_gallery\.txt"):
        read(msmt)


def test_a_list_may_begin_with_a_byte_order_mark(msmt: Path) -> None:
    expected = read(msmt)["train"].paths
    (msmt / "list_train.txt").write_text((msmt / "list_train.txt").read_text(), encoding="utf-8-sig")
    assert read(msmt)["train"].paths == expected


def test_missing_files_are_named(msmt: Path) -> None:
    (msmt / "test" / "0001" / "0001_001_03_0303morning_0008_0.jpg").unlink()
    with pytest.raises(DataError, match=r"list_gallery\.txt lists: test/0001/0001_001_03_0303morning_0008_0\.jpg"):
        read(msmt)
    (msmt / "list_val.txt").write_text("")
    with pytest.raises(DataError, match=r"list_val\.txt lists no images"):
        read(msmt)
    (msmt / "list_val.txt").unlink()
    (msmt / "list_val.txt").mkdir()
    with pytest.raises(DataError, match=r"list_val\.txt is no text"):
        read(msmt)
    (msmt / "list_val.txt").rmdir()
    with pytest.raises(DataError, match=r"there is no .*list_val\.txt"):
        read(msmt)
    (msmt / "train").rename(msmt / "training")
    with pytest.raises(DataError, match="lacks train/"):
        read(msmt)
