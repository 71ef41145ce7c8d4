"""A stranger's model, dataset, loss, layout, stage, phase and space: `toy.py` and what all jobs do with it."""

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image
from safetensors.torch import load_file

from reid.export import PT2, Card, example_images, load_onnx

TOY = Path(__file__).with_name("toy.py")
PEOPLE, CAMERAS, SHOTS = 12, 2, 4
MANIFEST = """
title: Striped people
citation: none
url: none
licence: none
reader: toy
cameras: 2
counts: {train: {images: 48, identities: 6}, query: {images: 6, identities: 6}, gallery: {images: 48, identities: 6}}
"""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People in striped clothes, in a format of their own."""
    folder = tmp_path_factory.mktemp("striped")
    rng = np.random.default_rng(0)
    rows = ["split,file,identity,camera"]
    for person in range(1, PEOPLE + 1):
        stripes_S13 = rng.integers(0, 256, (8, 1, 3))
        for camera in range(1, CAMERAS + 1):
            for shot in range(SHOTS):
                noisy = np.clip(np.repeat(stripes_S13, 8, axis=0) + rng.normal(0, 20, (64, 32, 3)), 0, 255)
                file = f"{person}-{camera}-{shot}.png"
                Image.fromarray(noisy.astype(np.uint8)).save(folder / file)
                rows.append(f"{'train' if person <= PEOPLE // 2 else 'gallery'},{file},{person},{camera}")
                if person > PEOPLE // 2 and (camera, shot) == (1, 0):
                    rows.append(f"query,{file},{person},{camera}")
    (folder / "people.csv").write_text("\n".join(rows) + "\n")
    (folder / "striped.yaml").write_text(MANIFEST)
    return folder


@dataclass
class Toy:
    """Runs jobs with the extension."""

    start: Start
    dataset: Path

    def __call__(self, job: str, *arguments: object, **settings: object) -> Any:
        given = {
            "extensions": f"[{TOY}]",
            "data.name": self.dataset / "striped.yaml",
            "data.source": self.dataset,
            "scaling.num_workers": 0,
            "precision": "fp32",
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        overrides = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
        return self.start(sys.executable, f"jobs/{job}.py", *map(str, arguments), *overrides)


@pytest.fixture(scope="module")
def toy(start: Start, dataset: Path) -> Toy:
    return Toy(start, dataset)


@pytest.fixture(scope="module")
def trained(toy: Toy) -> str:
    printed: str = toy("full_pipeline", "--preset", "toy", name="toy").finish()
    return printed


def checkpoint_in(printed: str, phase: str) -> Path:
    (place,) = re.findall(rf"^checkpoint of {phase}: (.+)$", printed, re.MULTILINE)
    return Path(place)


def scores_in(printed: str, row: str) -> list[str]:
    (line,) = [line for line in printed.splitlines() if re.search(rf"\b{row}\W+\d", line) and "%" in line]
    return re.findall(r"[\d.]+%", line)


def test_the_model_is_trained_by_the_same_loop_scored_and_recorded(trained: str, shared_storage: Path) -> None:
    assert "first → second" in trained
    assert len(scores_in(trained, "second")) == len(scores_in(trained, "mean colour")) == 5
    browser = MlflowClient(tracking_uri=f"sqlite:///{shared_storage}/mlflow.db")
    (experiment,) = [found for found in browser.search_experiments() if found.name == "reid"]
    runs = browser.search_runs([experiment.experiment_id], "tags.`reid.model` = 'toy'")
    assert {run.info.run_name for run in runs if "reid.phase" in run.data.tags} == {"first", "second"}
    (second,) = [run for run in runs if run.info.run_name == "second"]
    assert second.data.params["models.toy.stripes"] == "4"
    assert {"train/identity", "train/spread", "eval/mAP"} <= second.data.metrics.keys()
    assert [item.dataset.name for item in second.inputs.dataset_inputs] == ["striped"]


def test_a_phase_starts_from_the_former_and_goes_on_bit_for_bit_after_a_kill(
    toy: Toy, trained: str, shared_storage: Path, wait_until: Any
) -> None:
    job = toy("full_pipeline", "--preset", "toy", name="killed-toy")
    wait_until(lambda: "second: epoch 2" in job.output(), 120, "the second epoch", job)
    job.process.kill()
    job.process.wait()
    again = toy("full_pipeline", "--preset", "toy", name="killed-toy").finish()
    assert "second: epoch 30/" not in job.output(), "killed too late to show anything"
    assert "first: epoch" not in again
    for phase in ("first", "second"):
        for file in ("model.safetensors", "optimizer.safetensors"):
            found, expected = (checkpoint_in(printed, phase) / file for printed in (again, trained))
            assert found.read_bytes() == expected.read_bytes()


def test_its_checkpoint_is_evaluated_and_described_by_whoever_names_the_extension(
    toy: Toy, trained: str, dataset: Path, tmp_path: Path, start: Start
) -> None:
    checkpoint = checkpoint_in(trained, "second")
    printed = toy("evaluate", "--checkpoint", checkpoint).finish()
    assert scores_in(printed, "second") == scores_in(trained, "second")
    toy("extract", "--checkpoint", checkpoint, "--images", dataset, "--output", tmp_path / "d.parquet").finish()
    assert pq.read_table(tmp_path / "d.parquet").num_rows == PEOPLE * CAMERAS * SHOTS
    stranger = start(sys.executable, "jobs/evaluate.py", "--checkpoint", checkpoint)
    assert stranger.process.wait(120) == 1
    (error,) = [line for line in stranger.output().splitlines() if line.startswith("error: ")]
    assert "name it by --set extensions=[FILE.py]" in error


def test_its_export_needs_no_extension_and_lacks_what_training_alone_needs(
    toy: Toy, trained: str, tmp_path: Path
) -> None:
    checkpoint = checkpoint_in(trained, "second")
    assert "classify.weight" in load_file(checkpoint / "model.safetensors")
    printed = toy("export", "--checkpoint", checkpoint, "--output", tmp_path / "exported").finish()
    program = torch.export.load(tmp_path / "exported" / PT2)
    assert [name for name in program.state_dict if "classify" in name] == []
    images_BCHW = example_images(3, (64, 32))
    found_BD = program.module()(images_BCHW)
    torch.testing.assert_close(load_onnx(tmp_path / "exported" / "descriptor.onnx")(images_BCHW), found_BD)
    card = Card.read(tmp_path / "exported")
    assert (card.dim, card.layout, card.phase) == (8, "toy", "second")
    assert "registered" in trained
    assert "version" in printed


def test_it_is_swept_on_a_cluster_with_its_own_space(toy: Toy, shared_storage: Path) -> None:
    printed = toy("sweep", "--preset", "toy", name="swept", phases__second__epochs=2, search__held_out=0.34).finish()
    assert "3 trials of toy" in printed
    (folder,) = (path for path in (shared_storage / "runs").glob("swept-sweep-*") if path.is_dir())
    study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder}/study.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert {trial.values[1] for trial in study.trials} == {8}
    assert study.trials[0].params == {"models.toy.spread_weight": 0.1}
    assert len({trial.params["models.toy.spread_weight"] for trial in study.trials}) == 3
    assert (folder / "champion").is_dir()


def test_a_layout_of_its_own_divides_fgsam(start: Start) -> None:
    script = (
        "from reid.config import load_config\n"
        "from reid.stages import stage_of\n"
        "from reid.training import Labels\n"
        f"config = load_config(preset='smoke', overrides=['extensions=[{TOY}]', 'model.layout=halves'])\n"
        "model = stage_of(config, 'final').build(config, Labels(num_identities=3, attributes={}), pretrained=False)\n"
        "print(*model.alignment.branches)\n"
    )
    assert start(sys.executable, "-c", script).finish().split() == ["above", "below", "plenary"]


def test_an_extension_that_cannot_be_loaded_ends_a_job_with_its_name(start: Start, tmp_path: Path) -> None:
    job = start(sys.executable, "jobs/prepare_data.py", "--set", f"extensions=[{tmp_path}/nowhere.py]")
    assert job.process.wait(120) == 1
    (error,) = [line for line in job.output().splitlines() if line.startswith("error: ")]
    assert f"extensions: {tmp_path}/nowhere.py cannot be imported" in error


def test_the_extension_is_no_part_of_the_package() -> None:
    package = Path(__file__).parents[2] / "platform" / "reid"
    assert not [file for file in package.rglob("*.py") if re.search(r"\btoy\b", file.read_text(), re.IGNORECASE)]
    assert shutil.which("git") is None or TOY.is_file()
