"""Trains every row of the ablation over several seeds, many at once, and tables them."""

import time
from functools import partial

from reid.cluster import PhaseFailedError, concurrent_runs
from reid.config import RunConfig
from reid.data import REID
from reid.experiments import results
from reid.experiments.ablation_plan import AblationPlan, plan_ablation, scaling_of
from reid.experiments.ablation_table import AblationTable
from reid.experiments.cost import Cost, descriptor_cost
from reid.experiments.experiment import Experiment, TrainingsStoppedError, Workspace
from reid.experiments.reports import ablation_page, write_report
from reid.experiments.runs import Exclude
from reid.progress import say
from reid.tracking import Measurement


def run_ablation(config: RunConfig) -> AblationTable:
    """Train what is not finished yet of every row and seed, and table the scores.

    The same configuration goes on where an earlier process stopped.

    Raises:
        ValueError: settings, data or cluster do not permit the run; nothing was trained.
        PhaseFailedError: a training stopped; all that do not build on it were finished.
    """
    scaling = scaling_of(config)
    workspace = Workspace.open(config, [scaling])
    plan = plan_ablation(config, workspace.datasets)
    workspace.require_trainable(plan.trainings)
    digests = list(dict.fromkeys(workspace.dataset_of(training.stage).digest for training in plan.trainings))
    without: Exclude = {"search": True, "ablation": {"workers"}}
    with workspace.claim("ablation", without=without, digests=digests) as experiment:
        say(f"run {experiment.run.key}: {len(plan.trainings)} trainings; finished: {len(experiment.finished)}")
        at_once = partial(concurrent_runs, scaling) if scaling.num_workers else lambda: 1
        incomplete = None
        try:
            experiment.train(plan.trainings, at_once=at_once)
        except TrainingsStoppedError as error:
            incomplete = PhaseFailedError(f"the table is not complete: {error}")
        table = _table(experiment, plan)
        results.show_places(
            {"run": experiment.run.folder, "data": workspace.stores[REID.name]}, workspace.recorder, experiment.record
        )
        if incomplete is not None:
            raise incomplete
        experiment.run.finish(table.means())
        return table


def _costs(experiment: Experiment, plan: AblationPlan) -> dict[str, Cost]:
    """By slug, of the first seed's model, where the comparison shows them."""
    if not plan.comparison.costs:
        return {}
    trainings = {training.name: training for training in plan.trainings}
    first = {slug: next(iter(last.values())) for slug, last in plan.last.items()}
    return {
        slug: descriptor_cost(experiment.finished[name], trainings[name].config)
        for slug, name in first.items()
        if name in experiment.finished
    }


def _table(experiment: Experiment, plan: AblationPlan) -> AblationTable:
    """Print the table, and record it with every score by seed."""
    metrics = {name: experiment.metrics(name) for name in experiment.finished}
    table = AblationTable.of(plan, experiment.workspace.config.data.name, metrics, _costs(experiment, plan))
    file = experiment.run.folder / "ablation.md"
    file.write(table.markdown())
    scores = [Measurement(step=seed, time=time.time(), metrics=found) for seed, found in table.by_seed().items()]
    report = write_report(experiment.run.folder, ablation_page(experiment, table))
    experiment.finish(scores, {file: "", report: ""}, table=table.markdown())
    table.show()
    return table
