import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import loadmat

from reid.data.parallel import map_in_process, map_in_processes
from reid.embedded import SIZES, BenchmarkSize, render_market1501
from reid.embedded.atlas import texture_of
from reid.embedded.market1501 import ShotsTask, render_shots
from reid.embedded.plan import plan_market1501

Task = TypeVar("Task")
Result = TypeVar("Result")

FOLDERS = ("bounding_box_train", "bounding_box_test", "query")
SMALL = BenchmarkSize(
    train_identities=6,
    train_images=24,
    test_identities=6,
    query_images=6,
    gallery_images=12,
    distractor_images=4,
    junk_images=4,
    coco_train_images=0,
    coco_val_images=0,
)
UP = ["upblack", "upwhite", "upred", "uppurple", "upyellow", "upgray", "upblue", "upgreen"]
# The original file's field orders.
TEST_FIELDS = [
    "age", "backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender", *UP,
    "downblack", "downwhite", "downpink", "downpurple", "downyellow", "downgray", "downblue", "downgreen", "downbrown",
    "image_index",
]  # fmt: skip
TRAIN_FIELDS = [
    "age", "backpack", "bag", "handbag",
    "downblack", "downblue", "downbrown", "downgray", "downgreen", "downpink", "downpurple", "downwhite", "downyellow",
    "upblack", "upblue", "upgreen", "upgray", "uppurple", "upred", "upwhite", "upyellow",
    "clothes", "down", "up", "hair", "hat", "gender", "image_index",
]  # fmt: skip


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def pids_of(folder: Path) -> list[int]:
    return [int(path.name.split("_")[0]) for path in folder.glob("*.jpg")]


