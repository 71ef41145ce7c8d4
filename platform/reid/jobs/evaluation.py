"""Scores one checkpoint on the configured dataset."""

import dataclasses
import functools
import os
import time
from collections.abc import Sequence

from reid.config import RunConfig
from reid.jobs import command, results
from reid.jobs.checkpoints import CHECKPOINT_HELP, absolute, settings_of
from reid.jobs.data import prepare_data
from reid.jobs.records import dataset_input, parent_record, recorder
from reid.tracking import Measurement
from reid.training.checkpoint import PICTURES, load_state, save_pictures
from reid.training.cluster import connect, require_placeable
from reid.training.runner import evaluate
from reid.training.scoring import score_mean_colour
from reid.training.storage import Storage, open_store


def main(argv: Sequence[str] | None = None) -> None:
    parser = command.parser(
        "Score a checkpoint on query and gallery and record the scores in MLflow. Without --preset, the settings are "
        "those the checkpoint was trained with."
    )
    parser.add_argument("--checkpoint", required=True, metavar="PLACE", help=CHECKPOINT_HELP)
    arguments = parser.parse_args(argv)
    checkpoint = absolute(arguments.checkpoint)
    command.run(
        functools.partial(run_evaluation, checkpoint=checkpoint),
        arguments,
        base=lambda: settings_of(checkpoint),
    )


def run_evaluation(config: RunConfig, checkpoint: str) -> dict[str, float]:
    """Score a checkpoint on query and gallery of the configured dataset.

    Raises:
        ValueError: settings, data, cluster or checkpoint do not permit it.
        PhaseFailedError: the checkpoint does not fit `config.model`.
    """
    storage = Storage(config.storage)
    storage.require_writable()
    runs = recorder(config, storage, os.environ.get("MLFLOW_TRACKING_URI"))
    phase = load_state(checkpoint).phase
    if config.scaling.num_workers:
        connect()
        require_placeable(config.scaling)
    data = prepare_data(config, storage, {"final"})
    dataset = open_store(data.reid, config.storage)
    key = f"{config.name}-evaluation-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    record = parent_record(key, "evaluation", config, (dataset_input(dataset, data.reid),))
    record = dataclasses.replace(record, tags=record.tags | {"reid.checkpoint": checkpoint, "reid.phase": phase})
    runs.put(record)
    try:
        evaluation = evaluate(config, checkpoint=checkpoint, store=data.reid, folder=storage.place("runs", key))
    except BaseException:
        runs.put(dataclasses.replace(record, status="FAILED"))
        raise
    folder = storage.scratch / "runs" / key
    save_pictures(folder, evaluation.pictures)
    metrics = evaluation.metrics
    measured = (Measurement(step=0, time=time.time(), metrics=metrics),)
    pictures = {str(folder / PICTURES): PICTURES}
    runs.put(dataclasses.replace(record, status="FINISHED", measurements=measured, artifacts=pictures))
    floor = score_mean_colour(dataset, config.evaluation)
    results.show({results.MEAN_COLOUR: results.of(floor), phase: results.of(metrics)})
    for name, value in metrics.items():
        if name.startswith("eval/attributes/"):
            print(f"{name.removeprefix('eval/')}: {value:.1%}")
    print(f"data: {data.reid}")
    print(f"checkpoint: {checkpoint}")
    print(f"pictures: {folder / PICTURES}")
    print(f"MLflow: {runs.uri}, experiment {runs.experiment}, run {record.name}")
    print(results.browse(runs))
    return metrics
