"""Scores one checkpoint on the configured dataset."""

import dataclasses
import secrets
import time

from reid.cluster import evaluate
from reid.config import RunConfig
from reid.data import REID, open_store
from reid.evaluation import require_rerankable
from reid.experiments import results
from reid.experiments.data import prepare_data
from reid.experiments.description import with_results
from reid.experiments.experiment import join_cluster
from reid.experiments.records import dataset_input, open_recorder, parent_record
from reid.experiments.reports import evaluation_page, write_report
from reid.progress import say_result
from reid.stages import find_stage, score_mean_colour
from reid.storage import Place, Storage
from reid.tracking import Measurement
from reid.training import PICTURES, load_state, save_pictures


def run_evaluation(config: RunConfig, *, checkpoint: Place) -> dict[str, float]:
    """Score a checkpoint on query and gallery of the configured dataset.

    Raises:
        ValueError: settings, data, cluster or checkpoint do not permit it.
        PhaseFailedError: the checkpoint does not fit the model's settings.
    """
    storage = Storage.of(config)
    storage.make_ready()
    recorder = open_recorder(config, storage)
    state = load_state(checkpoint)
    join_cluster(config, [config.scaling])
    store = prepare_data(config, storage, [REID])[REID.name]
    dataset = open_store(store, storage)
    if config.evaluation.rerank:
        require_rerankable(len(dataset.splits["query"]) + len(dataset.splits["gallery"]))
    key = f"{config.name}-evaluation-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
    record = parent_record(key, "evaluation", config, (dataset_input(dataset, store),))
    tags = {"reid.checkpoint": checkpoint, "reid.phase": state.phase, "reid.model": find_stage(state.stage).family}
    record = dataclasses.replace(record, tags=record.tags | tags)
    folder = storage.place("runs", key)
    with recorder:
        recorder.put(record)
        try:
            evaluation = evaluate(config, checkpoint=checkpoint, store=store, place=folder / "score")
        except BaseException:
            recorder.put(dataclasses.replace(record, status="FAILED"))
            raise
        save_pictures(folder, evaluation.pictures)
        metrics = evaluation.metrics
        measured = (Measurement(step=0, time=time.time(), metrics=metrics),)
        floor = score_mean_colour(dataset, config.evaluation)
        page = evaluation_page(key, config, dataset, store, checkpoint, state, floor, evaluation)
        report = write_report(folder, page)
        artifacts = {str(folder / PICTURES): PICTURES, report: ""}
        scores = {results.MEAN_COLOUR: results.of(floor.metrics), state.phase: results.of(metrics)}
        note = with_results(record.note, results.markdown(scores), artifacts)
        recorder.put(
            dataclasses.replace(record, status="FINISHED", measurements=measured, artifacts=artifacts, note=note)
        )
    results.show(scores)
    for name, value in metrics.items():
        if name.startswith("eval/attributes/"):
            say_result(f"{name.removeprefix('eval/')}: {value:.1%}")
    places = {"data": store, "checkpoint": checkpoint, "pictures": folder / PICTURES, "report": report}
    results.show_places(places, recorder, record)
    return metrics
