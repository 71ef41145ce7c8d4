"""The Optuna study of a sweep: the one place that knows its trials, and all that a killed driver leaves behind."""

import json
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from reid.config import ConfigError, Objective, RunConfig
from reid.search.chosen import ChosenSpace
from reid.search.holding import Holding
from reid.search.optuna_internals import ask, one_at_a_time, take_up
from reid.search.spaces import descriptor_dim, searched_phase
from reid.search.view import State
from reid.storage import Holder
from reid.training import EpochRecord, derive_seed

SCORE = "eval/mAP"
"""What trials report after every epoch."""

STATES: dict[TrialState, State] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial as it stands."""

    number: int
    state: State
    params: dict[str, Any]
    """What the space drew, by name."""
    settings: dict[str, Any]
    """What follows from it, by dotted path."""
    epochs: int = 0
    """Epochs trained."""
    values: dict[str, float] = field(default_factory=dict)
    """The latest of each objective."""
    history: tuple[EpochRecord, ...] = ()
    """What its epochs measured; of trials that were over when this process began, the study does not know it."""
    failure: str | None = None
    ended: float | None = None
    """Seconds since 1970."""


TrialObserver = Callable[[Trial], None]
"""Told of every change of a trial; of its end before the study is, so nobody misses one that the study knows."""


class Trials:
    """Hands out trials, takes their reports, and decides which go on.

    A trial's draws are functions of the seed, its number and the trials before it, so a sweep that was killed and goes
    on suggests what it would have suggested. Any number of drivers may have a study at once: each trial is handed out
    once. One that a driver left unfinished, which was killed or stands still, is handed out again, under its number
    and with its parameters.

    What changes anything raises LeaseLostError where this driver is the one that stood still.

    Args:
        driver: this process.
        config: the configuration that is searched around.
        first: the parameters of the first trial, which is never stopped early: all others are compared with it.
        observe: told of every change.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: ChosenSpace,
        config: RunConfig,
        *,
        first: dict[str, Any],
        driver: Holder,
        observe: TrialObserver = lambda _: None,
    ) -> None:
        self._study, self._space, self._config, self._observe = study, space, config, observe
        search = config.search
        self.epochs = config.phases[searched_phase(config)].epochs
        """Of a full trial, unless its settings say otherwise."""
        self._stops_early = search.early_stopping and len(search.objectives) == 1
        study.pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=search.grace, reduction_factor=search.reduction
        )
        self.holding = Holding(study, driver)
        """Its context is to be entered before a trial is handed out."""
        self._running: dict[int, _Running] = {}
        with one_at_a_time(study):
            if not study.get_trials(deepcopy=False):
                study.enqueue_trial(first)

    @property
    def left(self) -> int:
        """Trials that can be handed out now."""
        trials = self._study.get_trials(deepcopy=False)
        return len(self._interrupted(trials)) + max(0, self._config.search.trials - _begun(trials))

    @property
    def under_way(self) -> int:
        """Trials that were handed out here and are not over."""
        return len(self._running)

    @property
    def over(self) -> set[int]:
        """Numbers of the trials that are over, whoever had them."""
        return {trial.number for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()}

    @property
    def elsewhere(self) -> int:
        """Trials that other drivers have under way."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(trial.number not in self._running for trial in running)

    def next(self) -> Trial | None:
        """The next trial to train; None when all were handed out, here or elsewhere."""
        while (taken := self._take()) is not None:
            trial, reported = taken
            try:
                settings, config = self._space.configure(trial, self._config)
            except ConfigError as error:
                self._fail(_Running(trial=trial, config=self._config, status=_status(trial, {})), str(error))
                continue
            trial.set_user_attr("settings", json.dumps(settings))
            running = _Running(trial=trial, config=config, status=_status(trial, settings), reported=reported)
            self._running[trial.number] = running
            self._observe(running.status)
            return running.status
        return None

    def report(self, number: int, records: Sequence[EpochRecord]) -> bool:
        """Take in epochs, known ones too; whether the trial is to go on."""
        self.holding.require()
        running = self._running[number]
        for record in records:
            if record.epoch <= running.status.epochs or running.stopped or running.failure:
                continue
            self._take_in(running, record)
        self._observe(running.status)
        return not (running.stopped or running.failure)

    def finish(self, number: int, failure: str | None = None) -> None:
        """The trial is over, by itself, stopped, or failed."""
        self.holding.require()
        running = self._running.pop(number)
        failure = failure or running.failure
        full = running.config.phases[searched_phase(running.config)].epochs
        if failure is None and not running.stopped and running.status.epochs < full:
            failure = f"ended after {running.status.epochs} of {full} epochs"
        if failure is not None:
            self._fail(running, failure)
            return
        running.trial.set_user_attr("epochs", running.status.epochs)
        state = TrialState.PRUNED if running.stopped else TrialState.COMPLETE
        self._observe(replace(running.status, state=STATES[state], ended=time.time()))
        values = None if running.stopped else list(running.status.values.values())
        self._tell(running, values, state)

    def all(self) -> Iterator[Trial]:
        """Every trial that was ever begun, by number."""
        for trial in self._study.get_trials(deepcopy=False):
            if trial.number in self._running:
                yield self._running[trial.number].status
            elif trial.state is not TrialState.WAITING:
                yield _stored(trial, self._config.search.objectives)

    def winner(self) -> Trial | None:
        """The best trial that was trained to the end; of a Pareto front, the one with the highest mAP."""
        front = self._study.best_trials  # of a single objective, its best
        if not front:
            return None
        best = max(front, key=lambda trial: (trial.values[0], -trial.number))
        return _stored(best, self._config.search.objectives)

    def _take(self) -> tuple[optuna.Trial, frozenset[int]] | None:
        """A trial that is this driver's from now on, with the epochs that the study was told of before."""
        self.holding.require()
        with one_at_a_time(self._study):
            trials = self._study.get_trials(deepcopy=False)
            reported = frozenset[int]()
            if interrupted := self._interrupted(trials):
                self._study.sampler = _sampler(self._config, interrupted[0].number)
                trial, reported = take_up(self._study, interrupted[0]), frozenset(interrupted[0].intermediate_values)
            elif (begun := _begun(trials)) < self._config.search.trials:
                self._study.sampler = _sampler(self._config, begun)
                trial = ask(self._study)
            else:
                return None
            self.holding.take(trial)
            return trial, reported

    def _interrupted(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        return self.holding.anybodys([trial for trial in trials if trial.state is TrialState.RUNNING])

    def _take_in(self, running: "_Running", record: EpochRecord) -> None:
        score = record.metrics.get(SCORE, math.nan)
        if not math.isfinite(score):
            running.failure = f"epoch {record.epoch} has no finite {SCORE}"
            return
        history = (*running.status.history, record)
        running.status = replace(
            running.status, epochs=record.epoch, history=history, values=self._values(running.config, history)
        )
        if len(self._study.directions) > 1:
            return
        if record.epoch not in running.reported:
            running.trial.report(score, record.epoch)
        full = running.config.phases[searched_phase(running.config)].epochs
        if self._stops_early and record.epoch < full:
            running.stopped = running.trial.should_prune() and running.status.number > 0

    def _values(self, config: RunConfig, history: Sequence[EpochRecord]) -> dict[str, float]:
        measure = {
            "mAP": lambda: history[-1].metrics[SCORE],
            "descriptor_dim": lambda: float(descriptor_dim(config)),
            "images_per_second": lambda: statistics.median(
                record.metrics.get("train/images_per_second", 0.0) for record in history
            ),
        }
        return {objective: measure[objective]() for objective in config.search.objectives}

    def _fail(self, running: "_Running", failure: str) -> None:
        running.trial.set_user_attr("epochs", running.status.epochs)
        running.trial.set_user_attr("failure", failure)
        self._observe(replace(running.status, state="failed", failure=failure, ended=time.time()))
        self._tell(running, None, TrialState.FAIL)

    def _tell(self, running: "_Running", values: list[float] | None, state: TrialState) -> None:
        self._study.tell(running.trial, values, state=state)
        self.holding.drop(running.trial.number)


@dataclass(kw_only=True)
class _Running:
    """A trial that was handed out."""

    trial: optuna.Trial
    config: RunConfig
    status: Trial
    reported: frozenset[int] = frozenset()
    """Epochs that the study was told of by a driver before this one."""
    stopped: bool = False
    failure: str | None = None


def _begun(trials: Sequence[FrozenTrial]) -> int:
    return sum(trial.state is not TrialState.WAITING for trial in trials)


def _status(trial: optuna.Trial, settings: dict[str, Any]) -> Trial:
    return Trial(number=trial.number, state="running", params=dict(trial.params), settings=settings)


def _stored(trial: FrozenTrial, objectives: Sequence[Objective]) -> Trial:
    """What the study knows of a trial."""
    values = trial.values or list(trial.intermediate_values.values())[-1:]
    return Trial(
        number=trial.number,
        state=STATES[trial.state],
        params=dict(trial.params),
        settings=json.loads(trial.user_attrs.get("settings", "{}")),
        epochs=trial.user_attrs.get("epochs", len(trial.intermediate_values)),
        values=dict(zip(objectives, values, strict=False)),  # a trial that failed has none
        failure=trial.user_attrs.get("failure"),
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    )


def _sampler(config: RunConfig, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=derive_seed(config.seed, "search", number),
            n_startup_trials=config.search.random_trials,
            multivariate=True,
            group=True,
            constant_liar=True,
        )
