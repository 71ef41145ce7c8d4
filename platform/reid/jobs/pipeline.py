"""The whole of FGSAM in one command: data, every phase, scores, records."""

import dataclasses
import os
import time
from collections.abc import Sequence

import yaml

from reid.config import RunConfig
from reid.data import Dataset
from reid.jobs import command, results
from reid.jobs.data import PreparedData, prepare_data
from reid.jobs.export import publish_checkpoint
from reid.jobs.records import (
    EpochRecorder,
    dataset_input,
    finished_record,
    parent_record,
    phase_record,
    pictures_of,
    recorder,
)
from reid.jobs.runs import Run, claim_run
from reid.tracking import Measurement, Recorder, RunRecord
from reid.tracking.registry import MODEL_NAME
from reid.training.checkpoint import load_state
from reid.training.cluster import connect, require_placeable
from reid.training.loop import PhaseJob, require_trainable
from reid.training.runner import fit
from reid.training.scoring import score_mean_colour
from reid.training.storage import Storage, open_store

ALIAS = "pipeline"
"""Of the model registered last, in MLflow's model registry."""


def main(argv: Sequence[str] | None = None) -> None:
    command.run(run_pipeline, command.parse("Train every phase of FGSAM, score each, record all in MLflow.", argv))


def run_pipeline(config: RunConfig) -> results.Scores:
    """Train every phase that is not finished yet and score the result.

    The same configuration goes on where an earlier process stopped.

    Raises:
        ValueError: settings, data or cluster do not permit the run; nothing was trained.
        PhaseFailedError: a phase stopped.
    """
    storage = Storage(config.storage)
    storage.require_writable()
    runs = recorder(config, storage, os.environ.get("MLFLOW_TRACKING_URI"))
    if config.scaling.num_workers:
        connect()
        require_placeable(config.scaling)
    data = prepare_data(config, storage, {phase.stage for phase in config.phases.values()})
    datasets = {place: open_store(place, config.storage) for place in (data.reid, data.pose) if place is not None}
    with claim_run(storage, config, tuple(dataset.digest for dataset in datasets.values())) as run:
        return _train(config, run, data, datasets, runs)


def _train(
    config: RunConfig, run: Run, data: PreparedData, datasets: dict[str, Dataset], runs: Recorder
) -> results.Scores:
    checkpoints = run.checkpoints()
    print(f"run {run.key}: {' → '.join(config.phases)}; finished: {', '.join(checkpoints) or 'none'}", flush=True)
    if not checkpoints:
        for phase, settings in config.phases.items():
            require_trainable(config, phase, datasets[data.store_of(settings.stage)])
    inputs = tuple(dataset_input(dataset, place) for place, dataset in datasets.items())
    parent = parent_record(run.key, "pipeline", config, inputs)
    runs.put(parent)
    scores = {results.MEAN_COLOUR: results.of(score_mean_colour(datasets[data.reid], config.evaluation))}
    try:
        for phase, settings in config.phases.items():
            store = data.store_of(settings.stage)
            record = phase_record(parent, phase, config, (dataset_input(datasets[store], store),))
            if phase not in checkpoints:
                job = PhaseJob(config=config, phase=phase, store=store, start_from=tuple(checkpoints.values()))
                checkpoints[phase] = _train_phase(job, run, runs, record)
                run.finish_phase(phase, checkpoints[phase])
            state = load_state(checkpoints[phase])
            runs.put(finished_record(record, state, checkpoints[phase]))
            if settings.stage != "pose":
                scores[phase] = results.of(state.history[-1].metrics)
    except BaseException:
        runs.put(dataclasses.replace(parent, status="FAILED"))
        raise
    parent = _finished(parent, config, run, scores, checkpoints)
    runs.put(parent)
    results.show(scores)
    _publish(config, run, runs, list(scores)[-1], checkpoints)
    run.finish(scores)
    places = {f"checkpoint of {phase}": place for phase, place in checkpoints.items()}
    results.show_places({"run": run.folder, "data": data.reid} | places, runs, parent)
    return scores


def _train_phase(job: PhaseJob, run: Run, runs: Recorder, record: RunRecord) -> str:
    runs.put(record)
    try:
        return fit(job, folder=run.folder, observe=EpochRecorder(recorder=runs, record=record))
    except BaseException:
        runs.put(dataclasses.replace(record, status="FAILED"))
        raise


def _finished(
    parent: RunRecord, config: RunConfig, run: Run, scores: results.Scores, checkpoints: dict[str, str]
) -> RunRecord:
    """The parent's record with the last phase's scores and, as artifacts, its pictures, configuration and table."""
    folder = run.storage.scratch / "runs" / run.key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    (folder / "results.md").write_text(results.markdown(scores))
    last = list(scores)[-1]
    metrics = {f"eval/{name}": value for name, value in scores[last].items()}
    metrics |= {f"floor/{name}": value for name, value in scores[results.MEAN_COLOUR].items()}
    return dataclasses.replace(
        parent,
        status="FINISHED",
        measurements=(Measurement(step=0, time=time.time(), metrics=metrics),),
        artifacts={str(folder / name): "" for name in ("config.yaml", "results.md")}
        | pictures_of(list(checkpoints.values())[-1]),
    )


def _publish(config: RunConfig, run: Run, runs: Recorder, phase: str, checkpoints: dict[str, str]) -> None:
    """Export the last phase's model and register it."""
    key = f"{run.key}.{phase}"
    published = publish_checkpoint(
        config,
        checkpoints[phase],
        storage=run.storage,
        runs=runs,
        names=("exports", key),
        alias=ALIAS,
        run_key=key,
    )
    print(f"export: {published.place}")
    if published.version is not None:
        print(f"registered: models:/{MODEL_NAME}@{ALIAS}, version {published.version}")
