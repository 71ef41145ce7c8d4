"""Which driver has which trial of a study that several drivers work on."""

import logging
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from reid.search.optuna_internals import HEARTBEAT_S, LEASE_S, beat, stale_trials
from reid.storage import Holder, LeaseLostError, clock

logger = logging.getLogger(__name__)

DRIVER = "driver"
"""Attribute of a trial: who has it; none or null = nobody."""


class Holding:
    """The trials that a driver has, which hold as long as its heart beats: in a thread, while its context lasts.

    What it still has as the context ends is anybody's.
    """

    def __init__(self, study: optuna.Study, driver: Holder) -> None:
        self._study, self._driver = study, driver
        self._trials: dict[int, optuna.Trial] = {}
        """By number."""
        self._beaten = clock()
        self._lost: LeaseLostError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_again_and_again, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._beaten = clock()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._lost is None:
            for trial in self._trials.values():
                with suppress(UpdateFinishedTrialError):  # the process was interrupted before it was dropped
                    trial.set_user_attr(DRIVER, None)
            self._trials.clear()

    def take(self, trial: optuna.Trial) -> None:
        """Of a trial that is anybody's; for one driver at a time."""
        trial.set_user_attr(DRIVER, self._driver.to_json() | {"since": time.strftime("%Y-%m-%d %H:%M:%S %z")})
        beat(trial)
        self._trials[trial.number] = trial

    def drop(self, number: int) -> None:
        """Of a trial that is over."""
        del self._trials[number]

    def anybodys(self, running: list[FrozenTrial]) -> list[FrozenTrial]:
        """Trials that no living driver has: what one that was killed, or stands still for long, has left behind."""
        others = [trial for trial in running if trial.number not in self._trials]
        stale = stale_trials(self._study) if others else set[int]()
        return [t for t in others if t.number in stale or (driver := _driver_of(t)) is None or driver.has_died]

    def require(self) -> None:
        """
        Raises:
            LeaseLostError: the heart has not beaten for so long that others may have the trials.
        """
        idle = clock() - self._beaten
        if self._lost is None and idle > LEASE_S:
            self._lost = LeaseLostError(
                f"the trials {', '.join(map(str, self._trials))} of {self._study.study_name} are no longer this "
                f"process's, which did not show for {idle:.0f} s that it goes on: {self._successors()}"
            )
        if self._lost is not None:
            raise self._lost

    def _beat_again_and_again(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            try:
                self.require()
                began = clock()
                for trial in list(self._trials.values()):
                    beat(trial)
                self._beaten = began
            except LeaseLostError as error:
                logger.error("%s", error)
                return
            except (OptunaError, SQLAlchemyError) as error:
                logger.warning("the study did not take that the trials go on: %s", error)

    def _successors(self) -> str:
        """Who has the trials by now, for messages."""
        has = []
        for trial in self._study.get_trials(deepcopy=False):
            driver = _driver_of(trial)
            if trial.number in self._trials and driver not in (None, self._driver):
                has.append(f"{driver} has had {trial.number} since {trial.user_attrs[DRIVER]['since']}")
        return "; ".join(has) or "nobody has them now, so the same command goes on"


def _driver_of(trial: FrozenTrial) -> Holder | None:
    said: dict[str, Any] | None = trial.user_attrs.get(DRIVER)
    return None if said is None else Holder.from_json(said)
