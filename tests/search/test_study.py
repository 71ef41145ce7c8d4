"""A sweep's trials in the study: drawn alike by every attempt, each counted once, the weak ones stopped."""

import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from reid.config import LAYOUTS, ConfigError, RunConfig, load_config
from reid.search import Trial, Trials, open_study, start_values, with_layouts_of
from reid.search.chosen import ChosenSpace
from reid.search.layouts import branch_layout
from reid.storage import Holder
from reid.training import EpochRecord

EPOCHS = 9
Score = Callable[[float, int], float]


def space(trial: optuna.Trial, config: RunConfig) -> dict[str, Any]:
    settings = {"loss.alpha": trial.suggest_float("loss.alpha", 0.0, 1.0)}
    if trial.suggest_categorical("loss.mining", ("batch_all", "batch_hard")) == "batch_all":
        settings["loss.gamma"] = trial.suggest_float("loss.gamma", 0.0, 4.0)
    return settings


KILLED = replace(Holder.here("sweep"), started="long ago")
"""A driver that ends without a word: what it leaves unfinished is the next one's at once."""
FIRST = {"loss.alpha": 0.5, "loss.mining": "batch_all", "loss.gamma": 2.0}


def config(*overrides: str) -> RunConfig:
    return load_config(preset="smoke", overrides=["search.trials=12", f"phases.final.epochs={EPOCHS}", *overrides])


def opened(folder: Path, settings: RunConfig, observe: Callable[[Trial], None] = lambda _: None) -> Trials:
    study = open_study(f"sqlite:///{folder}/study.db", "x", settings.search.objectives)
    return Trials(study, ChosenSpace(name="x", draw=space), settings, first=FIRST, driver=KILLED, observe=observe)


def learning(alpha: float, epoch: int) -> float:
    """Best at 0.7; who is better in the end is better on the way, more or less."""
    return (1 - abs(alpha - 0.7)) * (1 - 0.5**epoch) + 0.02 * math.sin(37 * alpha + epoch)


def records(trial: Trial, epochs: range, score: Score = learning) -> list[EpochRecord]:
    return [
        EpochRecord(
            epoch=epoch,
            time=float(epoch),
            metrics={"eval/mAP": score(trial.params["loss.alpha"], epoch), "train/images_per_second": 40.0 + epoch},
        )
        for epoch in epochs
    ]


def train(trials: Trials, reports: int = 10**6, score: Score = learning) -> None:
    """One trial at a time, until the power goes after so many reports."""
    while (trial := trials.next()) is not None:
        for epoch in range(1, EPOCHS + 1):
            if not reports:
                return
            reports -= 1
            if not trials.report(trial.number, records(trial, range(epoch, epoch + 1), score)):
                break
        trials.finish(trial.number)


def summary(trials: Trials) -> list[tuple[Any, ...]]:
    return [(t.number, t.state, t.epochs, t.params, t.values) for t in trials.all()]


