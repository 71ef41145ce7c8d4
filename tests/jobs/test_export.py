"""`jobs/export.py`: from a checkpoint to files and a registered model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from reid import jobs
from reid.config import load_config
from reid.export.descriptor import CARD, ONNX, PT2, Card, example_images, load_onnx, load_pt2
from reid.inference import descriptor_of
from reid.stages import load_model

export = partial(jobs.export.main, standalone_mode=False)


SIZE = (64, 32)
Save = Callable[..., Path]


@pytest.fixture
def storage(storage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return storage


def refused(argv: list[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        export(argv)
    assert isinstance(caught.value.code, str)
    assert "\n" not in caught.value.code
    return caught.value.code


@pytest.mark.slow
def test_a_checkpoint_becomes_files_and_a_version(
    save_untrained: Save,
    storage: Path,
    tmp_path: Path,
    plant_pickle: Callable[[Path, Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = save_untrained("intermediate")
    export(["--checkpoint", str(checkpoint), "--alias", "current"])
    folder = storage / "exports" / "walk-1.intermediate"
    assert {file.name for file in folder.iterdir()} == {PT2, ONNX, CARD, "README.md"}
    assert [path.name for path in folder.parent.glob("[!.]*")] == [folder.name]
    card = Card.read(folder)
    assert (card.phase, card.dataset, card.checkpoint, card.mAP) == ("intermediate", "embedded", str(checkpoint), 0.25)
    assert card.layout == "head+upper+lower"
    config = load_config(preset="smoke")
    trained = load_model(str(checkpoint), config, torch.device("cpu"))
    images_BCHW = example_images(3, SIZE)
    with torch.no_grad():
        expected_BD = descriptor_of(trained, config)(images_BCHW)
    assert card.dim == expected_BD.shape[1]
    torch.testing.assert_close(load_pt2(folder / PT2)(images_BCHW), expected_BD, rtol=0, atol=1e-5)
    torch.testing.assert_close(load_onnx(folder / ONNX)(images_BCHW), expected_BD, rtol=0, atol=1e-5)
    client = MlflowClient(tracking_uri=f"sqlite:///{storage}/mlflow.db")
    assert client.get_model_version_by_alias("reid-descriptor", "current").tags["reid.digest"] == card.digest
    printed = capsys.readouterr().out
    assert "version 1, alias current" in printed
    assert f"torch.export.load('{folder}/{PT2}').module()" in printed

    plant_pickle(folder / PT2, tmp_path / "unpickled")
    export(["--checkpoint", str(checkpoint)])
    assert not (tmp_path / "unpickled").exists(), "a program that somebody else had put there was loaded"
    torch.testing.assert_close(load_pt2(folder / PT2)(images_BCHW), expected_BD, rtol=0, atol=1e-5)
    assert "version 1, alias exported" in capsys.readouterr().out

    message = refused(["--checkpoint", str(checkpoint), "--set", "tracking.uri=http://127.0.0.1:9"])
    assert message.startswith(f"error: MLflow at http://127.0.0.1:9 did not take the model: the files are in {folder}")


def test_what_cannot_be_exported(save_untrained: Save, storage: Path, tmp_path: Path) -> None:
    pose, baseline = save_untrained("pose"), str(save_untrained("baseline"))
    assert f"{pose} is of stage pose, which has no descriptor: take another phase's" in refused(
        ["--checkpoint", str(pose)]
    )
    assert "is no checkpoint: it has no phase.json" in refused(["--checkpoint", f"{tmp_path}/nowhere"])
    assert "invalid alias 'latest'" in refused(["--checkpoint", baseline, "--alias", "latest"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    message = refused(["--checkpoint", baseline, "--output", f"{tmp_path}/mine"])
    assert f"{tmp_path}/mine is not empty and holds no export: choose another folder" in message
    message = refused(["--checkpoint", baseline, "--output", f"{tmp_path}/mine/thesis.tex/export"])
    assert f"the export cannot be written to {tmp_path}/mine/thesis.tex/export" in message
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    assert not (storage / "exports").exists()
    assert not (storage / "mlflow.db").exists()


@pytest.mark.slow
def test_a_checkpoint_that_states_no_run_is_exported_under_its_own_name(save_untrained: Save, storage: Path) -> None:
    checkpoint = save_untrained("baseline", run=None)
    export(["--checkpoint", str(checkpoint), "--set", "name=mine"])
    assert (storage / "exports" / "mine.baseline" / CARD).is_file()
