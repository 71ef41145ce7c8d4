"""All phases of a configuration: data, trainings, scores, records."""

import time
from collections.abc import Sequence

import yaml

from reid.config import RunConfig
from reid.data import REID
from reid.evaluation import Evaluation
from reid.experiments import results
from reid.experiments.data import without_unfed_phases
from reid.experiments.experiment import Experiment, Workspace
from reid.experiments.report_parts import REPORT
from reid.experiments.reports import pipeline_report
from reid.experiments.training import Training
from reid.progress import say, say_result
from reid.stages import built_on, score_mean_colour
from reid.tracking import MODEL_NAME, Measurement
from reid.training import PICTURES

ALIAS = "pipeline"
"""Of the model registered last, in MLflow's model registry."""


def run_pipeline(config: RunConfig) -> results.Scores:
    """Train every phase that is not finished yet and score the result.

    The same configuration goes on where an earlier process stopped.

    Raises:
        ValueError: settings, data or cluster do not permit the run; nothing was trained.
        PhaseFailedError: a phase stopped.
    """
    config = without_unfed_phases(config)
    workspace = Workspace.open(config, [config.scaling])
    trainings = phases_as_trainings(config)
    workspace.require_trainable(trainings)
    digests = [dataset.digest for dataset in workspace.datasets.values()]
    with workspace.claim("pipeline", without={"ablation": True, "search": True}, digests=digests) as experiment:
        done = ", ".join(experiment.finished) or "none"
        say(f"run {experiment.run.key}: {' → '.join(config.phases)}; finished: {done}")
        scores: results.Scores = {}
        floor = None
        if REID.name in workspace.datasets:
            floor = score_mean_colour(workspace.datasets[REID.name], config.evaluation)
            scores[results.MEAN_COLOUR] = results.of(floor.metrics)
        experiment.train(trainings)
        describing = [training for training in trainings if training.stage.describes]
        scores |= {training.name: results.of(experiment.metrics(training.name)) for training in describing}
        _finish(experiment, scores, trainings, floor)
        results.show(scores)
        if describing:
            _publish(experiment, describing[-1], scores.get(results.MEAN_COLOUR))
        experiment.run.finish(scores)
        places = {f"checkpoint of {name}": place for name, place in experiment.finished.items()}
        folder = experiment.run.folder
        data = {"data": next(iter(workspace.stores.values()))}
        seen = {"pictures": folder / PICTURES, "report": folder / REPORT}
        results.show_places({"run": folder} | data | places | seen, workspace.recorder, experiment.record)
        return scores


def phases_as_trainings(config: RunConfig) -> list[Training]:
    """Every phase as a training of its name, after those that it inherits from."""
    former: dict[str, str] = {}
    trainings = []
    for phase in config.phases:
        after = built_on(config, phase, former)
        trainings.append(Training(name=phase, config=config, phase=phase, after=after, folders=(phase,)))
        former[phase] = phase
    return trainings


def _finish(
    experiment: Experiment, scores: results.Scores, trainings: Sequence[Training], floor: Evaluation | None
) -> None:
    """Record the last scores and, as artifacts, the pictures, the report, the configuration and the table."""
    run, config, last = experiment.run, experiment.workspace.config, trainings[-1]
    (run.folder / "config.yaml").write(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    (run.folder / "results.md").write(results.markdown(scores))
    metrics = {f"floor/{name}": value for name, value in scores.get(results.MEAN_COLOUR, {}).items()}
    if last.stage.describes:
        metrics |= {f"eval/{name}": value for name, value in scores[last.name].items()}
    experiment.finish(
        [Measurement(step=0, time=time.time(), metrics=metrics)],
        {run.folder / name: "" for name in ("config.yaml", "results.md")}
        | pipeline_report(experiment, trainings, scores, floor, alias=ALIAS),
        table=results.markdown(scores),
    )


def _publish(experiment: Experiment, training: Training, rival: dict[str, float] | None) -> None:
    """Export a training's model and register it; `rival` is what the mean colour reaches."""
    published = experiment.publish(training, alias=ALIAS, rival=rival)
    say_result(f"export: {published.place}")
    if published.version is not None:
        say_result(f"registered: models:/{MODEL_NAME}@{ALIAS}, version {published.version}")
    say_result(f"in Python: import reid; reid.load('{published.place}').describe(['photo.jpg'])")