@pytest.mark.slow
def test_the_same_seed_makes_the_same_suggestions(tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        trials = opened(tmp_path / name, config(f"seed={seed}"))
        train(trials)
        found.append(summary(trials))
    assert found[0] == found[1] != found[2]
    assert len({str(params) for *_, params, _ in found[0]}) == 12
    assert found[0][0][3] == found[2][0][3] == FIRST


@pytest.mark.slow
def test_random_trials_do_not_depend_on_what_the_others_reached(tmp_path: Path) -> None:
    found = []
    for name, score in (("good", learning), ("bad", lambda alpha, epoch: -learning(alpha, epoch))):
        (tmp_path / name).mkdir()
        trials = opened(tmp_path / name, config("search.random_trials=6"))
        train(trials, score=score)
        found.append([str(trial.params) for trial in trials.all()])
    alike = [a == b for a, b in zip(*found, strict=True)]
    assert alike == [True] * 6 + [False] * 6


@pytest.mark.parametrize("reports", [0, 1, EPOCHS, EPOCHS + 4, 30])
def test_a_sweep_that_stopped_anywhere_goes_on_as_if_it_had_not(tmp_path: Path, reports: int) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = opened(tmp_path / "whole", config("search.early_stopping=false"))
    train(whole)
    train(opened(tmp_path / "parts", config("search.early_stopping=false")), reports)
    parts = opened(tmp_path / "parts", config("search.early_stopping=false"))
    train(parts)
    assert summary(parts) == summary(whole)
    assert opened(tmp_path / "parts", config()).left == 0


def test_a_trial_whose_parameters_were_half_drawn_is_drawn_to_the_end(tmp_path: Path) -> None:
    settings = config("search.trials=3")

    def killed(trial: optuna.Trial, config: RunConfig) -> dict[str, Any]:
        trial.suggest_float("loss.alpha", 0.0, 1.0)
        raise KeyboardInterrupt

    train(opened(tmp_path, config("search.trials=1")))
    study = open_study(f"sqlite:///{tmp_path}/study.db", "x", ("mAP",))
    trials = Trials(study, ChosenSpace(name="x", draw=killed), settings, first=FIRST, driver=KILLED)
    with pytest.raises(KeyboardInterrupt):
        trials.next()
    before = study.trials[1].params
    assert before.keys() == {"loss.alpha"}
    train(trials := opened(tmp_path, settings))
    assert [trial.state in ("finished", "stopped") for trial in trials.all()] == [True] * 3
    after = study.trials[1].params
    assert after["loss.alpha"] == before["loss.alpha"]
    assert "loss.mining" in after


def test_epochs_that_are_reported_again_count_once(tmp_path: Path) -> None:
    seen: list[Trial] = []
    trials = opened(tmp_path, config("search.trials=1"), seen.append)
    trial = trials.next()
    assert trial is not None
    trials.report(0, records(trial, range(1, 4)))
    again = opened(tmp_path, config("search.trials=1"), seen.append)
    same = again.next()
    assert same is not None
    assert (same.number, same.params) == (0, trial.params)
    again.report(0, records(same, range(1, 6)))
    again.report(0, records(same, range(1, EPOCHS + 1)))
    again.finish(0)
    assert [record.epoch for record in seen[-1].history] == list(range(1, EPOCHS + 1))
    assert [t.state for t in again.all()] == ["finished"]


@pytest.mark.slow
def test_halving_saves_half_of_the_epochs_and_loses_less_than_a_point(tmp_path: Path) -> None:
    best, epochs = {}, {}
    for early in ("true", "false"):
        (tmp_path / early).mkdir()
        trials = opened(tmp_path / early, config(f"search.early_stopping={early}", "search.trials=24"))
        train(trials)
        winner = trials.winner()
        assert winner is not None
        best[early], epochs[early] = winner.values["mAP"], sum(trial.epochs for trial in trials.all())
    assert epochs["false"] == 24 * EPOCHS
    assert epochs["true"] <= epochs["false"] / 2
    assert best["true"] >= best["false"] - 0.01


def test_trials_stop_at_the_epochs_that_grace_and_reduction_name(tmp_path: Path) -> None:
    trials = opened(tmp_path, config("search.grace=2", "search.reduction=2", "search.trials=20"))
    train(trials)
    stopped = [trial for trial in trials.all() if trial.state == "stopped"]
    assert {trial.epochs for trial in stopped} <= {2, 4, 8}
    assert stopped


def test_the_first_trial_is_never_stopped(tmp_path: Path) -> None:
    trials = opened(tmp_path, config("search.trials=3"))
    first, other = trials.next(), trials.next()
    assert first is not None
    assert other is not None
    trials.report(1, records(other, range(1, 4), lambda alpha, epoch: 0.9))
    for epoch in range(1, EPOCHS + 1):
        assert trials.report(0, records(first, range(epoch, epoch + 1), lambda alpha, epoch: 0.01))
    trials.finish(0)
    assert next(trials.all()).state == "finished"


@pytest.mark.parametrize(
    ("metrics", "failure"),
    [({}, "epoch 1 has no finite eval/mAP"), ({"eval/mAP": math.nan}, "epoch 1 has no finite eval/mAP")],
)
def test_an_objective_that_is_never_reported_fails_the_trial(
    tmp_path: Path, metrics: dict[str, float], failure: str
) -> None:
    trials = opened(tmp_path, config("search.trials=1"))
    assert trials.next() is not None
    assert not trials.report(0, [EpochRecord(epoch=1, time=0, metrics=metrics)])
    trials.finish(0)
    (trial,) = trials.all()
    assert (trial.state, trial.failure) == ("failed", failure)
    assert trials.winner() is None


def test_failed_trials_count_and_are_not_drawn_again(tmp_path: Path) -> None:
    seen: list[Trial] = []
    trials = opened(tmp_path, config("search.trials=5", "search.early_stopping=false"), seen.append)
    while (trial := trials.next()) is not None:
        trials.report(trial.number, records(trial, range(1, 3)))
        if trial.number % 2:
            trials.finish(trial.number, "out of memory")
        else:
            trials.report(trial.number, records(trial, range(3, EPOCHS + 1)))
            trials.finish(trial.number)
    assert [trial.state for trial in trials.all()] == ["finished", "failed", "finished", "failed", "finished"]
    assert {trial.failure for trial in seen if trial.state == "failed"} == {"out of memory"}
    assert opened(tmp_path, config("search.trials=5")).next() is None
    assert opened(tmp_path, config("search.trials=6")).left == 1


def test_a_trial_that_ends_too_soon_has_failed(tmp_path: Path) -> None:
    trials = opened(tmp_path, config("search.trials=1"))
    trial = trials.next()
    assert trial is not None
    trials.report(0, records(trial, range(1, 4)))
    trials.finish(0)
    assert next(trials.all()).failure == f"ended after 3 of {EPOCHS} epochs"


def test_the_end_is_told_before_the_study_knows(tmp_path: Path) -> None:
    """Whoever records must not miss a trial that the study has counted."""
    known: list[tuple[str, TrialState]] = []

    def observe(trial: Trial) -> None:
        study = optuna.load_study(study_name="x", storage=f"sqlite:///{tmp_path}/study.db")
        known.append((trial.state, study.trials[trial.number].state))

    train(opened(tmp_path, config("search.trials=2"), observe))
    ends = [stored for state, stored in known if state != "running"]
    assert ends == [TrialState.RUNNING, TrialState.RUNNING]


def test_several_objectives_are_weighed_and_nothing_is_stopped(tmp_path: Path) -> None:
    trials = opened(tmp_path, config("search.objectives=[mAP,descriptor_dim,images_per_second]"))
    train(trials)
    assert {trial.state for trial in trials.all()} == {"finished"}
    assert next(trials.all()).values == {
        "mAP": pytest.approx(learning(0.5, EPOCHS)),
        "descriptor_dim": 3 * 16 + 32,
        "images_per_second": 45.0,
    }
    winner = trials.winner()
    assert winner is not None
    assert winner.values["mAP"] == max(trial.values["mAP"] for trial in trials.all())


@pytest.mark.parametrize(
    "address",
    ["sqlite:////nowhere/at/all/study.db", "sqlite://", "nonsense", "mystery://host/db", "sqlite:///{folder}"],
)
def test_a_study_that_cannot_be_written_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"search\.study: .* cannot be opened and written \(.+\); give the SQLAlchemy"
    ):
        open_study(address.format(folder=tmp_path), "x", ("mAP",))


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database at all, but long enough to be taken for one by its size" * 40)
    with pytest.raises(ConfigError, match="not a database"):
        open_study(f"sqlite:///{tmp_path}/study.db", "x", ("mAP",))


