"""The trials of a sweep, for any number of drivers: each takes what no other has."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from ray import tune

from reid.cluster import TrialJob, concurrent_runs, train_trial, uses_gpu
from reid.data import REID, HoldOut
from reid.experiments.experiment import Experiment
from reid.search import (
    ChosenSpace,
    LiveView,
    Trial,
    TrialReports,
    Trials,
    run_trials,
    searched_phase,
    with_layouts_of,
)
from reid.storage import Holder

LOOK_EVERY_S = 5.0
"""At what becomes of the trials of other drivers."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What the trials of a sweep are drawn from."""

    hold_out: HoldOut
    space: ChosenSpace
    first: dict[str, object]
    study: optuna.Study


def take_trials(experiment: Experiment, search: Search, *, after: Sequence[str]) -> Trials:
    """Run trials until all of the study's are over, those of other drivers too, which may stop on the way.

    Args:
        after: names of the finished trainings that every trial starts from.

    Raises:
        LeaseLostError: this process stood still, and its trials may be other drivers'.
    """
    run, settings = experiment.run, experiment.workspace.config.search
    job = _trial_job(experiment, search, after)
    put = experiment.workspace.recorder.put
    view = LiveView(name=run.key, metric_names=settings.objectives, total=settings.trials)
    reports = TrialReports(experiment.record, put, view, epochs=job.config.phases[job.phase].epochs)
    looked = 0.0

    def observe(trial: Trial) -> None:
        nonlocal looked
        if time.monotonic() - looked > LOOK_EVERY_S:  # what other drivers do is seen now and then
            looked = time.monotonic()
            reports.show(trials.all())
        reports(trial)

    driver = Holder.here(run.kind)
    trials = Trials(search.study, search.space, job.config, first=search.first, driver=driver, observe=observe)
    with view, trials.holding, reports:
        while True:
            reports.show(trials.all())
            if trials.left:
                run_trials(
                    trials,
                    tune.with_parameters(train_trial, job=job),
                    scaling=job.config.scaling,
                    at_once=lambda: min(concurrent_runs(job.config.scaling), settings.concurrency or sys.maxsize),
                    discard=lambda: job.discard(trials.over),
                )
            elif trials.elsewhere:
                time.sleep(LOOK_EVERY_S)
            else:
                return trials


def _trial_job(experiment: Experiment, search: Search, after: Sequence[str]) -> TrialJob:
    config, run = experiment.workspace.config, experiment.run
    scaling = config.scaling.model_copy(update={"num_workers": config.search.workers})
    if config.search.workers == 1:  # it trains in the process that Tune starts for it
        device = "gpu" if uses_gpu(scaling) else "cpu"
        scaling = scaling.model_copy(update={"num_workers": 0, "accelerator": device})
    config = with_layouts_of(search.study, config).model_copy(
        update={
            "scaling": scaling,
            "evaluation": config.evaluation.model_copy(update={"every": 1, "rerank": False}),
        }
    )
    return TrialJob(
        config=config,
        phase=searched_phase(config),
        store=experiment.workspace.stores[REID.name],
        start_from=tuple(experiment.finished[name] for name in after),
        hold_out=search.hold_out,
        folder=run.folder / "trials",
    )
