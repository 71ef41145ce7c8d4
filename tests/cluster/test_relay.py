"""What processes of a cluster say is heard by the job that started them, and by nobody else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

JOB = """
import json, logging, os, signal, sys, time
import psutil
import ray
from reid.cluster import connect
from reid.cluster.relay import hear_out, relayed, relaying
from reid.progress import Silence, listening, note, say, track

class Ears(Silence):
    heard = []
    def say(self, line): self.heard.append(["say", line])
    def note(self, text): self.heard.append(["note", text])
    def move(self, bar): self.heard.append(["bar", bar.title, bar.done, bar.ended])

@relayed
def work(number):
    print("printed by", number, flush=True)
    for step in range(3):
        say(f"{number}: line {step}")
    note(f"{number}: aside")
    with track(f"work {number}", 10, "images") as advance:
        advance(10)
        if number == 2:
            time.sleep(1)
            advance(0)
            time.sleep(1.5)
            os.kill(os.getpid(), signal.SIGKILL)

def other_rank():
    with relaying(silent=True):
        say("said by another rank")

with listening(Ears()):
    connect()
    remote = ray.remote(num_cpus=1, max_retries=0)
    ray.get(remote(work).remote(1))
    ray.get(remote(other_rank).remote())
    try:
        ray.get(remote(work).remote(2))
    except ray.exceptions.WorkerCrashedError:
        say("crashed")
    hear_out()
    family = psutil.Process().children(recursive=True)
    (board,) = [process for process in family if process.name() == "ray::Board"]
    assert not any("torch" in file.path for file in board.memory_maps()), "it would take seconds and a gigabyte"
    work(3)  # here, where nobody needs to pass on
    deadline = time.monotonic() + 20
    while not any("printed by 1" in heard[1] for heard in Ears.heard) and time.monotonic() < deadline:
        time.sleep(0.1)
    logging.getLogger("ray").error("of Ray's own")
ray.shutdown()
with listening(Ears()):
    connect()  # to another cluster: it is heard as the first was, and not only when something ends
    ray.get(ray.remote(num_cpus=1)(work).remote(4))
    deadline = time.monotonic() + 20
    while ["say", "4: line 2"] not in Ears.heard and time.monotonic() < deadline:
        time.sleep(0.1)
ray.shutdown()
json.dump(Ears.heard, open(sys.argv[1] + "/heard.json", "w"))
"""


@pytest.mark.cluster
def test_a_job_hears_its_cluster(run_program: Callable[[str], str], tmp_path: Path) -> None:
    printed = run_program(JOB)
    heard = json.loads((tmp_path / "heard.json").read_text())
    said = [text for kind, text, *_ in heard if kind == "say"]
    lines = [[f"{number}: line {step}" for step in range(3)] for number in (1, 2, 3, 4)]
    expected = [*lines[0], *lines[1], "crashed", *lines[2], *lines[3]]
    assert said == expected, "each once, in its order, before what came later"
    notes = [text for kind, text, *_ in heard if kind == "note"]
    assert "1: aside" in notes
    assert any("printed by 1" in text for text in notes)
    assert "printed by" not in printed.replace("printed by 3", "")
    bars = [bar for kind, *bar in heard if kind == "bar"]
    for number in (1, 2, 3):
        assert [f"work {number}", 10, True] in bars, "of a process that was killed, the bar has ended too"
