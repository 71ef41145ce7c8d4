"""Preparing data onto a storage that is not this machine's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reid.config import RunConfig, load_config
from reid.data import TEXTURES, DataError, ReIDBatches, open_dataset, open_store
from reid.experiments import prepare_all
from reid.stages import STAGES
from reid.storage import Place, Storage

SETTINGS = ("scaling.num_workers=0", "phases.pose=null", "data.height=32", "data.width=16")


def test_a_copy_that_was_cut_off_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remote = tmp_path / "remote"
    config = load_config(preset="smoke", overrides=[*SETTINGS, f"storage={remote.as_uri()}"])
    upload = Place.upload

    def cut_off(self: Place, file: Path, *, last: str = "") -> None:
        if file.name.startswith("query-00000."):
            raise KeyboardInterrupt
        upload(self, file, last=last)

    with monkeypatch.context() as broken:
        broken.setattr(Place, "upload", cut_off)
        with pytest.raises(KeyboardInterrupt):
            prepare_all(config)
    (store,) = (remote / "stores").iterdir()
    assert {file.name for file in store.iterdir()} >= {"parts", "plan", "train-00000.arrow"}
    with pytest.raises(DataError, match="holds no prepared dataset"):
        open_store(store.as_uri(), Storage(remote.as_uri()))
    prepare_all(config)
    assert open_store(store.as_uri(), Storage(remote.as_uri())).digest == open_dataset(store).digest


def test_the_pose_phase_sees_crops_or_whole_images(storage: Path) -> None:
    for images, name in (("crops", "coco"), ("whole", "coco_whole")):
        overrides = ["scaling.num_workers=0", "data.height=32", "data.width=16", f"data.pose_images={images}"]
        prepared = prepare_all(load_config(preset="smoke", overrides=overrides))
        assert open_dataset(prepared["pose"]).name == name


@pytest.fixture
def learns_textures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The baseline stage is trained on pairs of images and textures."""
    monkeypatch.setitem(STAGES, "baseline", replace(STAGES["baseline"], data=TEXTURES))


def configured(*overrides: str) -> RunConfig:
    return load_config(preset="smoke", overrides=[*SETTINGS, *overrides])


@pytest.mark.usefixtures("learns_textures")
def test_a_phase_that_learns_textures_gets_pairs(storage: Path) -> None:
    config = configured()
    prepared = prepare_all(config)
    assert prepared.keys() == {"reid", "textures"}
    pairs, people = (open_dataset(prepared[kind]) for kind in ("textures", "reid"))
    assert (pairs.name, pairs.image_size, pairs.texture_side, pairs.texture_layout) == (
        "texture_pairs",
        (32, 16),
        32,
        "embedded",
    )
    assert pairs.splits["val"].has_seen
    assert (people.texture_side, people.texture_layout) == (128, "embedded"), "native size"
    for dataset in (pairs, people):
        batches = ReIDBatches(dataset, "train", config.data, device="cpu", textures=True)
        batch = batches.training(np.arange(8), slice(0, 8), seed=0, epoch=0, step=0)
        assert batch.textures_BCHW is not None
        assert batch.textures_BCHW.shape == (8, 3, 32, 32)
    assert prepare_all(config) == prepared


@pytest.mark.usefixtures("learns_textures")
def test_a_missing_folder_of_pairs_is_named(storage: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    with pytest.raises(DataError, match=r"data\.texture_source: is missing; set it to a folder of image–texture pairs"):
        prepare_all(configured("data.name=market1501", f"data.source={images}"))
    with pytest.raises(DataError, match=r"data\.texture_source: there is no folder /no"):
        prepare_all(configured("data.name=market1501", f"data.source={images}", "data.texture_source=/no"))
    with pytest.raises(DataError, match=r"data\.texture_source: the embedded benchmark has none"):
        prepare_all(configured(f"data.texture_source={images}"))
