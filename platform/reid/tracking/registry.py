"""Exported descriptors in MLflow's model registry: loaded by name, without this package and without unpickling.

`mlflow.pytorch` is imported when it is used: its import silences all warnings unless a job has set up logging.
"""

import importlib.metadata
import json
import re
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities import LoggedModel, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from reid.config import environment
from reid.export import ONNX, PT2, Card, ExportError, example_images, load_pt2, require_agreement
from reid.storage import room_for, temporary_folder
from reid.tracking.store import MODEL_CARD, connect
from reid.tracking.view import KEY_TAG

MODEL_NAME = "reid-descriptor"
DESCRIPTION = "Describes images of people as unit vectors: the nearer two are, the more alike they look."
DIGEST_TAG = "reid.digest"
_ALIAS = re.compile(r"(?!latest$|v\d+$)[a-z][a-z0-9_-]*")


def publish(
    folder: Path,
    *,
    uri: str,
    experiment: str,
    artifacts: str | None,
    run_key: str | None = None,
    name: str = MODEL_NAME,
    alias: str,
) -> str:
    """Register an exported descriptor as a version of a model, and let an alias point at it.

    What was registered before is found by its digest: publishing it again moves the alias alone.

    Args:
        folder: an export that this process has written, see `reid.export.descriptor`: a program is loaded from it.
        uri, experiment, artifacts: see `RunStore`.
        run_key: key of the run that trained it, if it is recorded there.
        name: of the registered model.
        alias: small letters, digits, `-` and `_`; MLflow keeps `latest` and `v1` for itself.

    Returns:
        The version.

    Raises:
        ValueError: the alias is not allowed.
        ExportError: the folder holds no export, or what MLflow gives back describes images otherwise; the alias stays
            where it was.
        DamagedDatabaseError: the database file is damaged.
        DiskFullError: there is no room for the model, here or beside the database file.
        Anything in `reid.tracking.recorder.UNREACHABLE`: MLflow did not take it.
    """
    require_alias(alias)
    card = Card.read(folder)
    if missing := [file for file in (PT2, ONNX) if not (folder / file).is_file()]:
        raise ExportError(f"{folder} lacks {' and '.join(missing)}: export again")
    size = 2 * (folder / PT2).stat().st_size + (folder / ONNX).stat().st_size  # the former also as its example
    with _default_store(uri), nullcontext() if artifacts is None else room_for(artifacts, size):
        client = connect(uri, artifacts)
        found = client.search_model_versions(f"name = '{name}' AND tags.`{DIGEST_TAG}` = '{card.digest}'")
        version = (
            str(found[0].version) if found else _register(client, folder, card, name, experiment, artifacts, run_key)
        )
        loaded = mlflow.pytorch.load_model(f"models:/{name}/{version}")
        place = f"version {version} of the MLflow model {name}"
        require_agreement(place, loaded, load_pt2(folder / PT2), (card.height, card.width))
        client.set_registered_model_alias(name, alias, version)
    return version


def require_alias(alias: str) -> None:
    """
    Raises:
        ValueError: MLflow would refuse it.
    """
    if not _ALIAS.fullmatch(alias):
        raise ValueError(
            f"invalid alias '{alias}', expected small letters, digits, - and _, and neither latest nor v with a number"
        )


def _register(
    client: mlflow.MlflowClient,
    folder: Path,
    card: Card,
    name: str,
    experiment: str,
    artifacts: str | None,
    run_key: str | None,
) -> str:
    tags = {DIGEST_TAG: card.digest, **{f"reid.{field}": text for field, text in card.described().items()}}
    model = _logged_model(client, name, tags, experiment, artifacts, run_key)
    if str(model.status) != "READY":
        with temporary_folder("descriptor") as scratch:
            _save(folder, card, model.model_id, f"{scratch}/model")
            client.log_model_artifacts(model.model_id, f"{scratch}/model")
        client.finalize_logged_model(model.model_id, "READY")
    try:
        client.create_registered_model(name, description=DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    if model.source_run_id:
        _copy_scores(client, model.source_run_id, model.model_id)
    text = folder / MODEL_CARD
    version = client.create_model_version(
        name,
        source=model.model_uri,
        run_id=model.source_run_id,
        model_id=model.model_id,
        tags=tags,
        description=text.read_text() if text.is_file() else None,
    )
    link = [{"name": name, "version": version.version}]
    client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(link)})
    return str(version.version)


def _copy_scores(client: mlflow.MlflowClient, run_id: str, model_id: str) -> None:
    """Tie the last scores of the run to the model: MLflow has the same points already, and keeps each of them once."""
    scores = [name for name in client.get_run(run_id).data.metrics if name.startswith("eval/")]
    last = [client.get_metric_history(run_id, name)[-1] for name in scores]
    client.log_batch(run_id, metrics=[Metric(m.key, m.value, m.timestamp, m.step, model_id=model_id) for m in last])


def _logged_model(
    client: mlflow.MlflowClient,
    name: str,
    tags: dict[str, str],
    experiment: str,
    artifacts: str | None,
    run_key: str | None,
) -> LoggedModel:
    """The model's entry beside the runs; one that an earlier attempt has left is taken up."""
    existing = client.get_experiment_by_name(experiment)
    experiment_id = existing.experiment_id if existing else client.create_experiment(experiment, artifacts)
    found = client.search_logged_models(
        [experiment_id], filter_string=f"name = '{name}' AND tags.`{DIGEST_TAG}` = '{tags[DIGEST_TAG]}'", max_results=1
    )
    if found:
        return found[0]
    runs = client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{run_key}'", max_results=1) if run_key else []
    return client.create_logged_model(
        experiment_id,
        name=name,
        source_run_id=runs[0].info.run_id if runs else None,
        tags=tags,
        model_type=MODEL_NAME,
    )


def _save(folder: Path, card: Card, model_id: str, path: str) -> None:
    """Write an MLflow model folder: the program, its signature and an example; and the ONNX program beside them, which
    can be loaded without unpickling anything."""
    image_size = (card.height, card.width)
    mlflow.pytorch.save_model(
        load_pt2(folder / PT2),
        path,
        mlflow_model=Model(model_id=model_id),
        serialization_format="pt2",
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, 3, *image_size))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, card.dim))]),
        ),
        input_example=example_images(2, image_size).numpy(),
        pip_requirements=[f"torch=={importlib.metadata.version('torch')}", "numpy"],
    )
    shutil.copyfile(folder / ONNX, Path(path) / ONNX)


def _default_store(uri: str) -> AbstractContextManager[None]:
    """MLflow resolves `models:/…` by its process-wide default alone; nothing that it loads is unpickled here."""
    return environment({"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"})
