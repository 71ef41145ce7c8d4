"""How long a run waits for workers, and how often it is restarted."""

import time
from collections import Counter
from collections.abc import Callable

from reid.cluster.ray_internals import (
    ControllerCallback,
    ControllerError,
    ReschedulingState,
    RestartingState,
    RunningState,
    TrainControllerState,
    WorkerGroupStartupTimeoutError,
)
from reid.cluster.relay import relaying
from reid.config import ScalingConfig
from reid.progress import say

PAUSE_S = 0.5
"""Between looks for nodes of an elastic run that has too few; Ray looks without a pause."""


class Restarts(ControllerCallback):
    """Holds a run to `scaling.start_timeout` and `scaling.max_failures`, in Ray Train's controller.

    Ray counts a worker that is lost before it could begin as a failure of its own, together with every wait for nodes,
    and has an elastic run that finds too few nodes wait for ever.

    Args:
        current: number and title of the work that is under way or comes; each has its restarts.
    """

    def __init__(self, current: Callable[[], tuple[int, str]], scaling: ScalingConfig) -> None:
        self._current = current
        self._scaling = scaling
        self._failures: Counter[int] = Counter()
        self._had_workers = 0.0
        """When it had them last, or was to get some."""

    def after_controller_start(self, train_run_context: object) -> None:
        self._had_workers = time.monotonic()

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        """
        Raises:
            RuntimeError: it has waited for too long, or was restarted too often.
        """
        if isinstance(current_state, RunningState):
            self._had_workers = time.monotonic()
        elif current_state is previous_state:
            time.sleep(PAUSE_S)
            self._require_patience()
        elif isinstance(current_state, RestartingState | ReschedulingState):
            self._look_at(current_state.training_failed_error)

    def _look_at(self, error: Exception) -> None:
        cause = error.controller_failure if isinstance(error, ControllerError) else error
        if isinstance(cause, WorkerGroupStartupTimeoutError):
            self._require_patience()
            return
        self._had_workers = time.monotonic()
        number, what = self._current()
        self._failures[number] += 1
        most = self._scaling.max_failures
        if self._failures[number] > most:
            raise RuntimeError(f"more restarts than scaling.max_failures = {most}, the last after this: {cause}")
        with relaying():
            say(f"{what}: a worker was lost, restart {self._failures[number]} of {most} at most")

    def _require_patience(self) -> None:
        workers, seconds = self._scaling.min_workers, self._scaling.start_timeout
        if time.monotonic() - self._had_workers >= seconds:
            raise RuntimeError(
                f"scaling.num_workers: {workers} could not be placed within {seconds:g} s; add nodes (then raise "
                "scaling.start_timeout) and give the same command again: it goes on from its last checkpoint"
            )
