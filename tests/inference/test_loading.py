# ruff: noqa: N802 - arrays carry their shape as a suffix
"""Where models come from, and that nothing that lies there is unpickled."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

import reid
from reid.config import load_config
from reid.experiments.export import export_checkpoint
from reid.export import CARD, ONNX, PT2, Descriptor, ExportError, example_images
from reid.storage import Place
from reid.tracking import MODEL_NAME, Recorder
from reid.training import CheckpointError

IMAGES_BCHW = example_images(5, (16, 8))
ROOT = Path(__file__).parents[2]


def described(model: reid.Model) -> np.ndarray:
    return model.describe(IMAGES_BCHW.permute(0, 2, 3, 1).numpy(), batch_size=2)


@pytest.fixture
def expected_BD(descriptor: Descriptor) -> np.ndarray:
    return descriptor(IMAGES_BCHW).numpy()


def test_an_export_is_loaded_without_its_torch_program(
    export: Path, expected_BD: np.ndarray, plant_pickle: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    plant_pickle(export / PT2, tmp_path / "unpickled")
    for place in (export, str(export), f"file://{export}"):
        model = reid.load(place)
        assert (model.place, model.image_size, model.dim) == (str(place), (16, 8), 4)
        np.testing.assert_allclose(described(model), expected_BD, rtol=0, atol=1e-5)
    (export / PT2).unlink()
    np.testing.assert_allclose(described(reid.load(export)), expected_BD, rtol=0, atol=1e-5)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.slow
def test_an_export_describes_as_its_checkpoint_does(checkpoint: Path, images: list[Path], tmp_path: Path) -> None:
    config = load_config(preset="smoke", overrides=["precision=fp32"])
    export_checkpoint(config, Place(checkpoint), tmp_path / "export")
    exported, trained = reid.load(tmp_path / "export"), reid.load(checkpoint, device="cpu")
    assert (exported.dim, exported.image_size) == (trained.dim, trained.image_size)
    np.testing.assert_allclose(exported.describe(images), trained.describe(images), rtol=0, atol=1e-5)


def test_a_checkpoint_may_lie_behind_a_uri(checkpoint: Path, images: list[Path]) -> None:
    local, remote = reid.load(checkpoint, device="cpu"), reid.load(f"file://{checkpoint}", device="cpu")
    np.testing.assert_array_equal(local.describe(images), remote.describe(images))


def test_a_checkpoint_is_loaded_without_ray_and_mlflow(checkpoint: Path) -> None:
    script = "import sys, reid; reid.load(sys.argv[1]); print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", script, str(checkpoint)],
        cwd=ROOT / "platform",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"ray", "mlflow", "optuna", "sqlalchemy"} & set(loaded) == set()
    assert "torch" in loaded


def test_what_holds_no_model(
    checkpoint: Path, export: Path, save_untrained: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"{tmp_path}/nowhere holds no model: give a checkpoint .* an export .* or a"):
        reid.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=rf"holds no model: .*; did you mean {checkpoint}\?"):
        reid.load(checkpoint.parent)
    with pytest.raises(CheckpointError, match="is of stage pose, which has no descriptor: take another phase's"):
        reid.load(save_untrained("pose"))
    with pytest.raises(ValueError, match=r"gopher://a/b cannot be read .*: check the address"):
        reid.load("gopher://a/b")
    with pytest.raises(ValueError, match="the address holds a password") as caught:
        reid.load("s3://key:sesame@bucket/final")
    assert "sesame" not in str(caught.value)
    (export / ONNX).write_bytes((export / ONNX).read_bytes()[:500])
    with pytest.raises(ExportError, match=rf"{export}: descriptor.onnx does not describe images \(.+\): export again"):
        reid.load(export)
    (export / ONNX).unlink()
    with pytest.raises(ExportError, match=rf"{export} has no descriptor.onnx: export again"):
        reid.load(export)


@pytest.mark.parametrize("height", ["32", '"tall"', "1e9", "100000", "null"])
def test_a_card_of_another_size(export: Path, height: str) -> None:
    (export / CARD).write_text((export / CARD).read_text().replace('"height": 16', f'"height": {height}'))
    with pytest.raises(ExportError, match="does not describe images"):
        reid.load(export)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REID_STORAGE", str(tmp_path / "storage"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield tmp_path / "storage"
    assert not (tmp_path / "mlflow.db").exists(), "MLflow asked a store of its own"


@pytest.fixture
def registered(export: Path, storage: Path) -> Path:
    """The folder of the model's files in MLflow."""
    recorder = Recorder(
        uri=f"sqlite:///{storage}/mlflow.db",
        experiment="reid",
        artifacts=str(storage / "mlartifacts"),
        outbox=storage / "outbox",
        storage=str(storage),
    )
    assert recorder.publish(export, alias="pipeline") == "1"
    (described,) = (storage / "mlartifacts").rglob("MLmodel")
    return described.parent


