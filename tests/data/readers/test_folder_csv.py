import re
from pathlib import Path

import numpy as np
import pytest

from reid.config import load_manifest
from reid.config.manifests import manifest_folder
from reid.data import DataError, prepare
from reid.data.readers import READERS, Records
from reid.evaluation import score_queries


def read(source: Path) -> dict[str, Records]:
    manifest = load_manifest("folder", source)
    return READERS[manifest.reader](source, manifest, (256, 128))


def rewrite(folder: Path, old: str, new: str) -> None:
    text = (folder / "labels.csv").read_text()
    assert text.count(old) == 1
    (folder / "labels.csv").write_text(text.replace(old, new))


def test_labels_are_read(folder: Path) -> None:
    splits = read(folder)
    assert splits["train"].paths == ("a/1.png", "a/2.jpg", "a/3, late.jpg", "a/4.jpg")
    assert splits["train"].pids_N.tolist() == [1, 1, 7, 7]
    assert splits["gallery"].pids_N.tolist() == [3, 9, 0]
    assert splits["train"].attributes_NA.tolist() == [[1, 1], [-1, 2], [0, -1], [0, 0]]
    assert splits["gallery"].attributes_NA.tolist() == [[1, 0], [0, 0], [-1, -1]]


def test_unknown_cameras_leave_no_match_out(folder: Path) -> None:
    splits = read(folder)
    cameras = np.concatenate([records.camids_N for records in splits.values()])
    unknown = cameras[cameras < 0].tolist()
    assert unknown == [-1, -2, -3]
    assert splits["train"].camids_N.tolist() == [1, -1, 2, 2]
    query, gallery = splits["query"], splits["gallery"]
    labels = (query.pids_N, gallery.pids_N, query.camids_N, gallery.camids_N)
    scores = score_queries(np.eye(2), np.eye(3, 2), *labels)
    assert scores.ap_Q.tolist() == [1, 1]


def test_the_camera_column_may_be_left_out(folder: Path) -> None:
    lines = [line.split(",") for line in (folder / "labels.csv").read_text().replace("3, late", "3").splitlines()]
    (folder / "a" / "3, late.jpg").rename(folder / "a" / "3.jpg")
    (folder / "labels.csv").write_text("\n".join(",".join(cells[:3] + cells[4:]).replace('"', "") for cells in lines))
    splits = read(folder)
    cameras = np.concatenate([records.camids_N for records in splits.values()])
    assert cameras.tolist() == [-1 - row for row in range(9)]


def test_without_a_manifest_columns_of_few_classes_are_attributes(folder: Path) -> None:
    """Here no column has two training images for each of its values."""
    (folder / "manifest.yaml").unlink()
    assert read(folder)["train"].attributes_NA.shape == (4, 0)
    lines = [",".join(line.rsplit(",", 2)[:1]) for line in (folder / "labels.csv").read_text().splitlines()]
    (folder / "labels.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")  # as a spreadsheet saves it
    splits = read(folder)
    assert splits["train"].pids_N.tolist() == [1, 1, 7, 7]
    assert splits["train"].attributes_NA.shape == (4, 0)


def test_a_store_is_made_by_the_manifest_beside_the_images(folder: Path, tmp_path: Path) -> None:
    dataset = prepare("folder", folder, tmp_path / "store", height=32, width=16)
    assert dataset.name == "folder"
    assert dataset.attributes["coat"].classes == ("none", "short", "long")
    (folder / "manifest.yaml").write_text(
        (folder / "manifest.yaml").read_text().replace("hat, region: head", "h, r: x")
    )
    with pytest.raises(DataError, match=r"mine/manifest\.yaml is malformed"):
        prepare("folder", folder, tmp_path / "other", height=32, width=16)


def test_the_manifest_beside_the_images_concerns_no_other_dataset(folder: Path) -> None:
    assert load_manifest("market1501", folder) == load_manifest("market1501")


