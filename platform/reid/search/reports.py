"""What a sweep tells of its trials: a child run each in MLflow, and a row in the terminal."""

import dataclasses
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from reid.search.study import Trial
from reid.search.view import LiveView, State, TrialRow
from reid.storage import LeaseLostError
from reid.tracking import Measurement, RunRecord, Status

STATUS: dict[State, Status] = {
    "waiting": "RUNNING",
    "running": "RUNNING",
    "finished": "FINISHED",
    "stopped": "FINISHED",
    "failed": "FAILED",
}
"""MLflow's status; a trial that was stopped early has done what it was for."""


class TrialReports:
    """Observer of a sweep's trials; what is under way when its context ends was interrupted, and is recorded as failed.

    Args:
        parent: the sweep's own record.
        put: takes the record of a trial.
        view: shows all trials.
        epochs: of a full trial.
    """

    def __init__(self, parent: RunRecord, put: Callable[[RunRecord], None], view: LiveView, *, epochs: int) -> None:
        self._parent, self._put, self._view, self._epochs = parent, put, view, epochs
        self._rows: dict[int, TrialRow] = {}
        self._under_way: dict[int, RunRecord] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, LeaseLostError):  # another driver's by now
            for record in self._under_way.values():
                self._put(dataclasses.replace(record, status="FAILED"))

    def show(self, trials: Iterable[Trial]) -> None:
        """Show trials without recording them: they were recorded before, or are another driver's."""
        for trial in trials:
            self._rows[trial.number] = TrialRow(
                number=trial.number,
                state=trial.state,
                epoch=trial.epochs,
                epochs=self._epochs,
                values=trial.values,
                params=trial.params,
                paper=trial.number == 0,
                ended=trial.ended,
            )
        self._view.update(self._rows.values())

    def __call__(self, trial: Trial) -> None:
        record = trial_record(self._parent, trial)
        self._put(record)
        if trial.state == "running":
            self._under_way[trial.number] = record
        else:
            self._under_way.pop(trial.number, None)
        self.show([trial])


def trial_key(parent: RunRecord, number: int) -> str:
    """Key of a trial's run."""
    return f"{parent.key}.trial-{number:05d}"


def trial_record(parent: RunRecord, trial: Trial) -> RunRecord:
    """A trial as a child run of its sweep."""
    measurements = [Measurement(step=r.epoch, time=r.time, metrics=r.metrics) for r in trial.history]
    if trial.ended is not None and trial.values:
        objectives = {f"objective/{name}": value for name, value in trial.values.items()}
        measurements.append(Measurement(step=trial.epochs, time=trial.ended, metrics=objectives))
    return RunRecord(
        key=trial_key(parent, trial.number),
        name=f"trial {trial.number}",
        status=STATUS[trial.state],
        parent=parent.key,
        tags={"reid.trial": str(trial.number), "reid.state": trial.state, "reid.model": parent.tags["reid.model"]}
        | ({"reid.failure": trial.failure} if trial.failure else {}),
        params={name: str(value) for name, value in trial.params.items()},
        measurements=tuple(measurements),
    )