def map_backwards(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    return reversed([function(task) for task in reversed(tasks)])


def test_the_folders_hold_the_exact_counts_and_nothing_unexpected(market: Path) -> None:
    size = SIZES["smoke"]
    train, gallery, query = (
        pids_of(market / folder) for folder in ("bounding_box_train", "bounding_box_test", "query")
    )
    assert (len(train), len(set(train))) == (size.train_images, size.train_identities)
    assert (len(query), len(set(query))) == (size.query_images, size.test_identities)
    assert gallery.count(-1) == size.junk_images
    assert gallery.count(0) == size.distractor_images
    assert len(gallery) == size.junk_images + size.distractor_images + size.gallery_images
    others = {"market_attribute.mat", "person_keypoints.json", "textures"}
    assert {path.name for path in market.iterdir()} == {*FOLDERS, *others}
    for folder in FOLDERS:
        others = [path.name for path in (market / folder).iterdir() if path.suffix != ".jpg"]
        assert others == ["Thumbs.db"]


def test_images_are_128_by_64_rgb_jpegs(market: Path) -> None:
    for path in market.glob("*/*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 128))


def test_everyone_in_train_and_test_has_a_texture(market: Path) -> None:
    plan = plan_market1501(SIZES["smoke"], seed=0)
    people = plan.train | plan.test
    assert {path.name for path in (market / "textures").iterdir()} == {f"{pid:04d}.png" for pid in people}
    for pid, person in people.items():
        with Image.open(market / "textures" / f"{pid:04d}.png") as texture:
            assert texture.format == "PNG"
            np.testing.assert_array_equal(np.asarray(texture), texture_of(person, 128))


@pytest.mark.slow
def test_bytes_depend_on_the_seed_and_not_on_process_order_or_chunks(tmp_path: Path) -> None:
    render_market1501(tmp_path / "one", size=SMALL, seed=1, map_tasks=map_in_process)
    render_market1501(tmp_path / "elsewhere", size=SMALL, seed=1, map_tasks=map_in_processes(1))
    render_market1501(tmp_path / "backwards", size=SMALL, seed=1, map_tasks=map_backwards)
    expected = files_of(tmp_path / "one")
    assert files_of(tmp_path / "elsewhere") == expected
    assert files_of(tmp_path / "backwards") == expected

    for folder in FOLDERS:
        (tmp_path / "single" / folder).mkdir(parents=True)
    for shot in plan_market1501(SMALL, seed=1).shots[::7]:
        render_shots(ShotsTask(root=str(tmp_path / "single"), seed=1, shots=(shot,)))
        assert (tmp_path / "single" / shot.path).read_bytes() == expected[shot.path]
    assert {"person_keypoints.json", "textures/0001.png"} <= expected.keys()

    render_market1501(tmp_path / "other", size=SMALL, seed=2, map_tasks=map_in_process)
    assert files_of(tmp_path / "other") != expected


def test_a_crash_leaves_no_destination_and_the_next_render_is_complete(tmp_path: Path) -> None:
    def crash(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        yield function(tasks[0])
        raise KeyboardInterrupt

    destination = tmp_path / "market"
    with pytest.raises(KeyboardInterrupt):
        render_market1501(destination, size=SMALL, seed=1, map_tasks=crash)
    assert not destination.exists()
    render_market1501(destination, size=replace(SMALL, train_images=25), seed=1, map_tasks=map_in_process)
    assert len(pids_of(destination / "bounding_box_train")) == 25
    assert [path.name for path in tmp_path.iterdir() if path.name != ".writing.lock"] == ["market"]
    with pytest.raises(FileExistsError, match="remove it"):
        render_market1501(destination, size=SMALL, seed=1, map_tasks=map_in_process)


class TestAttributeFile:
    @pytest.mark.parametrize(("split", "fields"), [("train", TRAIN_FIELDS), ("test", TEST_FIELDS)])
    def test_layout_is_the_originals(self, market: Path, split: str, fields: list[str]) -> None:
        root = loadmat(market / "market_attribute.mat")["market_attribute"]
        assert root.shape == (1, 1)
        assert root.dtype.names == ("test", "train")
        struct = root[split][0, 0]
        assert struct.shape == (1, 1)
        assert list(struct.dtype.names) == fields
        count = {"train": SIZES["smoke"].train_identities, "test": SIZES["smoke"].test_identities}[split]
        for field in fields[:-1]:
            values = struct[field][0, 0]
            assert (values.shape, values.dtype) == ((1, count), np.uint8)
            assert set(values.ravel()) <= ({1, 2, 3, 4} if field == "age" else {1, 2})
        for group in ("up", "down"):
            colours = [struct[field][0, 0] for field in fields if field.startswith(group) and field != group]
            assert ((np.concatenate(colours) == 2).sum(axis=0) <= 1).all()

    @pytest.mark.parametrize(("split", "folder"), [("train", "bounding_box_train"), ("test", "query")])
    def test_rows_are_the_split_s_identities(self, market: Path, split: str, folder: str) -> None:
        struct = loadmat(market / "market_attribute.mat")["market_attribute"][split][0, 0]
        index = struct["image_index"][0, 0]
        names = [str(cell.item()) for cell in index[0]]
        assert index.shape == (1, len(names))
        assert index[0, 0].dtype == np.dtype("<U4")
        assert all(re.fullmatch(r"\d{4}", name) for name in names)
        assert [int(name) for name in names] == sorted(set(pids_of(market / folder)))


def test_mean_colour_does_hardly_better_than_chance(market: Path) -> None:
    def mean_colours(folder: str) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        paths = [path for path in sorted((market / folder).glob("*.jpg")) if not path.name.startswith("-1")]
        colours = np.array([np.asarray(Image.open(path)).mean(axis=(0, 1)) for path in paths])
        return colours, np.array([int(p.name[:4]) for p in paths]), np.array([int(p.name[6]) for p in paths])

    (queries, query_pids, query_cameras) = mean_colours("query")
    (gallery, gallery_pids, gallery_cameras) = mean_colours("bounding_box_test")

    def mean_average_precision(distances_QG: NDArray[np.float64]) -> float:
        precisions = []
        for distances, pid, camera in zip(distances_QG, query_pids, query_cameras, strict=True):
            kept = (gallery_pids != pid) | (gallery_cameras != camera)
            matches = (gallery_pids[kept] == pid)[np.argsort(distances[kept], kind="stable")]
            ranks = np.flatnonzero(matches)
            precisions.append(np.mean((np.arange(len(ranks)) + 1) / (ranks + 1)))
        return float(np.mean(precisions))

    rng = np.random.default_rng(0)
    chance = np.mean([mean_average_precision(rng.random((len(queries), len(gallery)))) for _ in range(20)])
    by_colour = mean_average_precision(np.linalg.norm(queries[:, None] - gallery, axis=2))
    assert by_colour < chance + 0.08
