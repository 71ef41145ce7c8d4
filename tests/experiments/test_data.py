"""Preparing data onto a storage that is not this machine's."""

from pathlib import Path

import pytest

from reid.config import load_config
from reid.data import DataError, open_dataset, open_store
from reid.experiments import prepare_all
from reid.storage import Place

SETTINGS = ("scaling.num_workers=0", "phases.pose=null", "data.height=32", "data.width=16")


def test_a_copy_that_was_cut_off_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remote = tmp_path / "remote"
    config = load_config(preset="smoke", overrides=[*SETTINGS, f"storage={remote.as_uri()}"])
    upload = Place.upload

    def cut_off(self: Place, file: Path) -> None:
        if file.name.startswith("query"):
            raise KeyboardInterrupt
        upload(self, file)

    with monkeypatch.context() as broken:
        broken.setattr(Place, "upload", cut_off)
        with pytest.raises(KeyboardInterrupt):
            prepare_all(config)
    (store,) = (remote / "stores").iterdir()
    assert sorted(file.name for file in store.iterdir()) == ["gallery-00000.arrow", "gallery-textures-00000.arrow"]
    with pytest.raises(DataError, match="holds no prepared dataset"):
        open_store(store.as_uri(), remote.as_uri())
    prepare_all(config)
    assert open_store(store.as_uri(), remote.as_uri()).digest == open_dataset(store).digest


def test_the_pose_phase_sees_crops_or_whole_images(storage: Path) -> None:
    for images, name in (("crops", "coco"), ("whole", "coco_whole")):
        overrides = ["scaling.num_workers=0", "data.height=32", "data.width=16", f"data.pose_images={images}"]
        prepared = prepare_all(load_config(preset="smoke", overrides=overrides))
        assert open_dataset(prepared["pose"]).name == name
