"""How often a run is restarted, and how long it waits: by the states that Ray Train's controller goes through."""

import itertools
from collections.abc import Iterator

import pytest
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError
from ray.train.v2._internal.execution.controller.state import InitializingState, SchedulingState
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision
from ray.train.v2.api.exceptions import WorkerGroupError

from reid.cluster import restarts
from reid.cluster.ray_internals import (
    ControllerError,
    ReschedulingState,
    RestartingState,
    RunningState,
    TrainControllerState,
    WorkerGroupStartupTimeoutError,
)
from reid.config import ScalingConfig
from reid.progress import Silence, listening

LOST = RestartingState(WorkerGroupError("the node went", {0: RuntimeError()}))
LOST_BEFORE_IT_BEGAN = ReschedulingState(ControllerError(WorkerGroupStartupFailedError("it went early")))
NOT_PLACED = ReschedulingState(ControllerError(WorkerGroupStartupTimeoutError(2)))
SCHEDULING = SchedulingState(ResizeDecision(num_workers=2, resources_per_worker={"CPU": 1}))
RUNNING = RunningState()


class Lines(Silence):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time, which passes where somebody sleeps or we say so."""
    now = [1000.0]
    monkeypatch.setattr(restarts.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(restarts.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def go_through(run: restarts.Restarts, *states: TrainControllerState) -> None:
    for previous, current in itertools.pairwise(states):
        run.after_controller_state_update(previous, current)


def started(**scaling: object) -> restarts.Restarts:
    run = restarts.Restarts(lambda: (0, "final"), ScalingConfig.model_validate({"num_workers": 2, **scaling}))
    run.after_controller_start(None)
    go_through(run, InitializingState(), SCHEDULING, RUNNING)
    return run


@pytest.mark.parametrize("kind", [LOST, LOST_BEFORE_IT_BEGAN])
def test_every_lost_worker_counts_whenever_it_is_lost(now: list[float], kind: TrainControllerState) -> None:
    run, lines = started(max_failures=2), Lines()
    with listening(lines):
        go_through(run, RUNNING, kind, SCHEDULING, LOST_BEFORE_IT_BEGAN, SCHEDULING, RUNNING)
        with pytest.raises(RuntimeError, match=r"scaling\.max_failures = 2, the last after this: (?s:.*)went"):
            go_through(run, RUNNING, kind)
    assert lines.said == [f"final: a worker was lost, restart {n} of 2 at most" for n in (1, 2)]


def test_every_work_has_its_own_restarts(now: list[float]) -> None:
    current, lines = [0, "baseline"], Lines()
    run = restarts.Restarts(lambda: (int(current[0]), str(current[1])), ScalingConfig(num_workers=2, max_failures=1))
    with listening(lines):
        go_through(run, RUNNING, LOST, SCHEDULING, RUNNING)
        current[:] = 1, "final"
        go_through(run, RUNNING, LOST, SCHEDULING, RUNNING)
        with pytest.raises(RuntimeError, match=r"more restarts than scaling\.max_failures = 1"):
            go_through(run, RUNNING, LOST)
    assert lines.said == [f"{phase}: a worker was lost, restart 1 of 1 at most" for phase in ("baseline", "final")]


def test_waiting_for_nodes_is_no_failure_and_ends_after_the_start_timeout(now: list[float]) -> None:
    run = started(max_failures=1, start_timeout=60)
    now[0] += 3600
    go_through(run, RUNNING, RUNNING, LOST, SCHEDULING)
    for _ in range(2):
        now[0] += 29
        go_through(run, SCHEDULING, NOT_PLACED, SCHEDULING)
    go_through(run, SCHEDULING, RUNNING)
    now[0] += 61
    with pytest.raises(RuntimeError, match=r"scaling\.num_workers: 2 could not be placed within 60 s.*start_timeout"):
        go_through(run, SCHEDULING, NOT_PLACED)


def test_an_elastic_run_with_too_few_nodes_ends_too(now: list[float]) -> None:
    run = started(num_workers=[1, 2], start_timeout=60)
    went = now[0]
    with pytest.raises(RuntimeError, match=r"scaling\.num_workers: 1 could not be placed within 60 s"):
        go_through(run, RUNNING, *itertools.repeat(LOST, 1000))
    assert now[0] - went == pytest.approx(60, abs=restarts.PAUSE_S)
