"""Trains while MLflow's server is away; looks what that costs an epoch, and whether MLflow lacks a metric in the end.

    python benchmarks/outages.py

The same small training is run with a server that answers, twice, and then with one that stops, dies, comes back, never
answers or fails from an early epoch on. When a job has ended the server is there again, and the next job sends what is
kept. Prints a Markdown table; exit status 1 where an epoch took over a second longer or a metric is missing or twice.
"""

import argparse
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Thread

from chaos_checks import Outcome, complaints, outcome_of
from chaos_jobs import Server, flush, require_end, require_gone, start

from reid.training import load_state

JOB = "full_pipeline"
ALLOWED_S = 1.0
"""That an epoch may take longer."""
BEGINS = 3
"""Epoch after which the server is away."""


@contextmanager
def answers(server: Server) -> Iterator[None]:
    yield


@contextmanager
def is_stopped(server: Server) -> Iterator[None]:
    server.freeze()
    yield
    server.thaw()


@contextmanager
def is_dead(server: Server) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def is_killed_and_comes_back(server: Server) -> Iterator[None]:
    server.restart()
    yield


@contextmanager
def never_answers(server: Server) -> Iterator[None]:
    with is_dead(server), _in_its_place(server.port, b""):
        yield


@contextmanager
def fails(server: Server) -> Iterator[None]:
    with is_dead(server), _in_its_place(server.port, b"HTTP/1.1 500 Internal Server Error\r\n\r\n"):
        yield


Outage = Callable[[Server], AbstractContextManager[None]]
OUTAGES: tuple[Outage, ...] = (answers, is_stopped, is_dead, is_killed_and_comes_back, never_answers, fails)


@contextmanager
def _in_its_place(port: int, answer: bytes) -> Iterator[None]:
    """Something that takes connections at a port, and says the same to all, or nothing."""
    taken: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # it was shut down
                return
            taken.append(connection)
            if answer:
                connection.recv(65536)
                connection.sendall(answer)
                connection.close()

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()


@dataclass(frozen=True, kw_only=True)
class Training:
    """What one left, and how long each of its epochs took from the second on, reporting included."""

    outcome: Outcome
    seconds: list[float]

    def slower(self, calm: "Training") -> float:
        """Seconds that an epoch of this one took longer than the slowest of a calm one, at most."""
        return max(self.seconds[BEGINS - 1 :]) - max(calm.seconds[BEGINS - 1 :])


def train(storage: Path, server: Server, outage: Outage, epochs: int) -> tuple[Training, list[str]]:
    """A training with an outage, and what went wrong in it."""
    job = start(JOB, storage, server.uri, (f"phases.final.epochs={epochs}",))
    try:
        while not job.has_printed(f"final: epoch {BEGINS}/{epochs}"):
            if not job.is_running():
                sys.exit(f"it ended before epoch {BEGINS}:\n{job.log.read_text()}")
            time.sleep(0.02)
        with outage(server):
            wrong = require_end(job) + require_gone(job)
    finally:
        job.kill()
    if job.process.returncode:
        wrong.append(f"it ended with status {job.process.returncode}")
    wrong += flush(storage, server.uri)
    (last,) = storage.glob(f"runs/*/final/epoch_{epochs:04d}")
    times = [record.time for record in load_state(str(last)).history]
    seconds = [after - before for before, after in pairwise(times)]
    return Training(outcome=outcome_of(JOB, storage, server.uri), seconds=seconds), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="outages"))  # short: Unix sockets lie in it
    rows, bad = [], False
    with Server(folder) as server:
        calm, wrong = train(folder / "calm", server, answers, given.epochs)
        if wrong:
            sys.exit(f"with a server that answers: {wrong}")
        for outage in OUTAGES:
            storage = folder / outage.__name__
            for part in ("sources", "stores"):
                shutil.copytree(folder / "calm" / part, storage / part)
            training, wrong = train(storage, server, outage, given.epochs)
            wrong += complaints(calm.outcome, training.outcome, storage)
            slower = training.slower(calm)
            bad |= slower > ALLOWED_S or bool(wrong)
            times = (f"{value:.2f}" for value in (median(training.seconds), max(training.seconds), slower))
            cells = (storage.name.replace("_", " "), *times, "; ".join(wrong) or "every one, once")
            rows.append(f"| {' | '.join(cells)} |")
            print(rows[-1], flush=True)
    head = (
        "| the server … | an epoch, median, s | the slowest, s | than the slowest with one that answers, s | metrics |"
    )
    print("\n".join(["", head, "|---|---:|---:|---:|---|", *rows]))
    if bad:
        sys.exit(f"storages and the jobs' output are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
