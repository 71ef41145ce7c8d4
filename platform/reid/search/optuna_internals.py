"""What Optuna keeps to itself and we need nevertheless, each with its reason: to be looked at when it is renewed."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalChoiceType
from optuna.trial import FixedTrial, FrozenTrial
from sqlalchemy import text

from reid.config import ConfigError

HEARTBEAT_S = 10
LEASE_S = 60
"""A driver whose heart has not beaten for so long stops by itself."""
STALE_S = 75
"""Its trials are anybody's then."""


class StartTrial(FixedTrial):
    """Answers with given values, and says which one is missing in our own words.

    Every public `suggest_…` goes through `_suggest`, and `FixedTrial`'s own error names no remedy.
    """

    def _suggest(self, name: str, distribution: BaseDistribution) -> CategoricalChoiceType:
        if name not in self._params:
            raise ConfigError(
                f"search.space: parameter '{name}' has no value for the first trial: name it by the dotted path of "
                f"its setting, or give PAPER = {{'{name}': …}} in the space's file"
            )
        value: CategoricalChoiceType = super()._suggest(name, distribution)
        return value


def take_up(study: optuna.Study, interrupted: FrozenTrial) -> optuna.Trial:
    """A trial that is under way in the storage, to be gone on with in this process.

    Optuna hands out new trials alone: a trial that a killed process left behind has no public way back.
    """
    return optuna.Trial(study, interrupted._trial_id)


def beat(trial: optuna.Trial) -> None:
    """Note that a trial goes on, by the clock of the database.

    Optuna does so in `Study.optimize` alone.
    """
    trial.storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]


def stale_trials(study: optuna.Study) -> set[int]:
    """Numbers of the trials that were under way, and have not been noted to go on for `STALE_S` seconds.

    What Optuna offers, `fail_stale_trials`, ends them, and would go on with them as new ones under other numbers.
    """
    ids = study._storage._get_stale_trial_ids(study._study_id)  # type: ignore[attr-defined]
    return {study._storage.get_trial_number_from_id(trial_id) for trial_id in ids}


@contextmanager
def one_at_a_time(study: optuna.Study) -> Iterator[None]:
    """Within the block, this driver of the study alone; the database frees the lock when its process ends.

    Optuna offers no such thing. The row that is locked is one that nobody ever changes, so nothing else waits for it.
    """
    engine = study._storage._backend.engine  # type: ignore[attr-defined]
    if engine.dialect.name == "sqlite":
        with FileLock(f"{engine.url.database}.lock"):
            yield
        return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # or a process that stands still would keep all others from going on
            connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{LEASE_S}s'"))
        row = text("SELECT study_direction_id FROM study_directions WHERE study_id = :study FOR UPDATE")
        connection.execute(row, {"study": study._study_id})
        yield


def ask(study: optuna.Study) -> optuna.Trial:
    """`Study.ask`, which warns where heartbeats are kept that it leaves to its caller."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Heartbeat of storage")
        return study.ask()
