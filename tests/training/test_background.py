from concurrent.futures import Future
from dataclasses import dataclass

import pytest

from reid.training.background import Outcome, run_in_order
from reid.training.runner import Stopped


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


def done(outcome: Outcome = "/checkpoint") -> "Future[Outcome]":
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_every_step_once_and_after_what_it_builds_on(at_once: int) -> None:
    finished: dict[str, str] = {}
    started: list[str] = []

    def start(step: Step) -> "Future[Outcome]":
        assert finished.keys() >= set(step.after)
        started.append(step.name)
        return done()

    for step, outcome in run_in_order(STEPS, finished, start, at_once=at_once):
        assert outcome == "/checkpoint"
        finished[step.name] = outcome
    assert sorted(started) == sorted(finished) == sorted(step.name for step in STEPS)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_as_many_at_once_as_told(at_once: int) -> None:
    finished: dict[str, str] = {}
    under_way: dict[str, Future[Outcome]] = {}
    counts: list[int] = []

    def start(step: Step) -> "Future[Outcome]":
        under_way[step.name] = Future()
        counts.append(len(under_way))
        if len(under_way) == at_once:
            for future in under_way.values():
                future.set_result("/checkpoint")
            under_way.clear()
        return done() if step.name not in under_way else under_way[step.name]

    steps = [Step(f"step{number}") for number in range(2 * 3 * at_once)]
    for step, outcome in run_in_order(steps, finished, start, at_once=at_once):
        finished[step.name] = str(outcome)
    assert len(finished) == len(steps)
    assert max(counts) == at_once


def test_finished_steps_are_not_started_again() -> None:
    finished = {"pose": "/pose", "baseline": "/baseline"}
    started: list[str] = []

    def start(step: Step) -> "Future[Outcome]":
        started.append(step.name)
        return done()

    for step, outcome in run_in_order(STEPS, finished, start, at_once=1):
        finished[step.name] = str(outcome)
    assert started == ["final", "other", "last"]


def test_what_builds_on_a_stopped_step_is_left_out_and_the_rest_is_not() -> None:
    finished: dict[str, str] = {}
    outcomes = {}
    for step, outcome in run_in_order(
        STEPS, finished, lambda step: done(Stopped(reason="diverged") if step.name == "baseline" else "/at"), at_once=2
    ):
        outcomes[step.name] = outcome
        if isinstance(outcome, str):
            finished[step.name] = outcome
    assert outcomes == {"pose": "/at", "baseline": Stopped(reason="diverged"), "other": "/at"}


def test_an_exception_in_a_step_is_raised_here() -> None:
    future: Future[Outcome] = Future()
    future.set_exception(RuntimeError("the node is gone"))
    with pytest.raises(RuntimeError, match="the node is gone"):
        list(run_in_order([Step("pose")], {}, lambda step: future, at_once=1))
