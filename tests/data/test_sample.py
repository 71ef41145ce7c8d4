"""A sample to follow a training by."""

from pathlib import Path

import numpy as np
import pytest

from reid.data import Dataset, map_in_process, open_dataset, prepare, sample_of
from reid.embedded import SIZES, render_coco, render_market1501


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("sample")
    render_market1501(root / "market1501", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    return prepare("embedded", root / "market1501", root / "store", height=32, width=16)


def matches(dataset: Dataset) -> dict[int, int]:
    """How many gallery images by other cameras each query has, by a loop."""
    query, gallery = dataset.splits["query"], dataset.splits["gallery"]
    found = {}
    for row, (pid, camera) in enumerate(zip(query.pids_N, query.camids_N, strict=True)):
        found[row] = sum(
            other == pid and seen_by != camera for other, seen_by in zip(gallery.pids_N, gallery.camids_N, strict=True)
        )
    return found


def test_it_has_all_images_of_the_first_who_can_be_found(people: Dataset) -> None:
    few = sample_of(people, 3)
    pids = set(few.splits["query"].pids_N.tolist())
    assert pids == set(
        sorted({people.splits["query"].pids_N[row] for row, found in matches(people).items() if found})[:3]
    )
    assert set(few.splits["gallery"].pids_N.tolist()) == pids
    assert any(matches(few).values())
    for name in ("query", "gallery"):
        whole = people.splits[name]
        rows = [row for row, pid in enumerate(whole.pids_N) if pid in pids]
        assert few.splits[name].names == [whole.names[row] for row in rows]
        assert (few.splits[name].gather(np.arange(len(rows))) == whole.gather(rows)).all()


def test_it_is_the_same_always_and_all_where_there_are_no_more(people: Dataset) -> None:
    assert sample_of(people, 3).splits["query"].names == sample_of(people, 3).splits["query"].names
    answered = {people.splits["query"].pids_N[row] for row, count in matches(people).items() if count}
    assert set(sample_of(people, 1000).splits["query"].pids_N.tolist()) == answered


def test_of_scenes_it_has_a_few(tmp_path: Path) -> None:
    render_coco(tmp_path / "coco", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    scenes = prepare("coco", tmp_path / "coco", tmp_path / "store", height=32, width=16)
    few = sample_of(open_dataset(scenes.path), 1)
    assert len(few.splits["val"]) == min(16, len(scenes.splits["val"]))
    assert few.splits["val"].names[0] == scenes.splits["val"].names[0]
    assert few.whole.digest == scenes.digest
