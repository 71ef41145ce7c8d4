"""What an experiment tells MLflow of itself and of its trainings."""

import dataclasses
import logging
import os

from reid.cluster import require_lockable
from reid.config import RunConfig, flatten
from reid.data import Dataset
from reid.experiments.description import begun
from reid.experiments.model_card import phase_card
from reid.experiments.training import Training
from reid.stages import stage_of
from reid.storage import DiskFullError, Storage
from reid.tracking import COMMAND_TAG, DatasetInput, Measurement, Recorder, RunRecord, provenance, sqlite_file
from reid.training import MODEL, PICTURES, STATE, PhaseState, Stage, pictures_in

logger = logging.getLogger(__name__)


def open_recorder(config: RunConfig, storage: Storage) -> Recorder:
    """The recorder for the tracking server that was named, else for the database under the storage.

    Raises:
        ValueError: the storage is remote and no server was named, or it has options and a database was; or the database
            is damaged.
    """
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None and not storage.is_local:
        raise ValueError(
            f"tracking.uri: is needed, since no database file can lie at {storage.root}; set it or MLFLOW_TRACKING_URI "
            "to the address of an MLflow server"
        )
    served = uri is not None and uri.startswith("http")
    if storage.root.options and not served:
        raise ValueError(
            f"tracking.uri: must be the address of an MLflow server, since MLflow itself does not know the options of "
            f"{storage.root}, where pictures and models would lie; set it or MLFLOW_TRACKING_URI to http://…"
        )
    recorder = Recorder(
        uri=uri or f"sqlite:///{storage.place('mlflow.db')}",
        experiment=config.tracking.experiment,
        artifacts=None if served else storage.place("mlartifacts"),
        outbox=storage.scratch / "outbox",
        storage=storage.root,
    )
    recorder.require_sound()
    return recorder


def require_lockable_store(recorder: Recorder) -> None:
    """
    Raises:
        ConfigError: the records go to a SQLite file that nodes of the cluster must not share.
    """
    if (file := sqlite_file(recorder.uri)) is not None:
        remedy = "set it or MLFLOW_TRACKING_URI to the address of an MLflow server"
        require_lockable("tracking.uri", file, remedy)


def dataset_input(dataset: Dataset, place: str) -> DatasetInput:
    return DatasetInput(
        name=dataset.name,
        digest=dataset.digest,
        source=place,
        context="training",
        profile={name: len(split) for name, split in dataset.splits.items()},
    )


def parent_record(
    key: str, kind: str, config: RunConfig, inputs: tuple[DatasetInput, ...], *, name: str | None = None
) -> RunRecord:
    """Of a whole experiment, under a name of its own or that of its key."""
    families = dict.fromkeys(stage_of(config, phase).family for phase in config.phases)
    origin = provenance()
    return RunRecord(
        key=key,
        name=name or key,
        status="RUNNING",
        tags={"reid.kind": kind, "reid.model": ", ".join(families)} | origin,
        params=flatten(config),
        inputs=inputs,
        note=begun(kind, config, inputs, origin[COMMAND_TAG]),
    )


def training_record(key: str, parent: str, training: Training, data: DatasetInput) -> RunRecord:
    """Of one training; `parent` is the key of its experiment's."""
    return RunRecord(
        key=key,
        name=training.name,
        status="RUNNING",
        parent=parent,
        tags={"reid.phase": training.phase, "reid.model": training.stage.family},
        params=own_settings(training.config, training.phase, training.stage),
        inputs=(data,),
        model=training.name if training.keeps_model else None,
    )


def own_settings(config: RunConfig, phase: str, stage: Stage) -> dict[str, str]:
    """What a training alone depends on, as parameters of its run: `phase.*` and what its stage reads."""
    own, beginning = {}, f"phases.{phase}."
    for path, value in flatten(config).items():
        if path.startswith(beginning):
            own[f"phase.{path.removeprefix(beginning)}"] = value
        elif path == "seed" or (path.startswith(stage.reads) and not path.startswith("phases.")):
            own[path] = value
    return own


def with_history(record: RunRecord, state: PhaseState) -> RunRecord:
    """The record with everything that was measured so far."""
    measured = (Measurement(step=r.epoch, time=r.time, metrics=r.metrics) for r in state.history)
    return dataclasses.replace(record, measurements=tuple(measured))


def finished_record(record: RunRecord, state: PhaseState, checkpoint: str) -> RunRecord:
    """The record of a training that has ended well, with its last checkpoint and the pictures in it."""
    return dataclasses.replace(
        with_history(record, state),
        status="FINISHED",
        checkpoint=checkpoint,
        model_files=(MODEL, STATE),
        card=phase_card(state, checkpoint, record.inputs[0].name),
        artifacts=pictures_of(checkpoint),
    )


def pictures_of(checkpoint: str) -> dict[str, str]:
    """`RunRecord.artifacts` for the pictures in a checkpoint, if it has any."""
    pictures = pictures_in(checkpoint)
    return {} if pictures is None else {pictures: PICTURES}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochRecorder:
    """Records finished epochs, once a checkpoint holds them."""

    recorder: Recorder
    record: RunRecord

    def __call__(self, state: PhaseState) -> None:
        try:
            self.recorder.put(with_history(self.record, state))
        except DiskFullError as error:  # no epoch is lost: the next one's record has them all, or the training's last
            logger.error("%s", error)