def test_a_password_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        open_study("postgresql://me:s3cret@nowhere.invalid/db", "x", ("mAP",))
    assert "s3cret" not in str(caught.value)
    settings = config("search.study=postgresql://me:s3cret@nowhere.invalid/db")
    assert "s3cret" not in settings.model_dump_json()


def test_the_study_is_optunas_own(tmp_path: Path) -> None:
    """optuna-dashboard reads learning curves, states and parameters."""
    trials = opened(tmp_path, config("search.trials=2"))
    train(trials)
    study = optuna.load_study(study_name="x", storage=f"sqlite:///{tmp_path}/study.db")
    assert study.metric_names == ["mAP"]
    assert study.trials[0].params == FIRST
    assert list(study.trials[0].intermediate_values) == list(range(1, EPOCHS + 1))
    with sqlite3.connect(tmp_path / "study.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_layout_that_is_added_breaks_no_sweep_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna refuses a parameter whose choices change: the study keeps those that it began with."""
    settings = load_config(preset="smoke", overrides=["search.trials=4", f"phases.final.epochs={EPOCHS}"])

    def begun(address: str) -> Trials:
        study = open_study(address, "x", ("mAP",))
        own = with_layouts_of(study, settings)
        first = {name: value for name, value in start_values(own).items() if name.startswith("layout")}
        return Trials(study, ChosenSpace(name="x", draw=branch_layout), own, first=first, driver=KILLED)

    address = f"sqlite:///{tmp_path}/study.db"
    trials = begun(address)
    for _ in range(2):
        trial = trials.next()
        assert trial is not None
        trials.finish(trial.number, "the power went")
    monkeypatch.setitem(LAYOUTS, "halves", LAYOUTS["three_parts"])
    trials = begun(address)
    while (trial := trials.next()) is not None:
        trials.finish(trial.number, "the power went")
    stored = list(open_study(address, "x", ("mAP",)).trials)
    assert [trial.number for trial in stored] == [0, 1, 2, 3]
    assert {"halves" in trial.distributions["layout"].choices for trial in stored} == {False}
    fresh = begun(f"sqlite:///{tmp_path}/fresh.db").next()
    assert fresh is not None
    assert (
        "halves"
        in with_layouts_of(open_study(f"sqlite:///{tmp_path}/fresh.db", "x", ("mAP",)), settings).search.layouts
    )


def test_a_study_that_noted_no_layouts_keeps_those_of_its_trials(tmp_path: Path) -> None:
    study = open_study(f"sqlite:///{tmp_path}/study.db", "x", ("mAP",))
    study.ask().suggest_categorical("layout", ("three_parts", "six_parts"))
    settings = load_config(preset="smoke")
    assert with_layouts_of(study, settings).search.layouts == ("three_parts", "six_parts")
    other = open_study(f"sqlite:///{tmp_path}/other.db", "x", ("mAP",))
    other.ask().suggest_categorical("layout", ("wide", "narrow"))  # in a space of the user's own
    assert with_layouts_of(other, settings).search.layouts == tuple(LAYOUTS)