def test_counts_and_cameras_may_be_declared(folder: Path) -> None:
    text = (folder / "manifest.yaml").read_text()
    (folder / "manifest.yaml").write_text(text + "counts: {train: {images: 5, identities: 2}}\n")
    with pytest.raises(DataError, match="not the whole of Shop floor: train has 4 images of 2 identities instead of 5"):
        read(folder)
    (folder / "manifest.yaml").write_text(text + "cameras: 1\n")
    with pytest.raises(DataError, match=r"line 4: camid is 2, but the manifest has cameras 1\.\.1"):
        read(folder)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("a/4.jpg", "../a/4.jpg", 5, "'../a/4.jpg' leads out of the folder"),
        ("a/4.jpg", "a/../../mine/a/4.jpg", 5, "leads out of the folder"),
        ("a/4.jpg", "/etc/passwd", 5, "leads out of the folder"),
        ("a/4.jpg", "C:\\a\\4.jpg", 5, "leads out of the folder"),
        ("a/4.jpg", "", 5, "leads out of the folder"),
        ("a/4.jpg", "a/5.jpg", 5, "there is no "),
        ("a/4.jpg", "a/2.jpg", 5, "'a/2.jpg' is in line 3 already"),
        ("a/4.jpg", "./a//2.jpg", 5, "'./a//2.jpg' is in line 3 already"),
        ("a/4.jpg", f"a/{'4' * 300}.jpg", 5, "there is no "),
        ("a/4.jpg", "a/4\0.jpg", 5, "it holds a null character"),
        ("b/1.jpg,query", "b/1.jpg,dev", 6, "invalid split 'dev', expected one of train, query, gallery, test, val"),
        ("b/1.jpg,query", "b/1.jpg,", 6, "invalid split ''"),
        ("train,7,2,none", "train,-1,2,none", 5, "pid is '-1', which names nobody"),
        ("train,7,2,none", "train,,2,none", 5, "pid is empty: name who is seen"),
        ("train,7,2,none", "train,3,2,none", 6, "'3' is in query, and in train (line 5) too: keep each identity on"),
        ("train,7,2,none", "train,7,2,fur", 5, "invalid coat_length 'fur', expected one of none, short, long"),
        ("train,7,2,none", "train,7,2", 5, "it has 5 cells and the header 6: quote cells that hold the delimiter"),
        ("train,7,2,none", "train,7,2,none,no", 5, "it has 7 cells and the header 6"),
        ("path,split,pid", "path,split,who", 1, "the header lacks pid"),
        ("path,split,pid", "path,split,pid,PID", 1, "the columns 'pid', 'PID' have one name"),
        ("path,split,pid", "path,split,person,id", 1, "the columns 'person', 'id' can all be the pid: name the right"),
        ("coat_length,hat", "coat_length", 1, "the header lacks hat"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, old: str, new: str, line: int, said: str) -> None:
    rewrite(folder, old, new)
    with pytest.raises(DataError) as error:
        read(folder)
    assert f"{folder / 'labels.csv'}, line {line}" in str(error.value)
    assert said in str(error.value)


def test_all_wrong_lines_are_named_at_once_and_no_more_than_ten(folder: Path) -> None:
    rewrite(folder, "coat_length,hat", "coat_length,hat,shoes")
    with pytest.raises(DataError) as error:
        read(folder)
    heading, *lines = str(error.value).splitlines()
    assert heading == f"{folder / 'labels.csv'} has 9 errors:"
    assert [line.split(":")[0] for line in lines] == [f"  line {number}" for number in range(2, 11)]
    assert {line.split(":", 1)[1] for line in lines} == {
        " it has 6 cells and the header 7: quote cells that hold the delimiter"
    }
    with (folder / "labels.csv").open("a") as file:
        file.write("b/1.jpg,nobody\n" * 1200)
    with pytest.raises(DataError) as error:
        read(folder)
    heading, *lines, rest = str(error.value).splitlines()
    assert heading == f"{folder / 'labels.csv'} has 1,209 errors:"
    assert (len(lines), rest) == (10, "  and 1,199 more")


