"""All phases of a configuration: data, trainings, scores, records."""

import time

import yaml

from reid.config import RunConfig
from reid.data import REID
from reid.experiments import results
from reid.experiments.experiment import Experiment, Workspace
from reid.experiments.records import pictures_of
from reid.experiments.training import Training
from reid.stages import built_on, score_mean_colour
from reid.tracking import MODEL_NAME, Measurement

ALIAS = "pipeline"
"""Of the model registered last, in MLflow's model registry."""


def run_pipeline(config: RunConfig) -> results.Scores:
    """Train every phase that is not finished yet and score the result.

    The same configuration goes on where an earlier process stopped.

    Raises:
        ValueError: settings, data or cluster do not permit the run; nothing was trained.
        PhaseFailedError: a phase stopped.
    """
    workspace = Workspace.open(config, [config.scaling])
    trainings = phases_as_trainings(config)
    workspace.require_trainable(trainings)
    digests = [dataset.digest for dataset in workspace.datasets.values()]
    with workspace.claim("pipeline", without={"ablation": True, "search": True}, digests=digests) as experiment:
        done = ", ".join(experiment.finished) or "none"
        print(f"run {experiment.run.key}: {' → '.join(config.phases)}; finished: {done}", flush=True)
        scores: results.Scores = {}
        if REID.name in workspace.datasets:
            floor = score_mean_colour(workspace.datasets[REID.name], config.evaluation)
            scores[results.MEAN_COLOUR] = results.of(floor)
        experiment.train(trainings)
        describing = [training for training in trainings if training.stage.describes]
        scores |= {training.name: results.of(experiment.metrics(training.name)) for training in describing}
        _finish(experiment, scores, trainings[-1])
        results.show(scores)
        if describing:
            _publish(experiment, describing[-1], scores.get(results.MEAN_COLOUR))
        experiment.run.finish(scores)
        places = {f"checkpoint of {name}": place for name, place in experiment.finished.items()}
        data = {"data": next(iter(workspace.stores.values()))}
        results.show_places({"run": experiment.run.folder} | data | places, workspace.recorder, experiment.record)
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


def _finish(experiment: Experiment, scores: results.Scores, last: Training) -> None:
    """Record the last scores and, as artifacts, their pictures, the configuration and the table."""
    run, config = experiment.run, experiment.workspace.config
    (run.scratch / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    (run.scratch / "results.md").write_text(results.markdown(scores))
    metrics = {f"floor/{name}": value for name, value in scores.get(results.MEAN_COLOUR, {}).items()}
    if last.stage.describes:
        metrics |= {f"eval/{name}": value for name, value in scores[last.name].items()}
    experiment.finish(
        [Measurement(step=0, time=time.time(), metrics=metrics)],
        {str(run.scratch / name): "" for name in ("config.yaml", "results.md")}
        | pictures_of(experiment.finished[last.name]),
        table=results.markdown(scores),
    )


def _publish(experiment: Experiment, training: Training, rival: dict[str, float] | None) -> None:
    """Export a training's model and register it; `rival` is what the mean colour reaches."""
    published = experiment.publish(training, alias=ALIAS, rival=rival)
    print(f"export: {published.place}")
    if published.version is not None:
        print(f"registered: models:/{MODEL_NAME}@{ALIAS}, version {published.version}")
