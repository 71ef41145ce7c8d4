import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch
from PIL import Image

from reid.data import DataError, map_in_process, open_dataset, open_store, plan_digest, prepare
from reid.data.chunks import Chunk, Merge
from reid.data.store import Encoding
from reid.progress import Bar, Silence, listening
from reid.storage import Place, Storage

SPLITS = {"train": 12, "query": 2, "gallery": 6}


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid.data.preparation.CHUNK_ROWS", 4)


@pytest.mark.parametrize("encoding", ["raw", "compressed"])
def test_pixels_and_labels_survive(market_once: Path, tmp_path: Path, encoding: Encoding) -> None:
    dataset = prepare("embedded", market_once, tmp_path / "store", encoding=encoding)
    assert {name: len(split) for name, split in dataset.splits.items()} == SPLITS
    assert dataset.image_size == (128, 64), "the native size, not the model's"
    for split, folder in (("train", "bounding_box_train"), ("query", "query"), ("gallery", "bounding_box_test")):
        stored = dataset.splits[split]
        order = np.random.default_rng(0).permutation(len(stored))
        images = stored.gather(order)
        assert images.dtype == torch.uint8
        for row, image in zip(order, images, strict=True):
            expected = np.asarray(Image.open(market_once / folder / stored.names[row]).convert("RGB"))
            np.testing.assert_array_equal(image, expected)
            pid, camera = re.match(r"(\d+)_c(\d)", stored.names[row]).groups()  # type: ignore[union-attr]
            assert (stored.pids_N[row], stored.camids_N[row]) == (int(pid), int(camera))
        assert stored.attributes_NA.shape == (len(stored), len(dataset.attributes))
    assert (dataset.splits["gallery"].attributes_NA[:2] == -1).all()
    assert dataset.attributes["age"].classes == ("child", "teenager", "adult", "old")
    shards = {f"{name}-00000.arrow" for split in SPLITS for name in (split, f"{split}-textures")}
    assert files_below(tmp_path / "store") == {"manifest.json", *shards}


