"""The trials of a sweep on a Ray cluster: Optuna's study says what, Ray Tune says where."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.util.state import list_actors
from ray.util.state.exception import RayStateApiException

from reid.cluster import NoRoomError, records_of, worker_resources
from reid.config import ScalingConfig, environment
from reid.search.study import Trials
from reid.storage import LeaseLostError, temporary_folder

DRIVER_MEMORY = 256 * 2**20
"""What the driver of a trial of several workers asks for. Asking for a CPU, it could keep its own workers from
starting; asking for nothing, Tune would give it one."""

FINISHED = cast("dict[str, Any]", Searcher.FINISHED)
"""A word, where Ray's own annotation of `suggest` has room for settings alone."""

LATER = None
"""Tune asks again."""

TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # which does not hear of `verbose` = 0
    "TUNE_MAX_PENDING_TRIALS_PG": str(sys.maxsize),  # how many there are is for `at_once` to say
}
"""Settings of Tune that only its environment has."""

Trainable = Callable[[dict[str, Any]], None]


def run_trials(
    trials: Trials,
    trainable: Trainable,
    *,
    scaling: ScalingConfig,
    at_once: Callable[[], int],
    discard: Callable[[], None] = lambda: None,
) -> None:
    """Run every trial that can be handed out.

    A process runs one trial after another, so that Python and torch start once. Where a trial's process dies it is
    started anew, up to `scaling.max_failures` times, and may go on from its own checkpoints.

    Nothing of Tune's own state is kept: what must survive is in the study. Tune ends as if all were well when it is
    interrupted (Ctrl-C); we do not.

    Args:
        trainable: given `number` and `settings` (JSON), it reports `records` (`as_result`), or `failure`, or `error`
            before it raises, or `no_room`.
        scaling: with `num_workers` = 0, of a trial that trains in its own process; else of the Ray Train run that it
            starts.
        at_once: trials under way at a time, as the cluster is at that moment.
        discard: called whenever the study knows of one more trial that it is over.

    Raises:
        NoRoomError: a trial met a full disk; it is not over.
        LeaseLostError: this process stood still, and the trials may be other drivers'.
    """
    alone = scaling.num_workers == 0
    resources: dict[str, float] = worker_resources(scaling) if alone else {"memory": DRIVER_MEMORY}
    verdicts = _Verdicts(trials)
    with environment(TUNE), temporary_folder("tune") as scratch:
        tune.Tuner(
            tune.with_resources(trainable, tune.PlacementGroupFactory([resources])),
            tune_config=tune.TuneConfig(
                search_alg=_Suggestions(trials, verdicts, at_once, discard),
                scheduler=verdicts,
                num_samples=-1,
                reuse_actors=alone,
            ),
            run_config=_run_config(scaling, scratch),
        ).fit()
    if verdicts.lost is not None:
        raise verdicts.lost
    if verdicts.no_room is not None:
        raise NoRoomError(verdicts.no_room)
    if trials.under_way:
        raise KeyboardInterrupt


def _run_config(scaling: ScalingConfig, scratch: Path) -> tune.RunConfig:
    return tune.RunConfig(
        name="trials",
        storage_path=str(scratch),
        failure_config=tune.FailureConfig(max_failures=scaling.max_failures),
        verbose=0,
    )


def require_dashboard() -> None:
    """Ray frees the workers of a trial that is stopped early by its dashboard's knowledge of processes.

    Raises:
        ValueError: the cluster runs without.
    """
    try:
        list_actors(limit=1, timeout=30)
    except RayStateApiException as error:
        raise ValueError(
            "search.workers: trials of several workers need the cluster's dashboard, without which those of a stopped "
            f"trial are never freed ({error}); start the cluster with it, or set search.workers to 1"
        ) from error


class _OfTheStudy:
    """What Tune is given of a study; Tune writes it down for itself, and need not."""

    def __init__(self, trials: Trials) -> None:
        super().__init__()
        self._trials = trials

    def __getstate__(self) -> dict[str, object]:
        return {}


class _Verdicts(_OfTheStudy, FIFOScheduler):
    """Tells the study of every report, and Tune to stop the trials that the study prunes."""

    def __init__(self, trials: Trials) -> None:
        super().__init__(trials)
        self.errors: dict[str, str] = {}
        """The last error of a trial's process, by Tune's name of the trial."""
        self.no_room: str | None = None
        """Of the disk that a trial found full: none is begun any more."""
        self.lost: LeaseLostError | None = None
        """Why all trials are stopped, and none is told of any more."""

    @contextmanager
    def noticing_loss(self) -> Iterator[None]:
        """Tune would take it for an error of the trial."""
        try:
            yield
        except LeaseLostError as error:
            self.lost = error

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        if "failure" in result:
            return str(TrialScheduler.STOP)
        if "no_room" in result:
            self.no_room = result["no_room"]
            return str(TrialScheduler.STOP)
        if "error" in result:
            self.errors[trial.trial_id] = result["error"]
            return str(TrialScheduler.CONTINUE)
        goes_on = False
        with self.noticing_loss():
            goes_on = self._trials.report(trial.config["number"], records_of(result))
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        lines = str(trial.get_error() or "its process died").strip().splitlines()
        self.errors.setdefault(trial.trial_id, lines[-1])


class _Suggestions(_OfTheStudy, Searcher):
    """Takes trials from the study to Tune, and tells the study of their ends."""

    def __init__(
        self, trials: Trials, verdicts: _Verdicts, at_once: Callable[[], int], discard: Callable[[], None]
    ) -> None:
        super().__init__(trials)
        self._verdicts, self._at_once, self._discard = verdicts, at_once, discard
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._verdicts.no_room is not None or self._verdicts.lost is not None:
            return FINISHED
        if self._trials.under_way >= self._at_once():
            return LATER
        trial = None
        with self._verdicts.noticing_loss():
            trial = self._trials.next()
        if trial is None:
            return FINISHED
        self._numbers[trial_id] = trial.number
        return {"number": trial.number, "settings": json.dumps(trial.settings)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self._numbers.pop(trial_id)
        if "no_room" in (result or {}):
            return
        with self._verdicts.noticing_loss():
            said = self._verdicts.errors.pop(trial_id, None)
            self._trials.finish(number, said if error else (result or {}).get("failure"))
            self._discard()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """The scheduler has told the study."""

    def save(self, checkpoint_path: str) -> None:
        """The study is kept by itself."""
