import shutil
from pathlib import Path

import pytest

from reid.config import load_manifest
from reid.data import DataError
from reid.data.readers import READERS, Records


def read(name: str, source: Path) -> dict[str, Records]:
    manifest = load_manifest(name).model_copy(update={"counts": None})
    return READERS[manifest.reader](source, manifest, (256, 128))


def test_each_kind_of_boxes_is_a_dataset(cuhk: Path) -> None:
    detected, labelled = read("cuhk03np_detected", cuhk), read("cuhk03np_labelled", cuhk)
    assert {split: len(records) for split, records in detected.items()} == {"train": 4, "query": 4, "gallery": 7}
    assert {split: len(records) for split, records in labelled.items()} == {"train": 4, "query": 4, "gallery": 8}
    assert all(path.startswith("detected/query/") for path in detected["query"].paths)
    assert all(path.startswith("labeled/query/") for path in labelled["query"].paths)
    assert labelled["query"].pids_N.tolist() == [2, 2, 3, 3]
    assert labelled["query"].camids_N.tolist() == [1, 2, 1, 2]


@pytest.mark.parametrize(("name", "folder"), [("cuhk03np_detected", "detected"), ("cuhk03np_labelled", "labeled")])
def test_one_kind_is_enough_and_a_missing_one_is_named(cuhk: Path, name: str, folder: str) -> None:
    other = {"cuhk03np_detected": "labeled", "cuhk03np_labelled": "detected"}[name]
    shutil.rmtree(cuhk / other)
    read(name, cuhk)
    shutil.rmtree(cuhk / folder / "query")
    with pytest.raises(DataError, match=f"lacks {folder}/query/"):
        read(name, cuhk)


def test_a_third_camera_is_named(cuhk: Path) -> None:
    (cuhk / "labeled" / "query" / "0002_c1_1.png").rename(cuhk / "labeled" / "query" / "0002_c3_1.png")
    with pytest.raises(DataError, match=r"cameras are numbered 1\.\.2.*0002_c3_1\.png"):
        read("cuhk03np_labelled", cuhk)