def test_images_of_another_size_are_stored_at_the_native_one(market: Path, tmp_path: Path) -> None:
    path = sorted((market / "query").glob("*.jpg"))[0]
    Image.open(path).resize((80, 200)).save(path)
    raw = prepare("embedded", market, tmp_path / "raw").splits["query"].gather([0, 1])
    compressed = (
        prepare("embedded", market, tmp_path / "compressed", encoding="compressed").splits["query"].gather([0, 1])
    )
    assert raw.shape == compressed.shape == (2, 128, 64, 3)
    expected = np.asarray(Image.open(path).resize((64, 128), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(raw[0], expected)
    np.testing.assert_array_equal(compressed[0], expected)


@pytest.mark.parametrize("encoding", ["raw", "compressed"])
def test_person_crops_come_with_joints_and_masks(coco_once: Path, tmp_path: Path, encoding: Encoding) -> None:
    dataset = prepare("coco", coco_once, tmp_path / "store", height=128, width=64, encoding=encoding)
    train = dataset.splits["train"]
    assert dataset.has_keypoints
    assert len(train) == 7
    rows = [4, 0, 3]
    images, keypoints, ignore = train.gather(rows), train.keypoints(rows), train.ignore(rows)
    assert images.shape == (3, 128, 64, 3)
    assert keypoints.shape == (3, 2, 18, 3)
    assert ignore.shape == (3, 16, 8)
    assert ignore.dtype == torch.bool
    assert [train.names[row] for row in rows] == ["000000000004_40", "000000000001_10", "000000000003_30"]
    assert ignore.flatten(1).any(dim=1).tolist() == [False, False, True]
    # Image 3: the box (67, 30, 50, 110) gives a crop of 138 × 69 around (92, 85); (60..120, 60..124) is ignored.
    rows_ignored, columns_ignored = ignore[2].any(dim=1), ignore[2].any(dim=0)
    assert rows_ignored.nonzero().flatten().tolist() == list(range(5, 13))
    assert columns_ignored.all()
    # Image 1 at x = 49 + 25 ± 34 lies inside: the crop is the image's own pixels.
    picture = Image.open(coco_once / "train2017" / "000000000001.jpg")
    expected = picture.crop((40, 16, 109, 154)).resize((64, 128), Image.Resampling.BILINEAR)
    difference = np.abs(images[1].numpy().astype(int) - np.asarray(expected).astype(int))
    assert difference.mean() < 3


def elsewhere(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """As on another machine, the last task first."""
    done = [pickle.dumps(function(pickle.loads(pickle.dumps(task)))) for task in reversed(tasks)]  # noqa: S301
    return map(pickle.loads, reversed(done))


def test_any_mapping_of_tasks_gives_the_same_store(market_once: Path, tmp_path: Path) -> None:
    digests = set()
    for number, map_tasks in enumerate((map_in_process, elsewhere)):
        dataset = prepare("embedded", market_once, tmp_path / str(number), map_tasks=map_tasks)
        digests.add(dataset.digest)
        assert open_dataset(tmp_path / str(number), verify=True).digest == dataset.digest
    assert len(digests) == 1


def test_relative_folders_reach_tasks_that_run_elsewhere(
    market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def from_another_folder(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        monkeypatch.chdir("/")
        results = [function(task) for task in tasks]
        monkeypatch.chdir(tmp_path)
        return iter(results)

    prepare("embedded", market.relative_to(tmp_path), "store", map_tasks=from_another_folder)
    assert len(open_dataset(tmp_path / "store").splits["train"]) == 12


class OnBars(Silence):
    """Calls a function with every bar."""

    def __init__(self, function: Callable[[Bar], None]) -> None:
        self.move = function  # type: ignore[method-assign]


def test_progress_counts_every_image(market_once: Path, tmp_path: Path) -> None:
    seen: list[Bar] = []
    with listening(OnBars(seen.append)):
        prepare("embedded", market_once, tmp_path / "store")
    assert [bar.done for bar in seen] == [0, 4, 8, 12, 14, 18, 20, 20]
    assert {(bar.title, bar.total, bar.unit) for bar in seen} == {("preparing embedded", 20, "images")}


def test_large_splits_become_several_shards(market_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepare("embedded", market_once, tmp_path / "one")
    monkeypatch.setattr("reid.data.preparation.SHARD_BYTES", 250_000)
    parts = prepare("embedded", market_once, tmp_path / "several")
    assert len(list((tmp_path / "several").glob("train-0*.arrow"))) == 2
    order = np.random.default_rng(0).permutation(12)
    assert (whole.splits["train"].gather(order) == parts.splits["train"].gather(order)).all()
    assert (whole.splits["train"].pids_N == parts.splits["train"].pids_N).all()


def test_what_is_prepared_is_not_prepared_again(market_once: Path, tmp_path: Path) -> None:
    prepare("embedded", market_once, tmp_path / "store")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}

    def no_tasks(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        raise AssertionError

    dataset = prepare("embedded", market_once, tmp_path / "store", map_tasks=no_tasks)
    assert len(dataset.splits["train"]) == 12
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}


KILLED_RUN = """
import os, signal, sys
import reid.data.preparation as module
module.CHUNK_ROWS = 4
from reid.progress import Silence, listening
class Killer(Silence):
    def move(self, bar):
        if bar.done == 8:
            os.kill(os.getpid(), signal.SIGKILL)
with listening(Killer()):
    module.prepare("embedded", sys.argv[1], sys.argv[2])
"""


def test_a_killed_run_goes_on_where_it_was(market: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    path = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = subprocess.run([sys.executable, "-c", KILLED_RUN, str(market), str(store)], env=os.environ | path)
    assert run.returncode == -signal.SIGKILL
    with pytest.raises(DataError, match="no prepared dataset"):
        open_dataset(store)
    finished = sorted((store / "parts").glob("train-0*.arrow"))
    assert [path.name for path in finished] == ["train-000000000.arrow", "train-000000004.arrow"]
    kept, damaged = (path.stat().st_mtime_ns for path in finished)
    finished[1].write_bytes(finished[1].read_bytes()[:-1000])  # as after a crash of the machine
    (store / f".train-00000.arrow.{uuid4().hex}.partial").write_bytes(b"half of a shard")
    times: dict[str, int] = {}

    def remember(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        for task in tasks:
            yield function(task)
            if isinstance(task, Chunk):
                times[task.path.name] = Path(task.path).stat().st_mtime_ns

    resumed = prepare("embedded", market, store, map_tasks=remember)
    assert len(times) == 6
    assert times["train-000000000.arrow"] == kept
    assert times["train-000000004.arrow"] > damaged
    assert open_dataset(store, verify=True).digest == prepare("embedded", market, tmp_path / "fresh").digest
    assert resumed.digest == open_dataset(store).digest
    assert files_below(store) == files_below(tmp_path / "fresh")


def test_a_remote_store_is_prepared_where_it_lies_and_goes_on_where_it_was(
    market_once: Path, tmp_path: Path, s3: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each task reads the source and writes to the bucket, wherever it runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("REID_STORAGE", s3("prepared"))
    store = Place(s3("prepared")) / "stores" / "embedded"
    done: list[str] = []

    def cut_off(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        for task in elsewhere_one_by_one(function, tasks):
            if len(done) == 5:
                raise KeyboardInterrupt
            done.append(task)
            yield task

    with pytest.raises(KeyboardInterrupt):
        prepare("embedded", market_once, store, map_tasks=cut_off)
    assert not (store / "manifest.json").exists()
    (store / "parts" / "train-000000000.arrow").delete()
    begun = {name: modified(store / "parts" / name) for name in (store / "parts").names()}
    assert begun
    kept: dict[str, Any] = {}

    def remember(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        yield from map_in_process(function, tasks)
        kept.update({name: modified(store / "parts" / name) for name in begun})

    prepare("embedded", market_once, store, map_tasks=remember)
    assert kept == begun
    local = prepare("embedded", market_once, tmp_path / "store")
    assert set(store.names()) == files_below(tmp_path / "store")
    copy = open_store(store, Storage(os.environ["REID_STORAGE"]))
    assert copy.digest == local.digest == open_dataset(copy.path, verify=True).digest


def test_two_nodes_that_prepare_the_same_at_once_both_have_it(
    market_once: Path, tmp_path: Path, s3: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = Place(s3("at-once"))
    monkeypatch.setenv("REID_STORAGE", root)

    def overtaken(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        """The other node, with locks of its own, comes to its end before the chunks of this one are merged."""
        if isinstance(tasks[0], Merge):
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
            prepare("embedded", market_once, root / "store")
        return map_in_process(function, tasks)

    digest = prepare("embedded", market_once, root / "store", map_tasks=overtaken).digest
    assert digest == prepare("embedded", market_once, tmp_path / "store").digest
    assert set((root / "store").names()) == files_below(tmp_path / "store")


def elsewhere_one_by_one(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    for task in tasks:
        yield from elsewhere(function, [task])


def modified(place: Place) -> Any:
    filesystem, path = place.resolve()
    return filesystem.get_file_info(path).mtime_ns


def test_a_changed_source_is_not_mixed_with_an_unfinished_run(market: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"

    def interrupt(bar: Bar) -> None:
        if bar.done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(OnBars(interrupt)):
        prepare("embedded", market, store)
    assert files_below(store) >= {"parts/train-000000000.arrow"}
    first = sorted((market / "bounding_box_train").glob("*.jpg"))[0]
    Image.new("RGB", (64, 128), (10, 200, 30)).save(first)
    dataset = prepare("embedded", market, store)
    assert dataset.splits["train"].gather([0])[0, 60, 30].tolist() == np.asarray(Image.open(first))[60, 30].tolist()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def no_image(path: Path) -> None:
    path.write_bytes(b"<html>404</html>")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("encoding", ["raw", "compressed"])
def test_all_unreadable_images_are_named_at_once(market: Path, tmp_path: Path, encoding: Encoding) -> None:
    train = sorted((market / "bounding_box_train").glob("*.jpg"))
    query = sorted((market / "query").glob("*.jpg"))
    for damage, path in ((cut_short, train[0]), (no_image, train[9]), (empty, query[1])):
        damage(path)
    with pytest.raises(DataError) as error:
        prepare("embedded", market, tmp_path / "store", encoding=encoding)
    assert "3 unreadable images" in str(error.value)
    assert all(str(path) in str(error.value) for path in (train[0], train[9], query[1]))
    assert not (tmp_path / "store").exists()


def test_many_unreadable_images_are_counted(market: Path, tmp_path: Path) -> None:
    for path in (market / "bounding_box_train").glob("*.jpg"):
        empty(path)
    with pytest.raises(DataError, match=r"and 2 more \(12 in all\)"):
        prepare("embedded", market, tmp_path / "store")


def test_a_wrong_source_leaves_nothing(market: Path, tmp_path: Path) -> None:
    (market / "market_attribute.mat").unlink()
    with pytest.raises(DataError, match="market_attribute"):
        prepare("embedded", market, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    with pytest.raises(DataError, match="there is no folder"):
        prepare("embedded", tmp_path / "nowhere", tmp_path / "store")


def test_a_folder_in_use_is_left_alone(market: Path, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="is not empty and no store"):
        prepare("embedded", market, tmp_path / "papers")
    assert files_below(tmp_path / "papers") == {"thesis.tex"}
    prepare("embedded", market, tmp_path / "store")
    with pytest.raises(DataError, match="with other settings"):
        prepare("embedded", market, tmp_path / "store", encoding="compressed")
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["encoding"] == "raw"
    with pytest.raises(DataError, match="within its source"):
        prepare("embedded", market, market / "arrow")


def test_the_plan_follows_the_files_and_the_settings_that_matter(market: Path, coco_once: Path) -> None:
    first = plan_digest("embedded", market)
    assert first == plan_digest("embedded", market, height=384, width=192), "images are stored at native size"
    assert plan_digest("coco", coco_once) != plan_digest("coco", coco_once, height=128, width=64)
    others = [plan_digest("embedded", market, encoding="compressed"), plan_digest("market1501", market)]
    path = sorted((market / "query").glob("*.jpg"))[0]
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    others.append(plan_digest("embedded", market))
    path.rename(path.with_name("0001_c1s1_000152_00.jpg"))
    others.append(plan_digest("embedded", market))
    assert len({first, *others}) == 5
