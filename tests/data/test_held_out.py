"""Held-out identities: a seeded, disjoint division of the training split, made without opening query and gallery."""

import pickle
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike

from reid.config import DataConfig
from reid.data import DataError, Dataset, ReIDBatches, Split, map_in_process, open_dataset, prepare
from reid.data.held_out import HoldOut, hold_out
from reid.embedded import SIZES, render_market1501

RULE = HoldOut(fraction=0.3, seed=0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose query and gallery nobody can open."""
    root = tmp_path_factory.mktemp("held-out")
    render_market1501(root / "market1501", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    folder = prepare("embedded", root / "market1501", root / "store").path
    for shard in (*folder.glob("query-*.arrow"), *folder.glob("gallery-*.arrow")):
        shard.unlink()
        shard.mkdir()
    return folder


@pytest.fixture
def whole(store: Path) -> Dataset:
    return open_dataset(store, splits=("train",))


def rows_of(split: Split) -> list[tuple[int, int, str]]:
    return list(zip(split.pids_N.tolist(), split.camids_N.tolist(), split.names, strict=True))


def test_everybody_is_on_one_side(whole: Dataset) -> None:
    view = hold_out(whole, RULE)
    train, held = set(view.splits["train"].pids_N.tolist()), set(view.splits["gallery"].pids_N.tolist())
    everybody = set(whole.splits["train"].pids_N.tolist())
    assert train | held == everybody
    assert not train & held
    assert len(held) == round(RULE.fraction * len(everybody))
    images = sorted(rows_of(view.splits["train"]) + rows_of(view.splits["gallery"]))
    assert images == sorted(rows_of(whole.splits["train"]))


def test_queries_are_one_image_per_camera_of_whoever_several_cameras_saw(whole: Dataset) -> None:
    view = hold_out(whole, RULE)
    gallery, expected = rows_of(view.splits["gallery"]), []
    for pid in sorted({pid for pid, _, _ in gallery}):
        cameras = sorted({camera for other, camera, _ in gallery if other == pid})
        if len(cameras) > 1:
            expected += [next(row for row in gallery if row[:2] == (pid, camera)) for camera in cameras]
    assert sorted(rows_of(view.splits["query"])) == sorted(expected)
    for pid, camera, _ in rows_of(view.splits["query"]):
        assert any(other == pid and seen != camera for other, seen, _ in gallery), "nothing to find"


def test_images_and_labels_belong_together(whole: Dataset) -> None:
    source = whole.splits["train"]
    place = {name: row for row, name in enumerate(source.names)}
    for split in hold_out(whole, RULE).splits.values():
        rows = np.array([place[name] for name in split.names])
        assert len(split) == len(rows)
        assert (split.attributes_NA == source.attributes_NA[rows]).all()
        some = np.array([len(split) - 1, 0])
        assert (split.texture_rows_N == source.texture_rows_N[rows]).all()
        assert split.has_textures
        for field in ("gather", "keypoints", "ignore", "textures"):
            assert torch.equal(getattr(split, field)(some), getattr(source, field)(rows[some]))
        assert split.keypoints(np.arange(len(split))).any()


class NumberedMaps:
    """The map of every image tells its row."""

    def gather(self, indices: ArrayLike) -> torch.Tensor:
        return torch.tensor(np.asarray(indices).tolist()).float()[:, None, None, None].expand(-1, 57, 16, 8)


def test_maps_attached_to_the_whole_go_along_with_its_images(store: Path) -> None:
    view = hold_out(open_dataset(store, splits=("train",)), RULE)
    assert all(split.maps is None for split in view.splits.values())
    source = view.whole.splits["train"]
    source.attach(NumberedMaps())
    place = {name: row for row, name in enumerate(source.names)}
    for name, split in view.splits.items():
        rows = np.array([place[image] for image in split.names])
        batches = ReIDBatches(view, name, DataConfig(height=128, width=64), device="cpu")
        some = np.array([len(split) - 1, 0, 1])
        images, maps = batches.inputs(some)
        assert torch.equal(images, batches.inference(some))
        assert maps[:, 3, 2, 1].tolist() == rows[some].tolist()
        assert split.maps is not None
        assert torch.equal(split.maps.gather(some), maps)


class NumberedTextures:
    """The texture of every image tells its row."""

    def gather(self, indices: ArrayLike) -> torch.Tensor:
        return torch.tensor(np.asarray(indices).tolist()).to(torch.uint8)[:, None, None, None].expand(-1, 8, 8, 3)


def test_textures_attached_to_the_whole_go_along_with_its_images(store: Path) -> None:
    view = hold_out(open_dataset(store, splits=("train",)), RULE)
    source = view.whole.splits["train"]
    assert view.splits["train"].texture_layout == "embedded"
    source.attach(textures=NumberedTextures())
    place = {name: row for row, name in enumerate(source.names)}
    for split in view.splits.values():
        assert (split.has_textures, split.texture_layout, split.has_seen) == (True, None, False)
        rows = [place[image] for image in split.names]
        some = np.array([len(split) - 1, 0, 1])
        assert split.textures(some)[:, 3, 2, 1].tolist() == [rows[row] for row in some]
        with pytest.raises(DataError, match="it is not known which texels the images show"):
            split.seen(some)


def test_the_draw_is_the_seeds_alone(whole: Dataset) -> None:
    def held(seed: int) -> set[int]:
        return set(hold_out(whole, HoldOut(fraction=0.3, seed=seed)).splits["gallery"].pids_N.tolist())

    draws = [held(seed) for seed in range(6)]
    assert draws == [held(seed) for seed in range(6)]
    assert any(one != other for one, other in pairwise(draws))


def test_it_travels_as_its_path(whole: Dataset) -> None:
    view = hold_out(whole, RULE)
    sent = pickle.dumps(view)
    assert len(sent) < 2000
    arrived = pickle.loads(sent)  # noqa: S301 - our own
    assert {name: rows_of(split) for name, split in arrived.splits.items()} == {
        name: rows_of(split) for name, split in view.splits.items()
    }


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_both_sides_need_two_identities(whole: Dataset, fraction: float) -> None:
    with pytest.raises(DataError, match=r"search.held_out: 0\.\d+ of \d+ identities is \d+, .*: choose another share"):
        hold_out(whole, HoldOut(fraction=fraction, seed=0))


def test_a_split_that_is_not_asked_for_is_not_missed(store: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "copy"))
    assert set(open_dataset(copy, splits=("train",)).splits) == {"train"}
    with pytest.raises(DataError, match=r"query-00000\.arrow is missing"):
        open_dataset(copy)
    for shard in copy.glob("train-*.arrow"):
        shard.unlink()
    with pytest.raises(DataError, match=r"train-00000\.arrow is missing"):
        open_dataset(copy, splits=("train",))
