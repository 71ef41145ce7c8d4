"""Several drivers of one study: every trial once, and those of a driver that is gone, or stands still, go on."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy

from reid.config import RunConfig, load_config
from reid.search import Trial, Trials, database, holding, open_study, optuna_internals
from reid.search.chosen import ChosenSpace
from reid.storage import Holder, LeaseLostError
from reid.training import EpochRecord

pytestmark = pytest.mark.cluster
TRIALS = 24
FIRST = {"loss.alpha": 0.5}
HERE = Holder.here("sweep")
ELSEWHERE = replace(HERE, machine="another", host="far")


def space(trial: optuna.Trial, config: RunConfig) -> dict[str, Any]:
    return {"loss.alpha": trial.suggest_float("loss.alpha", 0.0, 1.0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/study.db"
        return
    server: sqlalchemy.URL = request.getfixturevalue("postgres").set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE drivers"))
    try:
        yield server.set(database="drivers").render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("DROP DATABASE drivers WITH (FORCE)"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that has stood still for a second stops, and after two its trials are anybody's."""
    for module in (optuna_internals, holding, database):
        for name, value in (("HEARTBEAT_S", 1), ("LEASE_S", 1.5), ("STALE_S", 2)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)


def opened(
    address: str, driver: Holder = HERE, trials: int = TRIALS, observe: Callable[[Trial], None] = lambda _: None
) -> Trials:
    config = load_config(preset="smoke", overrides=[f"search.trials={trials}", "phases.final.epochs=1"])
    study = open_study(address, "x", config.search.objectives)
    return Trials(study, ChosenSpace(name="x", draw=space), config, first=FIRST, driver=driver, observe=observe)


def train(trials: Trials, trial: Trial) -> None:
    trials.report(trial.number, [EpochRecord(epoch=1, time=1.0, metrics={"eval/mAP": 0.5})])
    trials.finish(trial.number)


def test_drivers_that_start_at_once_share_the_trials(
    address: str, in_processes: Callable[..., list[int]], tmp_path: Path
) -> None:
    def drive(number: int) -> None:
        trials = opened(address, Holder.here("sweep"))
        mine = []
        with trials.holding:
            while (trial := trials.next()) is not None:
                mine.append(trial.number)
                time.sleep(0.1)  # long enough for the others to begin
                train(trials, trial)
        (tmp_path / f"{number}.json").write_text(json.dumps(mine))
        os._exit(0)  # the test's own clean-up is the parent's

    assert in_processes(3, drive) == [0, 0, 0]
    shares = [json.loads(file.read_text()) for file in tmp_path.glob("?.json")]
    assert sorted(number for share in shares for number in share) == list(range(TRIALS))
    assert min(map(len, shares)) >= 2
    stored = open_study(address, "x", ("mAP",)).trials
    assert [trial.number for trial in stored] == list(range(TRIALS))
    assert all(trial.state.is_finished() for trial in stored)
    assert sum(trial.params == FIRST for trial in stored) == 1


def test_a_running_trial_of_another_driver_is_left_alone(address: str) -> None:
    one, other = opened(address, trials=3), opened(address, ELSEWHERE, trials=3)
    with one.holding, other.holding:
        handed = [one.next(), other.next(), other.next()]
        assert [trial and trial.number for trial in handed] == [0, 1, 2]
        assert one.next() is None
        assert other.next() is None
        assert (one.left, one.under_way, one.elsewhere) == (0, 1, 2)
    assert one.left == 3, "they have ended, so nobody has them"


def test_a_trial_is_anybodys_once_its_driver_has_died(address: str) -> None:
    killed = opened(address, replace(HERE, started="long ago"), trials=1)  # whose context never ends
    assert killed.next() is not None
    other = opened(address, ELSEWHERE, trials=1)
    with other.holding:
        trial = other.next()
        assert trial is not None
        assert trial.params == FIRST
        train(other, trial)
    assert other.left == 0


def test_a_driver_that_stood_still_tells_nothing_more(
    address: str, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, read = tmp_path / "told", os.fork()
    if read == 0:
        status = 1
        try:
            trials = opened(address, Holder.here("sweep"), trials=1)
            with trials.holding:
                trial = trials.next()
                assert trial is not None
                (tmp_path / "begun").touch()
                while True:
                    time.sleep(0.02)
                    trials.holding.require()
                    if (tmp_path / "finish").exists():
                        train(trials, trial)
        except LeaseLostError as error:
            told.write_text(str(error))
            status = 0
        finally:
            os._exit(status)
    try:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        elsewhere = opened(address, ELSEWHERE, trials=1)
        time.sleep(3)
        assert elsewhere.left == 0, "its heart beats"
        os.kill(read, signal.SIGSTOP)
        deadline = time.monotonic() + 20
        with elsewhere.holding:
            while (trial := elsewhere.next()) is None:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            (tmp_path / "finish").touch()
            os.kill(read, signal.SIGCONT)
            assert os.waitpid(read, 0)[1] == 0
            said = told.read_text()
            assert said.startswith("the trials 0 of x are no longer this process's, which did not show for ")
            assert f": sweep on far, process {os.getpid()} has had 0 since 20" in said
            train(elsewhere, trial)
    finally:
        os.kill(read, signal.SIGKILL) if not told.exists() else None
    (stored,) = open_study(address, "x", ("mAP",)).trials
    assert stored.state.name == "COMPLETE"
    assert stored.user_attrs["driver"]["host"] == "far"


def test_the_lock_of_a_database_is_free_once_its_driver_has_died(
    address: str, in_processes: Callable[..., list[int]]
) -> None:
    study = open_study(address, "x", ("mAP",))
    study.set_user_attr("known", True)

    def die_within(number: int) -> None:
        with optuna_internals.one_at_a_time(open_study(address, "x", ("mAP",))):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_processes(1, die_within) == [-signal.SIGKILL]
    with optuna_internals.one_at_a_time(study):
        pass


def test_the_first_trial_is_waiting_once(address: str) -> None:
    for driver in (HERE, ELSEWHERE):
        opened(address, driver)
    assert len(open_study(address, "x", ("mAP",)).trials) == 1
