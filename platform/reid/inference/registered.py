"""Models in MLflow's registry: fetched by name, and loaded without unpickling."""

import os
import re
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model as MlflowModel
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from reid.config import default_storage, environment, without_passwords
from reid.export import ONNX
from reid.inference.model import Model
from reid.inference.programs import onnx_model, program_model
from reid.storage import Place, temporary_folder

NAME = re.compile(r"models:/[^/@]+[/@][^/@]+")
FLAVOR = "pytorch"
SAFELY = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
SOON_OVER = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow itself would ask for minutes."""


def load_registered(name: str) -> Model:
    """A model that `jobs/export.py`, a pipeline or a sweep has registered.

    Its ONNX program is taken where there is one among its files, else MLflow's own of `torch.export`, which MLflow
    searches for pickles before it loads it.

    Args:
        name: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        ValueError: there is no such model, it is not as `jobs/export.py` registers one, or it brings code along.
        ConnectionError: MLflow is out of reach.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name} is no name in MLflow's registry: write models:/NAME@ALIAS or models:/NAME/VERSION")
    uri = tracking_uri()
    with environment({"MLFLOW_TRACKING_URI": uri, **SAFELY}), temporary_folder("model") as folder:
        return _model(name, _fetched(name, uri, folder))


def tracking_uri() -> str:
    """`$MLFLOW_TRACKING_URI`, else the database of the storage.

    Raises:
        ValueError: the storage has no database.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        return named
    file = Place(default_storage()).absolute / "mlflow.db"
    if not (file.is_local and os.path.isfile(file)):
        raise ValueError(f"there is no {file}: set MLFLOW_TRACKING_URI, or REID_STORAGE to where the model was trained")
    return f"sqlite:///{file}"


def _fetched(name: str, uri: str, folder: Path) -> Path:
    """The model's files, in a folder within one of ours."""
    try:
        with environment(SOON_OVER, unless_set=True):
            path = mlflow.artifacts.download_artifacts(name, dst_path=str(folder))
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        problem = f"{name} cannot be had from MLflow at {_shown(uri, uri)} ({_shown(error, uri)})"
        if isinstance(error, MlflowException) and error.error_code != "INTERNAL_ERROR":
            raise ValueError(f"{problem}: register it by jobs/export.py, or name another") from error
        raise ConnectionError(f"{problem}: is it running?") from error
    return Path(path)


def _model(name: str, folder: Path) -> Model:
    try:
        described = MlflowModel.load(str(folder))
        flavor = described.flavors[FLAVOR]
        (images,) = described.signature.inputs.inputs
        image_size = (int(images.shape[2]), int(images.shape[3]))
    except (MlflowException, AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is no model of this project ({error!r}): export it by jobs/export.py") from error
    if flavor.get("code"):
        raise ValueError(f"{name} brings code along, which is not run: export it by jobs/export.py")
    program = next(folder.rglob(ONNX), None)
    if program is not None:
        return onnx_model(name, program, image_size)
    try:
        return program_model(name, mlflow.pytorch.load_model(str(folder)), image_size)
    except (MlflowException, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise ValueError(f"{name} cannot be loaded ({reason}): export it again by jobs/export.py") from error


def _shown(text: object, uri: str) -> str:
    return without_passwords((str(text).splitlines() or [repr(text)])[0], uri)
