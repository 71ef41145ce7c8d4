"""The workers of one run do one work after another, whoever of them is lost meanwhile."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from reid.cluster import workers

JOB = """
import json, os, signal, sys, time
from functools import partial
from pathlib import Path
import psutil
import ray.train
from reid.cluster import NoRoomError, PhaseFailedError, Workers, connect
from reid.config import ScalingConfig
from reid.progress import Silence, listening
from reid.storage import Place

class Ears(Silence):
    said = []
    def say(self, line): self.said.append(line)

def work(number, tell):
    rank = ray.train.get_context().get_world_rank()
    tell(f"{number} by {rank}")
    return number, rank, os.getpid()

def die(mark, times, tell):
    rank = ray.train.get_context().get_world_rank()
    died = len(list(mark.parent.glob(f"{mark.name}-*")))
    if rank == 1 and died < times:
        Path(f"{mark}-{died}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    ray.train.collective.barrier()
    return os.getpid()

def drive(folder):
    with Workers(ScalingConfig(num_workers=2), Place(folder / "in a task")) as workers:
        return workers.do(partial(work, 2), what="work")

def wait(tell):
    tell("now")
    time.sleep(30)

def desk():
    family = psutil.Process().children(recursive=True)
    (found,) = [process for process in family if process.name().startswith("ray::Desk")]
    return found

folder = Path(sys.argv[1])
connect()
told, results = [], []
scaling = ScalingConfig(num_workers=2, max_failures=1)
with listening(Ears()):
    with Workers(scaling, Place(folder / "first")) as workers:
        for number in range(2):
            results.append(workers.do(partial(work, number), what="work", hear=told.append))
        heavy = [file.path for file in desk().memory_maps() if "torch" in file.path]
        for name in ("one", "two"):
            results.append(workers.do(partial(die, folder / name, 1), what=name))
    try:
        with Workers(scaling, Place(folder / "second")) as workers:
            workers.do(partial(die, folder / "three", 9), what="three")
    except PhaseFailedError as error:
        failure = str(error)
    try:
        with Workers(scaling, Place(folder / "third")) as workers:
            workers.do(wait, what="four", hear=lambda _: desk().kill())
    except PhaseFailedError as error:
        without_desk = str(error)
    results.append(ray.get(ray.remote(num_cpus=0)(drive).remote(folder)))
    with Workers(scaling, Place(folder / "never")):
        pass
left = [told, results, heavy, Ears.said, failure, without_desk, (folder / "never").exists()]
json.dump(left, open(folder / "left.json", "w"))
"""


@pytest.mark.cluster
def test_one_group_does_all_and_begins_again_what_was_interrupted(
    run_program: Callable[[str], str], tmp_path: Path
) -> None:
    run_program(JOB)
    told, results, heavy, said, failure, without_desk, started = json.loads((tmp_path / "left.json").read_text())
    assert told == ["0 by 0", "1 by 0"], "rank 0 tells, at once"
    assert [result[:2] for result in results[:2]] == [[0, 0], [1, 0]]
    assert results[0][2] == results[1][2], "the same process did both"
    assert len({results[1][2], results[2], results[3]}) == 3, "another one after each loss"
    assert results[4][:2] == [2, 0], "a task of the cluster drives some too"
    assert heavy == [], "it would take seconds and a gigabyte"
    lost = "a worker was lost, restart 1 of 1 at most"
    assert said == [f"one: {lost}", f"two: {lost}", f"three: {lost}"], "each work may be interrupted as often"
    assert failure.startswith("three failed: ")
    assert "more restarts than scaling.max_failures = 1" in failure
    assert re.match("four stopped: ray::Desk, the process .* has died; give the same command", without_desk)
    assert not started, "without work there are no workers"


def test_workers_that_do_not_meet_are_lost_and_have_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker raises, Ray Train restarts; what it returns, it does not."""

    @contextmanager
    def unreachable(*_: object) -> Iterator[None]:
        raise RuntimeError("rank 1 on b does not reach the other workers")
        yield

    monkeypatch.setattr(workers, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(workers, "process_group", unreachable)
    with pytest.raises(RuntimeError, match="does not reach"):
        workers._serve({"desk": None})