def test_a_registered_model_is_found_by_its_name(
    registered: Path, expected_BD: np.ndarray, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (f"models:/{MODEL_NAME}@pipeline", f"models:/{MODEL_NAME}/1"):
        model = reid.load(name)
        assert (model.place, model.image_size, model.dim) == (name, (16, 8), 4)
        np.testing.assert_allclose(described(model), expected_BD, rtol=0, atol=1e-5)
    monkeypatch.setenv("REID_STORAGE", str(storage / "another"))
    with pytest.raises(ValueError, match=rf"there is no {storage}/another/mlflow.db: set MLFLOW_TRACKING_URI, or REID"):
        reid.load(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{storage}/mlflow.db")
    np.testing.assert_allclose(described(reid.load(name)), expected_BD, rtol=0, atol=1e-5)


def test_what_mlflow_does_not_have(registered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (f"models:/{MODEL_NAME}@champion", f"models:/{MODEL_NAME}/7", "models:/other@pipeline"):
        with pytest.raises(ValueError, match=rf"{name} cannot be had from MLflow at sqlite:.*: register it by jobs"):
            reid.load(name)
    with pytest.raises(ValueError, match="models:/pipeline is no name in MLflow's registry: write models:/NAME@ALIAS"):
        reid.load("models:/pipeline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:sesame@127.0.0.1:9")
    with pytest.raises(ConnectionError, match=r"cannot be had from MLflow at http://user:\*\*\*@127.0.0.1:9") as caught:
        reid.load(f"models:/{MODEL_NAME}@pipeline")
    assert "sesame" not in str(caught.value)


def test_the_onnx_program_is_registered_too_and_preferred(registered: Path, expected_BD: np.ndarray) -> None:
    (program,) = registered.rglob("*.pt2")
    program.write_bytes(b"damaged")
    found_BD = described(reid.load(f"models:/{MODEL_NAME}@pipeline"))
    np.testing.assert_allclose(found_BD, expected_BD, rtol=0, atol=1e-5)
    (registered / ONNX).unlink()
    with pytest.raises(ValueError, match=r"models:/.* cannot be loaded \(.+\): export it again by jobs/export.py"):
        reid.load(f"models:/{MODEL_NAME}@pipeline")


def test_a_version_from_before_there_was_an_onnx_program_is_loaded_by_mlflow(
    registered: Path, expected_BD: np.ndarray
) -> None:
    (registered / ONNX).unlink()
    found_BD = described(reid.load(f"models:/{MODEL_NAME}@pipeline"))
    np.testing.assert_allclose(found_BD, expected_BD, rtol=0, atol=1e-5)


def test_nothing_that_is_registered_is_unpickled_or_run(
    registered: Path, plant_pickle: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    description = yaml.safe_load((registered / "MLmodel").read_text())
    description["flavors"]["pytorch"]["code"] = "code"
    original = (registered / "MLmodel").read_text()
    (registered / "MLmodel").write_text(yaml.safe_dump(description))
    before = list(sys.path)
    with pytest.raises(ValueError, match="brings code along, which is not run"):
        reid.load(f"models:/{MODEL_NAME}@pipeline")
    assert sys.path == before
    (registered / "MLmodel").write_text(original)
    (registered / ONNX).unlink()
    (program,) = registered.rglob("*.pt2")
    plant_pickle(program, tmp_path / "unpickled")
    with pytest.raises(ValueError, match="is not a pickle-free payload"):
        reid.load(f"models:/{MODEL_NAME}@pipeline")
    assert not (tmp_path / "unpickled").exists()


def test_a_model_of_another_kind(registered: Path) -> None:
    (registered / "MLmodel").write_text("flavors: {sklearn: {}}\n")
    with pytest.raises(ValueError, match=r"is no model of this project .*: export it by jobs/export.py"):
        reid.load(f"models:/{MODEL_NAME}@pipeline")
