"""CSVs as people have them."""

import csv
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid.config import DataError, load_manifest
from reid.data.readers import labels_file
from reid.data.readers.labels_file import find_labels, read_labels
from reid.data.readers.listing import Listing, Problems

Row = tuple[str, ...]


def read(path: Path, *, images: Sequence[str] = ()) -> Listing:
    """What a CSV lists, whose images are there."""
    for image in images:
        (path.parent / image).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / image).touch()
    problems = Problems(str(path))
    listing = read_labels(path, load_manifest("folder"), problems)
    problems.raise_any()
    return listing


def rows(listing: Listing) -> list[Row]:
    """Path, identity, split and camera of each image, as far as they are there, then everything else."""
    columns = [listing.paths, listing.identities, listing.splits, listing.cameras, *listing.columns.values()]
    return list(zip(*(column for column in columns if column is not None), strict=True))


PLAIN = "path,pid,camid\na/1.jpg,anna,1\na/2.jpg,anna,2\nb/1.jpg,bob,1\n"
PLAIN_ROWS = [("a/1.jpg", "anna", "1"), ("a/2.jpg", "anna", "2"), ("b/1.jpg", "bob", "1")]
TABLES: dict[str, tuple[bytes, list[Row]]] = {
    "plain": (PLAIN.encode(), PLAIN_ROWS),
    "saved by a spreadsheet": (b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode(), PLAIN_ROWS),
    "saved by a European spreadsheet": (
        b"\xef\xbb\xbf" + PLAIN.replace(",", ";").replace("\n", "\r\n").encode(),
        PLAIN_ROWS,
    ),
    "tabs": (PLAIN.replace(",", "\t").encode(), PLAIN_ROWS),
    "line ends of an old Mac": (PLAIN.replace("\n", "\r").encode(), PLAIN_ROWS),
    "no line end at the end": (PLAIN.rstrip().encode(), PLAIN_ROWS),
    "spaces": (PLAIN.replace(",", " , ").encode(), PLAIN_ROWS),
    "quotes": (b'"path","pid","camid"\n"a/1.jpg","anna","1"\na/2.jpg,"anna",2\nb/1.jpg,bob,1\n', PLAIN_ROWS),
    "the index of a data frame": (
        b",path,pid,camid\n0,a/1.jpg,anna,1\n1,a/2.jpg,anna,2\n2,b/1.jpg,bob,1\n",
        PLAIN_ROWS,
    ),
    "empty lines and cells": (
        b"\n\npath,pid,camid\n\na/1.jpg,anna,1,,\n,,\na/2.jpg,anna,2\n \nb/1.jpg,bob,1,\n,,,,\n",
        PLAIN_ROWS,
    ),
    "backslashes": (PLAIN.replace("/", "\\").encode(), PLAIN_ROWS),
    "synonyms in any case": (
        b"Person ID;CAMERA;File_Name\nanna;1;a/1.jpg\nanna;2;a/2.jpg\nbob;1;b/1.jpg\n",
        PLAIN_ROWS,
    ),
    "splits in any case": (
        b"Image,Identity,Set\na/1.jpg,1,Train\na/2.jpg,1,TRAINING\nb/1.jpg,2,Validation\n",
        [("a/1.jpg", "1", "train"), ("a/2.jpg", "1", "train"), ("b/1.jpg", "2", "val")],
    ),
    "the canonical name goes first": (
        b"id,pid,path,image\n10,anna,a/1.jpg,x\n11,anna,a/2.jpg,y\n12,bob,b/1.jpg,z\n",
        [("a/1.jpg", "anna", "10", "x"), ("a/2.jpg", "anna", "11", "y"), ("b/1.jpg", "bob", "12", "z")],
    ),
    "other columns and alphabets": (
        "file;name of the coat;person\na/1.jpg;rot, lang;Zoë\na/2.jpg;;Zoë\nb/1.jpg;blau;王\n".encode(),
        [("a/1.jpg", "Zoë", "rot, lang"), ("a/2.jpg", "Zoë", ""), ("b/1.jpg", "王", "blau")],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_as_people_have_it(name: str, tmp_path: Path) -> None:
    content, expected = TABLES[name]
    (tmp_path / "labels.csv").write_bytes(content)
    assert rows(read(tmp_path / "labels.csv", images=["a/1.jpg", "a/2.jpg", "b/1.jpg"])) == expected


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12).map(str.strip)
CASES: tuple[Callable[[str], str], ...] = (str, str.upper, str.title)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_was_written_in_any_way_is_read_back(data: st.DataObject, tmp_path: Path) -> None:
    count = data.draw(st.integers(1, 6))
    column = st.lists(TEXT, min_size=count, max_size=count)
    table = {
        data.draw(st.sampled_from(["path", "File", "image path"])): [f"{number}.jpg" for number in range(count)],
        data.draw(st.sampled_from(["pid", "Person", "identity"])): data.draw(column),
        data.draw(st.sampled_from(["camid", "CAM", "Camera_ID"])): data.draw(column),
        "hat": data.draw(column),
        "coat": data.draw(column),
    }
    order = data.draw(st.permutations(list(table)))
    file = io.StringIO(newline="")
    writer = csv.writer(
        file,
        delimiter=data.draw(st.sampled_from(",;\t")),
        quoting=data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        lineterminator=data.draw(st.sampled_from(["\n", "\r\n"])),
    )
    writer.writerow(order)
    writer.writerows(zip(*(table[name] for name in order), strict=True))
    text = data.draw(st.sampled_from(["", "\ufeff"])) + file.getvalue()
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8", newline="")
    listing = read(tmp_path / "labels.csv", images=[f"{number}.jpg" for number in range(count)])
    assert [listing.paths, listing.identities, listing.cameras] == list(table.values())[:3]
    assert listing.columns == {"hat": table["hat"], "coat": table["coat"]}


def test_a_line_is_numbered_as_an_editor_shows_it(tmp_path: Path) -> None:
    text = '\npath,pid,note\n1.jpg,1,"two\nlines"\n\n2.jpg,1,x\n3.jpg,1,"also\r\ntwo"\nnowhere.jpg,1,x\n'
    (tmp_path / "labels.csv").write_text(text, newline="")
    with pytest.raises(DataError, match=r"labels\.csv, line 9: there is no 'nowhere\.jpg'"):
        read(tmp_path / "labels.csv", images=["1.jpg", "2.jpg", "3.jpg"])
    (tmp_path / "nowhere.jpg").touch()
    assert read(tmp_path / "labels.csv").lines == [3, 6, 7, 9]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("path,pid\n1.jpg,1\n2.jpg,\xff\n", 3, "it is no CSV in UTF-8 (invalid start byte): save it as such"),
        ("path,pid\n1.jpg,1\n2.jpg,\0\n", 3, "it holds a null character"),
        ('path,pid\n1.jpg,1\n"2.jpg,1\n', 3, "it is no CSV (unexpected end of data): close its quotes"),
        ('path,pid\n1.jpg,1\n"2"x,1\n', 3, "it is no CSV (',' expected after '\"'): close its quotes"),
        ("", 1, "the header lacks path, pid: add the columns, or the header itself"),
        ("1.jpg,1\n2.jpg,1\n", 1, "the header lacks path, pid: add the columns, or the header itself"),
        ("path|pid\n1.jpg|1\n", 1, "the header lacks path, pid"),
        ("path,pid,hat,Hat\n1.jpg,1,x,y\n", 1, "the columns 'hat', 'Hat' have one name: rename or remove one"),
        ("path,pid,cam,camera\n1.jpg,1,x,y\n", 1, "the columns 'cam', 'camera' can all be the camid: name the right"),
    ],
)
def test_what_is_no_table_is_named(text: str, line: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as error:
        read(tmp_path / "labels.csv", images=["1.jpg", "2.jpg"])
    assert str(error.value).startswith(f"{tmp_path}/labels.csv, line {line}: {said}")


def test_a_csv_of_any_name_is_found_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "._people.csv").touch()
    assert find_labels(tmp_path) is None
    (tmp_path / "people.TSV").touch()
    assert find_labels(tmp_path) == tmp_path / "people.TSV"
    (tmp_path / "more.csv").touch()
    with pytest.raises(
        DataError, match=r"holds more\.csv, people\.TSV: name the one that lists the images labels\.csv"
    ):
        find_labels(tmp_path)
    (tmp_path / "labels.csv").touch()
    assert find_labels(tmp_path) == tmp_path / "labels.csv"


def test_a_file_without_bounds_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_file, "MAX_BYTES", 10)
    (tmp_path / "labels.csv").write_text(PLAIN)
    with pytest.raises(DataError, match=r"labels\.csv has more than 10 bytes"):
        read(tmp_path / "labels.csv")


@pytest.mark.slow
def test_a_million_lines_are_read_in_seconds(tmp_path: Path) -> None:
    image = tmp_path / "1.jpg"
    image.touch()
    lines = (f"{number}.jpg,person {number // 8},{number % 6},{number % 2}" for number in range(1_000_000))
    (tmp_path / "labels.csv").write_text("path,pid,camid,hat\n" + "\n".join(lines))
    began = time.process_time()
    with pytest.raises(DataError) as error:
        read(tmp_path / "labels.csv")
    assert time.process_time() - began < 60
    assert str(error.value).startswith(f"{tmp_path}/labels.csv has 999,999 errors:")
