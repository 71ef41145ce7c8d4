"""A user's own images in every job that trains: what is trained on them, and what is left out for want of data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid.config import ConfigError, RunConfig, load_config
from reid.data import open_dataset
from reid.experiments import prepare_all, run_pipeline, run_sweep
from reid.experiments.data import without_unfed_phases

COLOURS = ("red", "green", "blue")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Twelve people, each seen four times by two cameras in a coat of one colour."""
    folder = tmp_path / "own"
    rng = np.random.default_rng(0)
    lines = ["File;Person;Camera;Coat"]
    for person in range(12):
        for image in range(4):
            name = f"person {person}/{image}.jpg"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 90, (64, 32, 3), np.uint8)
            pixels[20:40, :, person % 3] += np.uint8(120)
            Image.fromarray(pixels).save(folder / name)
            lines.append(f"{name};person {person};{'door' if image < 2 else 'hall'};{COLOURS[person % 3]}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def configured(source: Path, *overrides: str, preset: str = "smoke") -> RunConfig:
    settings = ["data.name=folder", f"data.source={source}", "scaling.num_workers=0", *overrides]
    return load_config(preset=preset, overrides=settings)


@pytest.mark.parametrize(
    ("preset", "overrides", "kept"),
    [
        ("smoke", [], ["baseline"]),
        ("demo", [], ["baseline"]),
        ("paper", [], ["baseline"]),
        ("paper", ["model.pose=false"], ["baseline", "intermediate", "final"]),
        ("paper", ["model.maps=joints"], ["baseline", "intermediate", "final"]),
        ("paper", ["model.pose_net.weights={file}"], ["baseline", "intermediate", "final"]),
        ("paper", ["data.pose_source=coco"], ["pose", "baseline", "intermediate", "final"]),
        ("smoke", ["phases.pose=null"], ["baseline", "intermediate", "final"]),
        ("strong_baseline", [], ["strong_baseline"]),
        ("san_smoke", [], ["san_baseline"]),
        ("san_smoke", ["models.san.textures=own"], ["san_baseline", "san"]),
        ("san_smoke", ["data.texture_source=pairs"], ["texture_generator", "san_baseline", "san"]),
    ],
)
def test_phases_that_have_no_data_are_left_out_and_those_that_need_what_they_train(
    preset: str, overrides: list[str], kept: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "body.pth").touch()
    given = [setting.replace("{file}", str(tmp_path / "body.pth")) for setting in overrides]
    config = configured(tmp_path, *given, preset=preset)
    assert list(without_unfed_phases(config).phases) == kept
    out = capsys.readouterr().out
    assert (out == "") == (kept == list(config.phases))
    assert out.count("\n") <= 1


def test_what_is_left_out_is_said_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_unfed_phases(configured(tmp_path, preset="paper"))
    assert capsys.readouterr().out == (
        "left out for want of data: pose, which learns from data.pose_source: set it to a COCO folder with "
        "annotations/ and train2017/ for the pose phase; intermediate and final, which would fuse the maps of a pose "
        "net that nobody has trained: name one that is, model.pose_net.weights=FILE, or do without, model.pose=false. "
        "What is trained, baseline, starts from the weights that the settings name\n"
    )


def test_of_a_published_dataset_and_of_all_phases_nothing_is_left_out(tmp_path: Path) -> None:
    published = load_config(preset="paper", overrides=[f"data.source={tmp_path}"])
    assert without_unfed_phases(published) is published
    pose_alone = configured(tmp_path, *(f"phases.{name}=null" for name in ("baseline", "intermediate", "final")))
    assert without_unfed_phases(pose_alone) is pose_alone
    with pytest.raises(ValueError, match=r"data\.pose_source: is missing; set it to a COCO folder"):
        prepare_all(pose_alone)


def test_a_missing_folder_of_ones_own_was_never_unpacked(tmp_path: Path, storage: Path) -> None:
    config = load_config(preset="smoke", overrides=["data.name=folder", "scaling.num_workers=0"])
    with pytest.raises(ValueError, match=r"data\.source: is missing; set it to the folder of your images$"):
        prepare_all(config)
    with pytest.raises(ValueError, match=r"data\.source: there is no folder .*/none; set it to the folder of your im"):
        prepare_all(configured(tmp_path / "none"))


def test_a_sweep_says_that_what_is_left_cannot_be_searched(own: Path, storage: Path) -> None:
    with pytest.raises(ConfigError, match="baseline is of stage baseline, which cannot be searched"):
        run_sweep(configured(own))


@pytest.mark.slow
def test_own_images_are_trained_on_and_scored_with_their_attributes(own: Path, storage: Path) -> None:
    config = configured(own, "model.pose=false", "phases.intermediate=null", "phases.final.epochs=1")
    scores = run_pipeline(config)
    assert list(scores) == ["mean colour", "baseline", "final"]
    assert 0 <= scores["final"]["mAP"] <= 1
    (store,) = (path for path in (storage / "stores").iterdir() if path.is_dir())
    dataset = open_dataset(store)
    assert dataset.attributes["coat"].classes == ("blue", "green", "red")
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 24, "query": 12, "gallery": 12}
    (checkpoint,) = (storage / "runs").glob("*/final/epoch_0001")
    assert "eval/attributes/coat" in (checkpoint / "phase.json").read_text()


@pytest.mark.slow
def test_a_folder_for_each_person_is_enough(own: Path, storage: Path) -> None:
    (own / "labels.csv").unlink()
    scores = run_pipeline(configured(own, "phases.baseline.epochs=1"))
    assert list(scores) == ["mean colour", "baseline"]
