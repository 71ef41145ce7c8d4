"""Brings MLflow into line with run records. The only place that speaks to MLflow."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.entities import Dataset, InputTag, LoggedModel, Metric, Param, RunInfo, RunTag
from mlflow.entities import DatasetInput as MlflowDatasetInput
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from reid.config import set_until_exit
from reid.storage import Place, room_for, temporary_folder
from reid.tracking.database import create_missing, follow_move, knock, no_outage, sqlite_file
from reid.tracking.record import DatasetInput, RunRecord
from reid.tracking.view import EXPERIMENT_TAGS, KEY_TAG, linked

logger = logging.getLogger(__name__)

SOON_OVER_AND_SILENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
METRICS_AT_ONCE = 1000  # MLflow's limit for one request
MODEL_CARD = "README.md"
"""Of a model, for people to read."""


class ParentMissingError(LookupError):
    """MLflow lacks the parent of a run, whose record waits elsewhere or is damaged."""


def connect(uri: str, artifacts: str | None) -> mlflow.MlflowClient:
    """A client that gives up soon: what the server does not take is kept and sent later.

    Args:
        uri, artifacts: see `RunStore`; a database file that is missing is created, one that was moved follows.

    Raises:
        DamagedDatabaseError: the database file is damaged.
        DiskFullError: there is no room beside the database file.
        Anything in `reid.tracking.recorder.UNREACHABLE`: a database cannot be opened.
    """
    set_until_exit(SOON_OVER_AND_SILENT)
    if uri.startswith("http"):
        return mlflow.MlflowClient(tracking_uri=uri)
    with no_outage(uri, opening=True):
        file = sqlite_file(uri)
        if file is not None:
            create_missing(file, artifacts)
        knock(uri)
        client = mlflow.MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
        if file is not None and artifacts is not None:
            follow_move(file, artifacts)
    return client


class RunStore:
    """One experiment on a tracking server or in a database.

    Args:
        uri: a tracking server's address or a database such as sqlite:////data/reid/mlflow.db.
        experiment: created when missing.
        artifacts: where a new experiment keeps its artifacts when there is no server to decide; a path or a URI.

    Raises:
        DamagedDatabaseError: the database file is damaged.
        DiskFullError: there is no room beside the database file.
    """

    def __init__(self, uri: str, experiment: str, artifacts: str | None) -> None:
        self._uri, self._artifacts = uri, artifacts
        self._client = connect(uri, artifacts)
        self.experiment_id = self._find_or_create_experiment(experiment, artifacts)
        self._run_ids: dict[str, str] = {}
        self._logged: dict[str, dict[str, set[int]]] = {}
        """Steps that MLflow holds, by run and metric, as far as they were asked for."""

    def ask_anew(self) -> None:
        """Of what MLflow holds, take nothing for known any more: somebody else has sent."""
        self._logged.clear()

    def sync(self, record: RunRecord) -> str:
        """Make MLflow hold all that a record says, and nothing twice; returns MLflow's id of the run.

        Calling it again with the same record changes nothing, also after a crash in the middle.

        Raises:
            ParentMissingError: MLflow does not hold the parent's run.
            DamagedDatabaseError: the database file is damaged.
            DiskFullError: there is no room for what MLflow is to hold.
        """
        with no_outage(self._uri):
            return self._sync(record)

    def _sync(self, record: RunRecord) -> str:
        run_id = self._run_ids.get(record.key) or self._find_or_create_run(record)
        self._run_ids[record.key] = run_id
        run = self._client.get_run(run_id)
        model = self._find_or_create_model(record, run_id) if record.model else None
        tags = dict(record.tags)
        if record.note:
            tags[MLFLOW_RUN_NOTE] = linked(record.note, self.experiment_id, run_id, self._find_run)
        self._client.log_batch(
            run_id,
            params=[Param(key, value) for key, value in record.params.items() if key not in run.data.params],
            tags=[RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value],
        )
        self._log_measurements(record, run_id, set(run.data.metrics), model)
        if record.inputs and not (run.inputs and run.inputs.dataset_inputs):
            self._client.log_inputs(run_id, datasets=[_dataset_input(dataset) for dataset in record.inputs])
        for place, folder in record.artifacts.items():
            with self._on_this_node(place, record) as local:
                if local is not None:
                    log = self._client.log_artifacts if local.is_dir() else self._client.log_artifact
                    log(run_id, str(local), folder or None)
        if model is not None and str(model.status) != "READY" and record.checkpoint is not None:
            self._upload_model(model, Place(record.checkpoint), record)
        if _changes_status(run.info, record):
            if record.status == "RUNNING":
                self._client.update_run(run_id, status="RUNNING")
            else:
                self._client.set_terminated(run_id, status=record.status, end_time=int(record.time * 1000) or None)
        if record.status != "RUNNING":  # nothing more is to come; of many trials it would be much to remember
            del self._logged[record.key], self._run_ids[record.key]
        return run_id

    def _find_or_create_experiment(self, name: str, artifacts: str | None) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return str(self._client.create_experiment(name, artifact_location=artifacts, tags=EXPERIMENT_TAGS))
        for key, value in EXPERIMENT_TAGS.items():
            if experiment.tags.get(key) != value:
                self._client.set_experiment_tag(experiment.experiment_id, key, value)
        return str(experiment.experiment_id)

    def _find_or_create_run(self, record: RunRecord) -> str:
        if found := self._find_run(record.key):
            return found
        tags = {KEY_TAG: record.key, **record.tags}
        if record.parent is not None:
            tags[MLFLOW_PARENT_RUN_ID] = self._run_ids.get(record.parent) or self._require_parent(record)
        started = min((int(m.time * 1000) for m in record.measurements), default=None)
        return str(
            self._client.create_run(self.experiment_id, start_time=started, tags=tags, run_name=record.name).info.run_id
        )

    def _find_run(self, key: str) -> str | None:
        found = self._client.search_runs([self.experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def _require_parent(self, record: RunRecord) -> str:
        found = self._find_run(str(record.parent))
        if found is None:
            raise ParentMissingError(f"it lacks {record.parent}, the parent of {record.key}")
        return found

    def _log_measurements(self, record: RunRecord, run_id: str, known: set[str], model: LoggedModel | None) -> None:
        logged = self._logged.setdefault(record.key, {})
        for name in {name for measurement in record.measurements for name in measurement.metrics} - logged.keys():
            history = self._client.get_metric_history(run_id, name) if name in known else ()
            logged[name] = {metric.step for metric in history}
        fresh = [
            Metric(
                name,
                value,
                int(measurement.time * 1000),
                measurement.step,
                model_id=model.model_id if model is not None and name.startswith("eval/") else None,
            )
            for measurement in record.measurements
            for name, value in measurement.metrics.items()
            if measurement.step not in logged[name]
        ]
        for start in range(0, len(fresh), METRICS_AT_ONCE):
            some = fresh[start : start + METRICS_AT_ONCE]
            self._client.log_batch(run_id, metrics=some)
            for metric in some:
                logged[metric.key].add(metric.step)

    def _find_or_create_model(self, record: RunRecord, run_id: str) -> LoggedModel:
        found = self._client.search_logged_models(
            [self.experiment_id], filter_string=f"source_run_id = '{run_id}' AND name = '{record.model}'", max_results=1
        )
        return (
            found[0]
            if found
            else self._client.create_logged_model(
                self.experiment_id, name=record.model, source_run_id=run_id, model_type="reid-checkpoint"
            )
        )

    def _upload_model(self, model: LoggedModel, checkpoint: Place, record: RunRecord) -> None:
        for name in record.model_files:
            with self._on_this_node(checkpoint / name, record) as local:
                if local is None:
                    return
                self._client.log_model_artifact(model.model_id, str(local))
        with temporary_folder("card") as folder:
            (folder / MODEL_CARD).write_text(record.card)
            self._client.log_model_artifact(model.model_id, str(folder / MODEL_CARD))
        self._client.finalize_logged_model(model.model_id, "READY")

    @contextmanager
    def _on_this_node(self, place: str, record: RunRecord) -> Iterator[Path | None]:
        """A file or folder for MLflow to take, copied here if it is remote.

        None, with a warning, for what was deleted while the record waited: it must not hold up the rest.

        Raises:
            DiskFullError: there is no room beside the database for a copy of it.
        """
        with Place(place).on_this_node() as local:
            if local is None:
                logger.warning("MLflow's run %s goes without %s, which is there no more", record.key, place)
            if local is None or self._artifacts is None:
                yield local
            else:
                files = local.rglob("*") if local.is_dir() else (local,)
                with room_for(self._artifacts, sum(file.stat().st_size for file in files)):
                    yield local


def _changes_status(run: RunInfo, record: RunRecord) -> bool:
    """A run that has ended goes on only by what was kept later, and never once it has finished."""
    if run.status in (record.status, "RUNNING") or record.status == "FINISHED":
        return bool(run.status != record.status)
    return record.time * 1000 > run.end_time and (run.status, record.status) != ("FINISHED", "RUNNING")


def _dataset_input(dataset: DatasetInput) -> MlflowDatasetInput:
    return MlflowDatasetInput(
        Dataset(
            name=dataset.name,
            digest=dataset.digest[:36],  # MLflow's limit
            source_type="local",
            source=json.dumps({"uri": dataset.source}),
            profile=json.dumps(dataset.profile),
        ),
        tags=[InputTag(MLFLOW_DATASET_CONTEXT, dataset.context)],
    )
