"""What became of a sweep's trials, read from its Optuna study for the figures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from reid.search.labels import SYMBOLS, short_names

OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A trial that reached a value of every objective."""

    number: int
    values: tuple[float, ...]
    params: dict[str, Any]
    epochs: int
    finished: bool
    """False for a trial that was stopped; its values are those of its last epoch."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """The trials of a study that are over."""

    study: optuna.Study
    metrics: tuple[str, ...]
    """One for each objective."""
    paper: Mapping[str, Any]
    trials: tuple[Outcome, ...]
    """By number."""
    failed: tuple[int, ...]
    """Numbers of the trials that reached no value, or one that is not finite."""
    epochs: int
    """Of a full trial."""
    distributions: Mapping[str, BaseDistribution]
    """Of every parameter that took more than one value: the paper's three, then those that most trials have."""

    @cached_property
    def signs(self) -> tuple[int, ...]:
        """By objective: 1 where more is better, -1 where less is."""
        return tuple(1 if direction == StudyDirection.MAXIMIZE else -1 for direction in self.study.directions)

    @cached_property
    def ranked(self) -> tuple[Outcome, ...]:
        """By the first objective, best first; after them those that were stopped, by how far they came."""

        def place(trial: Outcome) -> tuple[float, ...]:
            reached = self.signs[0] * trial.values[0]
            return (1, 0, reached) if trial.finished else (0, trial.epochs, reached)

        return tuple(sorted(self.trials, key=place, reverse=True))

    @cached_property
    def comparable(self) -> tuple[Outcome, ...]:
        """As ranked, the finished ones: what a trial reaches in fewer epochs says little about its parameters.

        All trials, when none is finished.
        """
        return tuple(trial for trial in self.ranked if trial.finished) or self.ranked

    @cached_property
    def stopped(self) -> tuple[Outcome, ...]:
        """Those that are not comparable, as ranked."""
        return self.ranked[len(self.comparable) :]

    @cached_property
    def paper_trial(self) -> Outcome | None:
        """The first trial whose parameters have the paper's values wherever the paper has one."""
        for trial in self.trials:
            shared = trial.params.keys() & self.paper.keys()
            if shared and all(trial.params[path] == self.paper[path] for path in shared):
                return trial
        return None

    @cached_property
    def names(self) -> dict[str, str]:
        """Short names of the parameters by path."""
        return short_names(self.distributions)

    def is_numeric(self, path: str) -> bool:
        choices = getattr(self.distributions[path], "choices", ())
        return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)

    def is_log(self, path: str) -> bool:
        return bool(getattr(self.distributions[path], "log", False))


def read(
    study: optuna.Study,
    *,
    metric_names: tuple[str, ...],
    paper: Mapping[str, Any],
    trained: Mapping[int, int],
    epochs: int,
) -> Outcomes:
    """See `draw_figures` for the arguments."""
    trials, failed = [], []
    distributions: dict[str, BaseDistribution] = {}
    taken: dict[str, list[Any]] = {path: [] for path in SYMBOLS}
    for trial in study.get_trials(deepcopy=False, states=OVER):
        if trial.values is None or not all(map(math.isfinite, trial.values)):
            failed.append(trial.number)
            continue
        trials.append(
            Outcome(
                number=trial.number,
                values=tuple(trial.values),
                params=dict(trial.params),
                epochs=trained[trial.number],
                finished=trial.state == TrialState.COMPLETE,
            )
        )
        distributions |= trial.distributions
        for path, value in trial.params.items():
            taken.setdefault(path, []).append(value)
    varying = [path for path, values in taken.items() if len(set(values)) > 1]
    varying.sort(key=lambda path: (path not in SYMBOLS, -len(taken[path])))
    return Outcomes(
        study=study,
        metrics=metric_names,
        paper=paper,
        trials=tuple(trials),
        failed=tuple(failed),
        epochs=epochs,
        distributions={path: distributions[path] for path in varying},
    )
