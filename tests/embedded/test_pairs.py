"""Images of people and their textures, on disk and through a store."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image

from reid.config import AugmentationConfig, DataConfig
from reid.data import ReIDBatches, map_in_process, map_in_processes, prepare
from reid.embedded import SIZES, BenchmarkSize, render_pairs
from reid.embedded.atlas import Atlas, texture_of
from reid.embedded.cameras import CAMERAS
from reid.embedded.market1501 import SUBJECT, render_shot
from reid.embedded.pairs import MASK_SIDE, plan_people, plan_shots, stream_of
from reid.embedded.plan import plan_market1501

Task = TypeVar("Task")
Result = TypeVar("Result")

SIZE = SIZES["smoke"]
COUNTS = {
    "train": (SIZE.pairs_train_people, SIZE.pairs_train_images),
    "val": (SIZE.pairs_val_people, SIZE.pairs_val_images),
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("embedded") / "pairs"
    render_pairs(root, size=SIZE, seed=0, map_tasks=map_in_process)
    return root


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def map_backwards(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    return reversed([function(task) for task in reversed(tasks)])


@pytest.mark.parametrize("split", COUNTS)
def test_the_folders_hold_the_exact_counts(pairs: Path, split: str) -> None:
    people, images = COUNTS[split]
    names = [path.name for path in (pairs / split / "images").iterdir()]
    assert all(re.fullmatch(r"\d{4}_c[1-6]_\d{2}\.jpg", name) for name in names)
    assert Counter(name[:4] for name in names) == {f"{number:04d}": images for number in range(1, people + 1)}
    textures = [path.name for path in (pairs / split / "textures").iterdir()]
    assert sorted(textures) == [f"{number:04d}.png" for number in range(1, people + 1)]
    masks = pairs / split / "seen"
    assert masks.is_dir() == (split == "val")
    if masks.is_dir():
        assert {path.stem for path in masks.iterdir()} == {name.removesuffix(".jpg") for name in names}
    for name in names:
        with Image.open(pairs / split / "images" / name) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 128))


def test_people_are_their_own() -> None:
    plan = plan_market1501(SIZE, seed=0)
    benchmark = [*plan.train.values(), *plan.test.values(), *(shot.person for shot in plan.shots)]
    train, val = (list(plan_people(0, split, 20).values()) for split in ("train", "val"))
    assert not set(benchmark) & {*train, *val}
    assert not set(train) & set(val)
    assert len({*train, *val}) == 40
    bodies = [{(person.height, person.girth, person.jitter) for person in people} for people in (train, val)]
    assert not bodies[0] & bodies[1], "nor are they look-alikes of each other"
    assert plan_people(0, "train", 20) != plan_people(1, "train", 20)


def test_images_are_as_the_benchmark_s_cameras_see_people() -> None:
    people = plan_people(0, "train", 40)
    shots = plan_shots(0, "train", people, 6)
    assert {shot.camera for shot in shots} == set(CAMERAS)
    assert [shot.index for shot in shots] == list(range(240))
    assert all(shot.person is people[Path(shot.path).name[:4]] for shot in shots)
    away = [min(abs(shot.yaw - yaw) for yaw in CAMERAS[shot.camera].yaws) for shot in shots]
    assert np.mean(away) < 14


def test_textures_and_masks_belong_to_the_images(pairs: Path) -> None:
    people = plan_people(0, "val", SIZE.pairs_val_people)
    shots = plan_shots(0, "val", people, SIZE.pairs_val_images)
    for name, person in people.items():
        stored = np.asarray(Image.open(pairs / "val" / "textures" / f"{name}.png"))
        np.testing.assert_array_equal(stored, texture_of(person, SIZE.texture_side))
    shares = []
    for shot in shots:
        _, canvas, _ = render_shot(shot, stream_of(0, "val", 2 + shot.index), locate=Atlas(MASK_SIDE).locate)
        shown = np.unique(canvas.texels(SUBJECT))
        with Image.open(pairs / "val" / "seen" / f"{Path(shot.path).stem}.png") as mask:
            assert mask.mode == "1"
            np.testing.assert_array_equal(np.flatnonzero(np.asarray(mask)), shown)
        shares.append(len(shown) / MASK_SIDE**2)
    assert 0.1 < np.mean(shares) < 0.3
    assert len(set(shares)) > 1


@pytest.mark.slow
def test_bytes_depend_on_the_seed_and_not_on_process_order_or_chunks(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = files_of(pairs)
    render_pairs(tmp_path / "elsewhere", size=SIZE, seed=0, map_tasks=map_in_processes(1))
    assert files_of(tmp_path / "elsewhere") == expected
    for module in ("pairs", "textures"):
        monkeypatch.setattr(f"reid.embedded.{module}.IMAGES_PER_TASK", 5)
    render_pairs(tmp_path / "backwards", size=SIZE, seed=0, map_tasks=map_backwards)
    assert files_of(tmp_path / "backwards") == expected
    render_pairs(tmp_path / "other", size=SIZE, seed=1, map_tasks=map_in_process)
    assert files_of(tmp_path / "other") != expected


def test_a_crash_leaves_no_destination(tmp_path: Path) -> None:
    def crash(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        yield function(tasks[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_pairs(tmp_path / "pairs", size=SIZE, seed=0, map_tasks=crash)
    assert not (tmp_path / "pairs").exists()
    (tmp_path / "pairs").mkdir()
    with pytest.raises(FileExistsError, match="remove it"):
        render_pairs(tmp_path / "pairs", size=SIZE, seed=0, map_tasks=map_in_process)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"texture_side": 100}, "texture_side must be a multiple of 32"),
        ({"pairs_val_images": -1}, "must not be negative"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BenchmarkSize(**{**vars(SIZE), **changes})


@pytest.mark.parametrize("height", [128, 64])
def test_from_rendering_to_mirrored_batches(pairs: Path, tmp_path: Path, height: int) -> None:
    dataset = prepare("texture_pairs", pairs, tmp_path / "store", height=height, width=height // 2)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        split: people * images for split, (people, images) in COUNTS.items()
    }
    assert (dataset.has_textures, dataset.texture_side, dataset.texture_layout) == (True, height, "embedded")
    config = DataConfig(height=height, width=height // 2, augmentation=AugmentationConfig(flip=0.5))
    for name, split in dataset.splits.items():
        batches = ReIDBatches(dataset, name, config, device="cpu", textures=True)
        rows = np.arange(len(split))
        batch = batches.training(rows, slice(0, len(rows)), seed=3, epoch=0, step=0)
        assert batch.textures_BCHW is not None
        unflipped = batches.inference(rows)
        flipped = [not torch.equal(*pair) for pair in zip(batch.images_BCHW, unflipped, strict=True)]
        assert 0 < sum(flipped) < len(rows)
        people = plan_people(0, name, COUNTS[name][0])
        for image, texture, is_flipped in zip(split.names, batch.textures_BCHW, flipped, strict=True):
            drawn = Image.fromarray(texture_of(people[image[:4]], 128)).resize(
                (height, height), Image.Resampling.BILINEAR
            )
            expected = np.asarray(drawn, np.float64)[:, :: -1 if is_flipped else 1]
            assert np.abs((texture.permute(1, 2, 0).double().numpy() + 1) * 127.5 - expected).max() < 1.01
        assert split.has_seen == (name == "val")
    seen = dataset.splits["val"].seen([0, 1, 2])
    assert 0.05 < seen.float().mean() < 0.4
