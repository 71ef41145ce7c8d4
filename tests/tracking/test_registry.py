"""Publishing an exported descriptor: one version for each model, found by name, loaded without unpickling."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from reid.export.descriptor import CARD, ONNX, PT2, Card, ExportError, example_images, load_pt2
from reid.tracking import Recorder, RunRecord
from reid.tracking.registry import MODEL_NAME

SIZE = (16, 8)


class Means(torch.nn.Module):
    """Stands in for a model: unit vectors of random projections."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("projection", torch.randn(3 * 16 * 8, 4, generator=generator))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(images.flatten(1).float() @ self.projection, dim=1)  # type: ignore[operator]


def exported(folder: Path, seed: int) -> Path:
    """A folder as `export_descriptor` leaves it, of the smallest program there is."""
    folder.mkdir()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(Means(seed), (example_images(2, SIZE),), dynamic_shapes=({0: batch},))
    torch.export.save(program.run_decompositions({}), folder / PT2)
    (folder / ONNX).write_bytes(b"is registered as it is")
    card = Card(
        height=16, width=8, dim=4, phase="final", dataset="embedded", layout="three_parts",
        checkpoint="/data/runs/walk-1/final/epoch_0003", digest=f"{seed:064x}", mAP=0.25,
    )  # fmt: skip
    (folder / CARD).write_text(json.dumps(asdict(card)))
    return folder


@pytest.fixture
def runs(database: str, tmp_path: Path) -> Recorder:
    return recorder(database, tmp_path)


def recorder(uri: str, tmp_path: Path) -> Recorder:
    return Recorder(
        uri=uri, experiment="reid", artifacts=str(tmp_path / "artifacts"), outbox=tmp_path / "outbox", storage="/data"
    )


def versions(client: MlflowClient) -> list[str]:
    return sorted(str(version.version) for version in client.search_model_versions(f"name = '{MODEL_NAME}'"))


