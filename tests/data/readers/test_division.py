"""How a user's own images become train, query and gallery."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reid.config import load_manifest
from reid.data import DataError
from reid.data.readers import READERS, Records

Row = tuple[str, str, str | None, str | None]
"""Path, identity, split, camera."""
PROTOCOL = ("train", "query", "gallery")


def read(folder: Path, rows: Sequence[Row]) -> dict[str, Records]:
    """A folder whose CSV has the columns that are not None in any row."""
    kept = [column for column in range(4) if any(row[column] is not None for row in rows)]
    lines = [[("path", "pid", "split", "camid")[column] for column in kept]]
    for row in rows:
        (folder / row[0]).touch()
        lines.append([row[column] or "" for column in kept])
    (folder / "labels.csv").write_text("\n".join(map(",".join, lines)))
    return READERS["folder_csv"](folder, load_manifest("folder"), (32, 16))


def divided(splits: dict[str, Records]) -> dict[str, set[str]]:
    return {split: set(records.paths) for split, records in splits.items()}


def most_queries(cameras: Sequence[str]) -> int:
    """By trying all: of how many cameras one image can be a query, and each query still has a match by another."""
    names = sorted(set(cameras))
    best = 0
    for asked in itertools.product([False, True], repeat=len(names)):
        left = {name: cameras.count(name) - taken for name, taken in zip(names, asked, strict=True)}
        queries = [name for name, taken in zip(names, asked, strict=True) if taken]
        if all(any(left[other] for other in names if other != query or not query) for query in queries):
            best = max(best, len(queries))
    return best


images = st.lists(
    st.tuples(st.sampled_from(["anna", "bob", "cleo", "dan", "eve", "fay"]), st.sampled_from(["", "1", "2", "hall"])),
    min_size=6,
    max_size=24,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(people=images, with_cameras=st.booleans(), data=st.data())
def test_images_are_divided_by_identity_whatever_their_order(
    people: list[tuple[str, str]], with_cameras: bool, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [
        (f"{number}.jpg", pid, None, camera if with_cameras else None) for number, (pid, camera) in enumerate(people)
    ]
    known = {camera for _, camera in people} - {""}
    if not with_cameras or (len(known) == 1 and ("", *known) and all(camera for _, camera in people)):
        people = [(pid, "") for pid, _ in people]
    seen = {pid: [camera for other, camera in people if other == pid] for pid, _ in people}
    retrievable = {pid for pid, cameras in seen.items() if most_queries(cameras)}
    assume(len(retrievable) >= 3)
    folder = tmp_path_factory.mktemp("own")
    splits = read(folder, rows)
    names = divided(splits)
    assert set.union(*names.values()) == {path for path, *_ in rows}
    assert sum(map(len, names.values())) == len(rows)
    pid_of = {path: pid for path, pid, *_ in rows}
    pids = {split: {pid_of[path] for path in paths} for split, paths in names.items()}
    assert not pids["train"] & (pids["query"] | pids["gallery"])
    assert len(pids["train"] & retrievable) == -(-len(retrievable) // 2)
    assert pids["query"] == retrievable - pids["train"]
    for pid in pids["query"] | pids["gallery"]:
        queries = [path for path in names["query"] if pid_of[path] == pid]
        assert len(queries) == most_queries(seen[pid])
    for records in splits.values():
        assert len({pid_of[path] for path in records.paths}) == len(set(records.pids_N.tolist()))
    assert divided(read(folder, rows)) == names
    assert divided(read(folder, data.draw(st.permutations(rows)))) == names


def person(pid: str, split: str | None, *cameras: str | None) -> list[Row]:
    return [(f"{pid}-{split}-{number}.jpg", pid, split, camera) for number, camera in enumerate(cameras)]


def test_the_seed_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for number in range(8) for row in person(f"p{number}", None, None, None, None)]
    names = divided(read(tmp_path, rows))
    divided_line, cameras_line, *_ = capsys.readouterr().out.splitlines()
    assert divided_line == (
        f"{tmp_path}/labels.csv: divided by identity with seed 0: train 12 images of 4 identities, query 4 images of 4 "
        "identities, gallery 8 images of 4 identities; to divide them yourself, use the column split"
    )
    assert "cameras are unknown, so any other image of an identity counts as its match" in cameras_line
    monkeypatch.setattr("reid.data.readers.division.SPLIT_SEED", 1)
    assert divided(read(tmp_path, rows)) != names


@pytest.mark.parametrize("word", ["test", "val", "Validation"])
def test_a_test_split_is_divided_into_query_and_gallery(word: str, tmp_path: Path) -> None:
    rows = [*person("anna", "train", "1", "2"), *person("bob", word, "1", "1", "2"), *person("cleo", word, "3")]
    splits = read(tmp_path, [*rows, *person("0", word, "1")])
    assert splits["train"].paths == ("anna-train-0.jpg", "anna-train-1.jpg")
    assert sorted(splits["query"].camids_N.tolist()) == [2], "of the other camera too the gallery would keep no match"
    assert len(splits["gallery"]) == 4
    assert splits["gallery"].pids_N.tolist().count(0) == 1, "a distractor is no query"


def test_beside_a_query_test_is_the_gallery_and_val_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [*person("anna", "train", "1", "2"), *person("bob", "query", "1"), *person("bob", "test", "2")]
    names = divided(read(tmp_path, [*rows, *person("anna", "val", "3")]))
    assert names["gallery"] == {"bob-test-0.jpg"}
    assert "left out are 1 images of val, which nothing is trained or scored on: 'anna-val-0.jpg'" in caplog.text


def test_what_cannot_count_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [*person("anna", "train", "1", "2"), *person("once", "train", "1")]
    rows += [*person("bob", "query", "1"), *person("bob", "gallery", "2"), *person("lost", "query", "1", "2")]
    names = divided(read(tmp_path, rows))
    assert names == {
        "train": {"anna-train-0.jpg", "anna-train-1.jpg"},
        "query": {"bob-query-0.jpg"},
        "gallery": {"bob-gallery-0.jpg"},
    }
    assert caplog.messages == [
        f"{tmp_path}/labels.csv: left out are 1 train identities with a single image, where two are needed: "
        "'once-train-0.jpg'",
        f"{tmp_path}/labels.csv: left out are 2 queries whose identity has no image in the gallery: "
        "'lost-query-0.jpg', 'lost-query-1.jpg'",
    ]


@pytest.mark.parametrize(
    ("pids", "expected"),
    [
        (["1", "7", "0003"], {"1": 1, "7": 7, "0003": 3}),
        (["anna", "7", "Bob"], {"7": 1, "Bob": 2, "anna": 3}),
        (["10", "9", str(10**12)], {"9": 1, "10": 2, str(10**12): 3}),
        (["1", "2", "0"], {"0": 1, "1": 2, "2": 3}),
    ],
)
def test_identities_keep_their_numbers_where_all_are_such(
    pids: list[str], expected: dict[str, int], tmp_path: Path
) -> None:
    rows = [row for pid in pids for row in person(pid, None, None, None)]
    splits = read(tmp_path, rows)
    pid_of = {path: pid for path, pid, *_ in rows}
    found = {
        pid_of[path]: number
        for records in splits.values()
        for path, number in zip(records.paths, records.pids_N.tolist(), strict=True)
    }
    assert found == expected


def test_zero_is_a_distractor_in_the_gallery_alone(tmp_path: Path) -> None:
    rows = [*person("1", "train", "1", "2"), *person("2", "query", "1"), *person("2", "gallery", "2")]
    distracted = read(tmp_path, [*rows, *person("0", "gallery", "1")])
    assert (distracted["train"].pids_N.tolist(), distracted["gallery"].pids_N.tolist()) == ([1, 1], [2, 0])
    counted_from_zero = read(tmp_path, [*rows, *person("0", "train", "1", "2")])
    assert counted_from_zero["train"].pids_N.tolist() == [2, 2, 1, 1]


def test_one_camera_tells_nothing_apart(tmp_path: Path) -> None:
    rows = [*person("anna", "train", "door", "door"), *person("bob", "test", "door", "door")]
    splits = read(tmp_path, rows)
    assert np.concatenate([splits[split].camids_N for split in PROTOCOL]).tolist() == [-1, -2, -3, -4]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (person("anna", "train", "1", "2"), "has images of train alone: add query and gallery, or test, or leave the"),
        ([*person("a", "train", "1", "2"), *person("b", "gallery", "1", "2")], "has no images of query: add some, or"),
        ([*person("b", "query", "1"), *person("b", "gallery", "2")], "has no images of train that can be used"),
        ([*person("a", "train", "1"), *person("b", "test", "1", "2")], "has no images of train that can be used"),
        ([*person("a", "train", "1", "2"), *person("b", "test", "1")], "has no images of query that can be used"),
        (
            [row for word in ("train", "query", "gallery", "test") for row in person(word, word, "1", "2")],
            "has images of gallery and of test: call them all by one of the two names",
        ),
        (
            [*person("a", "train", "1", "2"), *person("b", "query", "1"), *person("b", "gallery", "1")],
            "no query has a match in the gallery by another camera, and others do not count",
        ),
        (
            [row for pid in "abcd" for row in person(pid, None, pid, pid)],
            "0 identities have two images by two cameras (without a column camid, by any), and 3 are needed",
        ),
        (person("a", None, None, None), "1 identities have two images, and 3 are needed to divide them"),
    ],
)
def test_what_cannot_be_divided_is_named(rows: list[Row], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, rows)
    assert str(error.value).startswith(f"{tmp_path}/labels.csv")
    assert said in str(error.value)