def test_what_is_wrong_with_one_line_is_named_in_the_order_of_lines(folder: Path) -> None:
    rewrite(folder, "a/4.jpg,train,7,2,none", "a/5.jpg,dev,-7,2,fur")
    rewrite(folder, "a/2.jpg,train,1", "a/0.jpg,train,1")
    with pytest.raises(DataError) as error:
        read(folder)
    assert [line.split(" ", 4)[2:4] for line in str(error.value).splitlines()[1:]] == [
        ["line", "3:"], *([["line", "5:"]] * 4)
    ]  # fmt: skip


def test_a_vast_cell_is_an_error(folder: Path) -> None:
    rewrite(folder, "a/4.jpg", "x" * 10_000_000)
    with pytest.raises(DataError, match=r"line 5: it is no CSV \(field larger than field limit \(131072\)\)") as error:
        read(folder)
    assert len(str(error.value)) < 500


def test_what_is_wrong_with_the_whole_is_named(folder: Path) -> None:
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace(",query,", ",gallery,"))
    with pytest.raises(DataError, match="has no images of query"):
        read(folder)
    (folder / "labels.csv").write_text(text.replace("query,3", "query,4").replace("query,9", "query,5"))
    with pytest.raises(DataError, match="has no images of query that can be used"):
        read(folder)
    (folder / "labels.csv").write_text(text + '"b/1.jpg')
    with pytest.raises(DataError, match="is no CSV"):
        read(folder)
    (folder / "labels.csv").write_bytes(text.encode("utf-16"))
    with pytest.raises(DataError, match=r"labels\.csv, line 1: it is no CSV in UTF-8 .*: save it as such"):
        read(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[hat]", "[pid]", "the column pid has another meaning already"),
        ("[hat]", "[coat_length]", "the column coat_length has another meaning already"),
        ("['no', 'yes']", "['no', 'no']", "classes of attribute 'hat' must differ: no, no"),
        ("['no', 'yes']", "[no, yes]", "attributes.0.classes.0"),
        ("title: Shop floor", "layout: seven_parts", "invalid layout 'seven_parts', expected one of six_parts"),
        ("title: Shop floor", "title: [Shop floor", "is malformed"),
        (
            "title: Shop floor",
            "counts: {val: {images: 3, identities: 2}}",
            "counts are for val, expected some of train",
        ),
    ],
)
def test_a_wrong_manifest_is_named(folder: Path, old: str, new: str, said: str) -> None:
    text = (folder / "manifest.yaml").read_text()
    assert text.count(old) == 1
    (folder / "manifest.yaml").write_text(text.replace(old, new))
    with pytest.raises(DataError) as error:
        read(folder)
    assert str(folder) in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["", "- hat\n- coat", "hat"])
def test_a_manifest_without_fields_is_named(folder: Path, text: str) -> None:
    (folder / "manifest.yaml").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.yaml is malformed, correct it: it holds no fields"):
        read(folder)


EXAMPLES = [
    block
    for block in (manifest_folder() / "README.md").read_text().split("```\n")[1::2]
    if re.match("path,|File;|image_path,", block)
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_of_the_readme_can_be_read(text: str, tmp_path: Path) -> None:
    assert len(EXAMPLES) == 3
    header, *lines = (re.split("[,;]", line) for line in text.splitlines())
    (place,) = (place for place, name in enumerate(header) if name in ("path", "File", "image_path"))
    images = {cells[place] for cells in lines}
    for image in images:
        (tmp_path / image).parent.mkdir(exist_ok=True)
        (tmp_path / image).touch()
    (tmp_path / "labels.csv").write_text(text)
    assert {path for records in read(tmp_path).values() for path in records.paths} == images


def test_an_attribute_has_one_column(folder: Path) -> None:
    text = (folder / "manifest.yaml").read_text()
    (folder / "manifest.yaml").write_text(text.replace("fields: [hat]", "fields: [no_hat, hat]"))
    with pytest.raises(DataError, match="attributes hat need one field each"):
        read(folder)