def test_a_model_is_a_version_with_an_alias_and_says_what_it_is(
    runs: Recorder, client: MlflowClient, phase: RunRecord, parent: RunRecord, tmp_path: Path,
    database: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with runs:
        runs.put(parent)
        runs.put(phase)
    folder = exported(tmp_path / "first", seed=1)
    assert runs.publish(folder, alias="pipeline", run_key=phase.key) == "1"
    version = client.get_model_version_by_alias(MODEL_NAME, "pipeline")
    assert str(version.version) == "1"
    assert version.tags == {
        "reid.digest": f"{1:064x}",
        "reid.dataset": "embedded",
        "reid.layout": "three_parts",
        "reid.phase": "final",
        "reid.checkpoint": "/data/runs/walk-1/final/epoch_0003",
        "reid.mAP": "0.2500",
    }
    assert client.get_run(version.run_id).data.tags["reid.run"] == phase.key

    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    images_BCHW = example_images(7, SIZE)
    expected_BD = load_pt2(folder / PT2)(images_BCHW)
    torch.testing.assert_close(mlflow.pytorch.load_model(f"models:/{MODEL_NAME}@pipeline")(images_BCHW), expected_BD)
    served = mlflow.pyfunc.load_model(f"models:/{MODEL_NAME}/1")
    np.testing.assert_allclose(served.predict(images_BCHW.numpy()), expected_BD.numpy(), atol=1e-6)
    assert [tuple(spec.shape) for spec in served.metadata.signature.inputs] == [(-1, 3, *SIZE)]
    assert served.input_example.shape == (2, 3, *SIZE)


def test_the_same_model_is_no_second_version_and_the_alias_follows(
    runs: Recorder, client: MlflowClient, tmp_path: Path
) -> None:
    first, second = exported(tmp_path / "first", seed=1), exported(tmp_path / "second", seed=2)
    assert [runs.publish(folder, alias="pipeline") for folder in (first, first, second, first)] == ["1", "1", "2", "1"]
    assert versions(client) == ["1", "2"]
    assert str(client.get_model_version_by_alias(MODEL_NAME, "pipeline").version) == "1"
    assert runs.publish(second, alias="champion") == "2"
    assert str(client.get_model_version_by_alias(MODEL_NAME, "pipeline").version) == "1"
    assert versions(client) == ["1", "2"]


def test_what_does_not_come_back_as_it_was_gets_no_alias(runs: Recorder, client: MlflowClient, tmp_path: Path) -> None:
    runs.publish(exported(tmp_path / "first", seed=1), alias="pipeline")
    other = exported(tmp_path / "other", seed=2)
    (other / CARD).write_text(json.dumps(asdict(replace(Card.read(other), digest=f"{1:064x}"))))
    with pytest.raises(ExportError, match="version 1 of the MLflow model reid-descriptor does not describe images"):
        runs.publish(other, alias="champion")
    assert client.get_registered_model(MODEL_NAME).aliases == {"pipeline": 1}


@pytest.mark.parametrize("file", [PT2, ONNX])
def test_a_folder_that_lacks_a_program_is_no_outage(runs: Recorder, tmp_path: Path, file: str) -> None:
    folder = exported(tmp_path / "first", seed=1)
    (folder / file).unlink()
    with pytest.raises(ExportError, match=f"{folder} lacks {file}: export again"):
        runs.publish(folder, alias="pipeline")


def test_publishing_goes_on_where_it_was_interrupted(
    runs: Recorder, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(tmp_path / "first", seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", _break)
        with pytest.raises(KeyboardInterrupt):
            runs.publish(folder, alias="pipeline")
    assert runs.publish(folder, alias="pipeline") == "1"
    experiment = client.get_experiment_by_name("reid")
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert str(model.status) == "READY"


def test_what_somebody_else_put_into_mlflow_is_not_unpickled(
    runs: Recorder, tmp_path: Path, plant_pickle: Callable[[Path, Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    folder = exported(tmp_path / "first", seed=1)
    assert runs.publish(folder, alias="pipeline") == "1"
    (program,) = (tmp_path / "artifacts").rglob("*.pt2")
    plant_pickle(program, tmp_path / "unpickled")
    assert runs.publish(folder, alias="champion") is None
    assert "is not a pickle-free payload" in caplog.text
    assert not (tmp_path / "unpickled").exists()


def _break(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("alias", ["latest", "v1", "", "a b", "Latest", "a/b"])
def test_an_alias_that_mlflow_would_refuse(runs: Recorder, tmp_path: Path, alias: str) -> None:
    with pytest.raises(ValueError, match=f"invalid alias '{alias}', expected small letters"):
        runs.publish(tmp_path, alias=alias)


def test_a_server_out_of_reach_is_said_and_costs_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = exported(tmp_path / "first", seed=1)
    with caplog.at_level(logging.WARNING):
        assert recorder("http://user:s3cret@127.0.0.1:9", tmp_path).publish(folder, alias="pipeline") is None
    assert f"took no model, it lies in {folder}" in caplog.text
    assert "s3cret" not in caplog.text
    assert Card.read(folder).dim == 4


@pytest.mark.cluster
def test_a_server_takes_and_gives_it_back(server: Any, tmp_path: Path) -> None:
    folder = exported(tmp_path / "first", seed=3)
    runs = recorder(server.uri, tmp_path)
    version = runs.publish(folder, alias="pipeline")
    assert runs.publish(folder, alias="pipeline") == version
    client = MlflowClient(tracking_uri=server.uri)
    assert str(client.get_model_version_by_alias(MODEL_NAME, "pipeline").version) == version
    assert client.get_model_version(MODEL_NAME, version).tags["reid.digest"] == f"{3:064x}"


def test_a_version_has_the_card_and_the_last_scores_of_its_run_and_the_run_has_them_once(
    runs: Recorder, client: MlflowClient, phase: RunRecord, parent: RunRecord, tmp_path: Path
) -> None:
    with runs:
        runs.put(parent)
        runs.put(phase)
    folder = exported(tmp_path / "first", seed=1)
    (folder / "README.md").write_text("# A model\n")
    runs.publish(folder, alias="pipeline", run_key=phase.key)
    (registered,) = client.search_registered_models()
    assert registered.description.startswith("Describes images of people as unit vectors")
    version = client.get_model_version(MODEL_NAME, "1")
    assert version.description == "# A model\n"
    (model,) = client.search_logged_models(
        [client.get_experiment_by_name("reid").experiment_id], filter_string=f"name = '{MODEL_NAME}'"
    )
    assert {metric.key: metric.value for metric in model.metrics} == {"eval/mAP": 0.5}
    assert len(client.get_metric_history(version.run_id, "eval/mAP")) == 1


def test_a_model_in_a_moved_storage_is_loaded_and_published_again(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"

    def in_storage(storage: Path) -> Recorder:
        return Recorder(
            uri=f"sqlite:///{storage}/mlflow.db", experiment="reid", artifacts=f"{storage}/mlartifacts",
            outbox=storage / "outbox", storage=str(storage),
        )  # fmt: skip

    folder = exported(tmp_path / "first", seed=1)
    assert in_storage(before).publish(folder, alias="pipeline") == "1"
    before.rename(after)
    assert in_storage(after).publish(folder, alias="champion") == "1"
    assert not before.exists()
