"""What became of a study's trials: ranks, failures, the paper's, the parameters that varied."""

import math
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from reid.search.outcomes import Outcomes, read

SPACE: dict[str, BaseDistribution] = {
    "loss.gamma": FloatDistribution(0, 4),
    "layout": CategoricalDistribution(["six_parts", "whole_body"]),
    "layout.dim": CategoricalDistribution([128, 256]),
    "layout.triplet": CategoricalDistribution([True, False]),
    "loss.alpha": FloatDistribution(0.01, 1, log=True),
    "warmup": IntDistribution(0, 4),
}
PAPER = {"loss.alpha": 0.5, "loss.gamma": 2.0, "layout": "six_parts", "seed": 0}


def outcomes_of(
    *trials: tuple[Mapping[str, Any], float | None, TrialState],
    epochs: Mapping[int, int] | None = None,
    direction: str = "maximize",
) -> Outcomes:
    study = optuna.create_study(direction=direction)
    for params, value, state in trials:
        distributions = {path: SPACE[path] for path in params}
        study.add_trial(create_trial(params=dict(params), distributions=distributions, value=value, state=state))
    trained = epochs or dict.fromkeys(range(len(trials)), 9)
    return read(study, metric_names=("mAP",), paper=PAPER, trained=trained, epochs=9)


def test_stopped_trials_rank_behind_finished_ones_by_how_far_they_came() -> None:
    pruned, complete = TrialState.PRUNED, TrialState.COMPLETE
    content = [(0.1, complete), (0.8, pruned), (0.3, complete), (0.9, pruned), (0.7, pruned), (0.3, complete)]
    trials = [({"loss.alpha": 0.1}, value, state) for value, state in content]
    outcomes = outcomes_of(*trials, epochs={0: 9, 1: 3, 2: 9, 3: 1, 4: 3, 5: 9})
    assert [trial.number for trial in outcomes.ranked] == [2, 5, 0, 1, 4, 3]
    assert [trial.number for trial in outcomes.comparable] == [2, 5, 0]
    assert [trial.number for trial in outcomes.stopped] == [1, 4, 3]


def test_less_is_better_where_the_study_says_so() -> None:
    trials = [({"loss.alpha": 0.1}, value, TrialState.COMPLETE) for value in (3.0, 1.0, 2.0)]
    assert [trial.number for trial in outcomes_of(*trials, direction="minimize").ranked] == [1, 2, 0]


@pytest.mark.parametrize(
    ("value", "state"), [(None, TrialState.FAIL), (math.inf, TrialState.COMPLETE), (None, TrialState.PRUNED)]
)
def test_a_trial_without_a_finite_value_has_failed(value: float | None, state: TrialState) -> None:
    outcomes = outcomes_of(({"loss.alpha": 0.1}, 0.5, TrialState.COMPLETE), ({"loss.alpha": 0.2}, value, state))
    assert outcomes.failed == (1,)
    assert [trial.number for trial in outcomes.trials] == [0]
    assert not outcomes.distributions


def test_a_value_that_is_no_number_has_failed() -> None:
    study = optuna.create_study(direction="maximize")
    study.optimize(lambda trial: math.nan * trial.suggest_float("loss.alpha", 0, 1), n_trials=1)
    assert read(study, metric_names=("mAP",), paper=PAPER, trained={}, epochs=9).failed == (0,)


def test_trials_that_are_not_over_are_left_out() -> None:
    outcomes = outcomes_of(({}, None, TrialState.RUNNING), ({}, None, TrialState.WAITING))
    assert outcomes.trials == outcomes.failed == ()


def test_the_papers_trial_has_its_values_wherever_the_paper_has_one() -> None:
    complete = TrialState.COMPLETE
    outcomes = outcomes_of(
        ({"loss.alpha": 0.5, "layout": "whole_body"}, 0.9, complete),
        ({"warmup": 3}, 0.9, complete),
        ({"loss.alpha": 0.5, "warmup": 3}, 0.1, complete),
        ({"loss.alpha": 0.5, "loss.gamma": 2.0}, 0.1, complete),
    )
    assert outcomes.paper_trial is outcomes.trials[2]


def test_parameters_that_varied_come_by_how_many_trials_have_them_the_papers_first() -> None:
    rare = {"loss.gamma": 1.0, "layout.triplet": True, "layout.dim": 128}
    common: list[dict[str, Any]] = [{"layout": "six_parts", "warmup": 1, "layout.dim": 128}] * 2
    common += [{"layout": "whole_body", "warmup": 1}] * 2
    trials = [rare, {**rare, "loss.gamma": 3.0, "layout.triplet": False, "layout.dim": 256}, *common]
    outcomes = outcomes_of(*((params, 0.5, TrialState.COMPLETE) for params in trials))
    assert list(outcomes.distributions) == ["loss.gamma", "layout.dim", "layout", "layout.triplet"]
    assert [outcomes.is_numeric(path) for path in outcomes.distributions] == [True, True, False, False]
    assert list(outcomes.names.values()) == ["γ", "dim", "layout", "triplet"]
