from concurrent.futures import Future
from dataclasses import dataclass

import pytest

from reid.cluster import Started, Stopped, run_in_order
from reid.storage import Place


@dataclass(frozen=True)
class Step:
    name: str
    after: tuple[str, ...] = ()


STEPS = (
    Step("pose"),
    Step("baseline"),
    Step("final", ("pose", "baseline")),
    Step("other", ("pose",)),
    Step("last", ("pose", "baseline", "final")),
)


def done(ended: Place | Stopped = Place("/checkpoint")) -> Started:  # noqa: B008 - text
    future: Future[Place | Stopped] = Future()
    future.set_result(ended)
    return Started(future=future)


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_every_step_once_and_after_what_it_builds_on(at_once: int) -> None:
    finished: dict[str, str] = {}
    started: list[str] = []

    def start(step: Step) -> Started:
        assert finished.keys() >= set(step.after)
        started.append(step.name)
        return done()

    for step, outcome in run_in_order(STEPS, finished, start, at_once=lambda: at_once):
        assert outcome == "/checkpoint"
        finished[step.name] = outcome
    assert sorted(started) == sorted(finished) == sorted(step.name for step in STEPS)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_as_many_at_once_as_told(at_once: int) -> None:
    finished: dict[str, str] = {}
    under_way: dict[str, Future[Place | Stopped]] = {}
    counts: list[int] = []

    def start(step: Step) -> Started:
        under_way[step.name] = Future()
        counts.append(len(under_way))
        if len(under_way) == at_once:
            for future in under_way.values():
                future.set_result(Place("/checkpoint"))
            under_way.clear()
        return done() if step.name not in under_way else Started(future=under_way[step.name])

    steps = [Step(f"step{number}") for number in range(2 * 3 * at_once)]
    for step, outcome in run_in_order(steps, finished, start, at_once=lambda: at_once):
        finished[step.name] = str(outcome)
    assert len(finished) == len(steps)
    assert max(counts) == at_once


def test_finished_steps_are_not_started_again() -> None:
    finished = {"pose": "/pose", "baseline": "/baseline"}
    started: list[str] = []

    def start(step: Step) -> Started:
        started.append(step.name)
        return done()

    for step, outcome in run_in_order(STEPS, finished, start, at_once=lambda: 1):
        finished[step.name] = str(outcome)
    assert started == ["final", "other", "last"]


def test_what_builds_on_a_stopped_step_is_left_out_and_the_rest_is_not() -> None:
    finished: dict[str, str] = {}
    outcomes = {}

    def start(step: Step) -> Started:
        return done(Stopped(reason="diverged") if step.name == "baseline" else Place("/at"))

    for step, outcome in run_in_order(STEPS, finished, start, at_once=lambda: 2):
        outcomes[step.name] = outcome
        if isinstance(outcome, str):
            finished[step.name] = outcome
    assert outcomes == {"pose": "/at", "baseline": Stopped(reason="diverged"), "other": "/at"}


def test_an_exception_in_a_step_is_raised_here() -> None:
    future: Future[Place | Stopped] = Future()
    future.set_exception(RuntimeError("the node is gone"))
    with pytest.raises(RuntimeError, match="the node is gone"):
        list(run_in_order([Step("pose")], {}, lambda step: Started(future=future), at_once=lambda: 1))


def test_what_is_under_way_is_stopped_where_the_caller_ends() -> None:
    stopped: list[str] = []

    class Waiting(Started):
        def stop(self) -> None:
            stopped.append("baseline")

    def start(step: Step) -> Started:
        return done() if step.name == "pose" else Waiting(future=Future())

    steps = run_in_order(STEPS[:2], {}, start, at_once=lambda: 2)
    next(steps)
    steps.close()
    assert stopped == ["baseline"]
