"""What a pipeline tells MLflow of itself and of its phases."""

import dataclasses

from reid.config import RunConfig, flatten
from reid.data import Dataset
from reid.tracking import DatasetInput, Measurement, Recorder, RunRecord
from reid.training.checkpoint import PICTURES, PhaseState, pictures_in
from reid.training.storage import Storage

HEADLINES = {"eval/mAP": "mAP", "eval/pck": "PCK"}
"""Metrics that the line of an epoch shows."""


def recorder(config: RunConfig, storage: Storage, default_uri: str | None) -> Recorder:
    """The recorder for the tracking server that was named, else for the database under the storage.

    Raises:
        ValueError: the storage is remote and no server was named.
    """
    uri = config.tracking.uri or default_uri
    if uri is None and not storage.is_local:
        raise ValueError(
            f"tracking.uri: is needed, since no database file can lie at {storage.root}; set it or MLFLOW_TRACKING_URI "
            "to the address of an MLflow server"
        )
    return Recorder(
        uri=uri or f"sqlite:///{storage.place('mlflow.db')}",
        experiment=config.tracking.experiment,
        artifacts=None if uri and uri.startswith("http") else storage.place("mlartifacts"),
        outbox=storage.scratch / "outbox" / config.tracking.experiment,
    )


def dataset_input(dataset: Dataset, place: str) -> DatasetInput:
    return DatasetInput(
        name=dataset.name,
        digest=dataset.digest,
        source=place,
        context="training",
        profile={name: len(split) for name, split in dataset.splits.items()},
    )


def parent_record(key: str, kind: str, config: RunConfig, inputs: tuple[DatasetInput, ...]) -> RunRecord:
    return RunRecord(
        key=key,
        name=key,
        status="RUNNING",
        tags={"reid.kind": kind, "reid.model": "fgsam"},
        params=flatten(config),
        inputs=inputs,
    )


def phase_record(parent: RunRecord, phase: str, config: RunConfig, inputs: tuple[DatasetInput, ...]) -> RunRecord:
    return RunRecord(
        key=f"{parent.key}.{phase}",
        name=phase,
        status="RUNNING",
        parent=parent.key,
        tags={"reid.phase": phase, "reid.model": "fgsam"},
        params=flatten(config),
        inputs=inputs,
        model=phase,
    )


def with_history(record: RunRecord, state: PhaseState) -> RunRecord:
    """The record with everything that was measured so far."""
    measured = (Measurement(step=r.epoch, time=r.time, metrics=r.metrics) for r in state.history)
    return dataclasses.replace(record, measurements=tuple(measured))


def finished_record(record: RunRecord, state: PhaseState, checkpoint: str) -> RunRecord:
    """The record of a phase that has ended well, with its last checkpoint and the pictures in it."""
    return dataclasses.replace(
        with_history(record, state), status="FINISHED", checkpoint=checkpoint, artifacts=pictures_of(checkpoint)
    )


def pictures_of(checkpoint: str) -> dict[str, str]:
    """`RunRecord.artifacts` for the pictures in a checkpoint, if it has any."""
    pictures = pictures_in(checkpoint)
    return {} if pictures is None else {pictures: PICTURES}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochRecorder:
    """Told of every finished epoch: prints a line and records it."""

    recorder: Recorder
    record: RunRecord

    def __call__(self, state: PhaseState) -> None:
        self.recorder.put(with_history(self.record, state))
        metrics = state.history[-1].metrics
        scores = "".join(f", {name} {metrics[key]:.1%}" for key, name in HEADLINES.items() if key in metrics)
        print(
            f"{self.record.name}: epoch {state.epoch}/{state.config.phases[state.phase].epochs}, "
            f"loss {metrics['train/total']:.3f}, {metrics['train/images_per_second']:.0f} images/s{scores}",
            flush=True,
        )
