"""Kills parts of running jobs at random moments, gives the same command again, and looks whether anything was lost.

    python benchmarks/chaos.py --kills 50 --seed 0

Every kill is a SIGKILL to one process of a job that trains the smallest networks on a cluster of its own, or to those
of the tracking server. The same jobs are run once without a kill first: what they leave is what every other must leave,
bit for bit. Prints a line for each kill, and a Markdown table; exit status 1 where one was lost, whose storage is kept.
"""

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from chaos_checks import Outcome, complaints, outcome_of
from chaos_jobs import EPOCHS, SETTINGS, Job, Server, end, flush, require_end, require_gone, start

TRIES = 3
"""Cases drawn for each kill that is wanted: a moment may be over before its victim is found."""
SHORTLY_S = 0.02
"""Between looks at how far a job is."""
OF_TRAINING = {"controller": "ray::TrainController", "desk": "ray::Desk"}
"""Beginnings of the titles of what is there while Ray Train trains, beside its workers."""
LAST_EPOCH = f"final: epoch {EPOCHS}/{EPOCHS}"
VICTIMS = ("worker", "controller", "desk", "driver", "raylet", "gcs", "server")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A time in the life of a job."""

    job: str
    begins: Callable[[Job], bool]
    ends: Callable[[Job], bool]
    worker: str = ""
    """Beginning of the titles of the processes that do the work then; none = the driver does it alone."""
    trains: bool = False
    """Whether Ray Train's controller and the desk of its workers are there."""
    renders: bool = False
    """Whether it begins without data."""

    @property
    def victims(self) -> list[str]:
        there = {"worker": bool(self.worker)} | dict.fromkeys(OF_TRAINING, self.trains)
        return [victim for victim in VICTIMS if there.get(victim, True)]


MOMENTS = {
    "rendering": Moment(
        job="full_pipeline",
        begins=lambda job: job.has_printed("rendering "),
        ends=lambda job: job.has_written("sources/*/market1501"),
        worker="ray::",
        renders=True,
    ),
    "preparing": Moment(
        job="full_pipeline",
        begins=lambda job: job.has_written("sources/*/market1501"),
        ends=lambda job: job.has_printed("prepared "),
        worker="ray::",
        renders=True,
    ),
    "training": Moment(
        job="full_pipeline",
        begins=lambda job: job.has_printed("finished: "),
        ends=lambda job: job.has_printed(LAST_EPOCH),
        worker="ray::RayTrainWorker",
        trains=True,
    ),
    "reporting": Moment(
        job="full_pipeline",
        begins=lambda job: job.has_written("runs/*/final/epoch_*"),
        ends=lambda job: job.has_printed(LAST_EPOCH),
        worker="ray::RayTrainWorker",
        trains=True,
    ),
    "sweeping": Moment(
        job="sweep",
        begins=lambda job: job.has_printed("trials of optimizer"),
        ends=lambda job: job.has_printed("on held-out identities"),
        worker="ray::ImplicitFunc",
    ),
    "exporting": Moment(
        job="full_pipeline",
        begins=lambda job: job.has_written("exports"),
        ends=lambda job: job.has_printed("registered: "),
    ),
}
"""By name, in the order of the table."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A kill to be."""

    victim: str
    moment: str
    at: float
    """When, as a share of the moment's length."""


def draw_cases(seed: int) -> Iterator[Case]:
    """Without end; every victim at every moment before any comes again, in random order."""
    generator = random.Random(seed)
    pairs = [(victim, name) for name, moment in MOMENTS.items() for victim in moment.victims]
    while True:
        for victim, moment in generator.sample(pairs, len(pairs)):
            yield Case(victim=victim, moment=moment, at=generator.random())


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What all kills have in common."""

    folder: Path
    wanted: dict[str, Outcome]
    """What each job leaves, by its name."""
    lengths: dict[str, float]
    """Seconds that each moment lasts, by its name."""
    server: Server

    def strike(self, case: Case, name: str) -> list[str] | None:
        """Everything that went wrong with one kill; None where it came too late."""
        moment, storage = MOMENTS[case.moment], self.folder / name
        if not moment.renders:
            for part in ("sources", "stores"):
                shutil.copytree(self.folder / moment.job / part, storage / part)
        uri = self.server.uri if case.victim == "server" else f"sqlite:///{storage}/mlflow.db"
        jobs = [start(moment.job, storage, uri)]
        try:
            if not self._kill(case, jobs[0]):
                return None
            wrong = require_end(jobs[0])
            if jobs[0].process.returncode and not wrong:
                jobs.append(start(moment.job, storage, uri))
                wrong = require_end(jobs[1])
                if jobs[1].process.returncode:
                    wrong.append(f"given again, the command ended with status {jobs[1].process.returncode}")
            wrong += flush(storage, uri)
            wrong += complaints(self.wanted[moment.job], outcome_of(moment.job, storage, uri), storage)
            wrong += [complaint for job in jobs for complaint in require_gone(job)]
        finally:
            for job in jobs:
                job.kill()
        if not wrong:
            shutil.rmtree(storage)
        return wrong

    def _kill(self, case: Case, job: Job) -> bool:
        moment = MOMENTS[case.moment]
        while not moment.begins(job):
            if not job.is_running():
                return False
            job.family()
            time.sleep(SHORTLY_S)
        time.sleep(case.at * self.lengths[case.moment])
        while job.is_running() and not moment.ends(job):
            if case.victim == "server":
                self.server.restart()
                return True
            if victims := find(case.victim, moment, job):
                end(random.Random(case.at).choice(victims))
                return True
            time.sleep(SHORTLY_S)
        return False


def find(victim: str, moment: Moment, job: Job) -> list[psutil.Process]:
    """Processes of a job that a kill may hit."""
    if victim == "driver":
        return [psutil.Process(job.process.pid)]
    if beginning := moment.worker if victim == "worker" else OF_TRAINING.get(victim):
        return [process for process in job.family() if _title(process).startswith(beginning)]
    binary = {"raylet": "raylet/raylet", "gcs": "gcs/gcs_server"}[victim]
    return [process for process in job.family() if _title(process).partition(" ")[0].endswith(binary)]


def _title(process: psutil.Process) -> str:
    """Its command; none of a worker that waits for work."""
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:  # ended meanwhile
        return ""
    return "" if title.startswith("ray::IDLE") else title


def run_uninterrupted(name: str, folder: Path) -> tuple[Outcome, dict[str, float]]:
    """What a job leaves, and how long each of its moments lasts."""
    storage = folder / name
    uri = f"sqlite:///{storage}/mlflow.db"
    job = start(name, storage, uri)
    mine = {key: moment for key, moment in MOMENTS.items() if moment.job == name}
    begun: dict[str, float] = {}
    ended: dict[str, float] = {}
    while job.is_running():
        for key, moment in mine.items():
            if key not in begun and moment.begins(job):
                begun[key] = time.monotonic()
            if key in begun and key not in ended and moment.ends(job):
                ended[key] = time.monotonic()
        job.family()
        time.sleep(SHORTLY_S)
    wrong = require_end(job) + require_gone(job)
    if job.process.returncode or wrong or ended.keys() != mine.keys():
        sys.exit(f"{name} without a kill: {wrong}, moments {list(ended)}\n{job.log.read_text()}")
    return outcome_of(name, storage, uri), {key: ended[key] - begun[key] for key in mine}


def table(kills: Sequence[tuple[Case, bool]]) -> str:
    """Markdown: kills by victim and moment, and how many of them were lost."""

    def cell(victim: str, moment: str) -> str:
        lost = [is_lost for case, is_lost in kills if (case.victim, case.moment) == (victim, moment)]
        if victim not in MOMENTS[moment].victims:
            return "–"
        return f"{len(lost)}, {sum(lost)} lost" if any(lost) else str(len(lost))

    rows = [[victim, *(cell(victim, moment) for moment in MOMENTS)] for victim in VICTIMS]
    lines = [["SIGKILL to, while", *MOMENTS], ["---", *["---:"] * len(MOMENTS)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of what is killed when")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos"))  # short: Unix sockets lie in it
    kills: list[tuple[Case, bool]] = []
    with Server(folder) as server:
        wanted, lengths = {}, {}
        for name in SETTINGS:
            wanted[name], measured = run_uninterrupted(name, folder)
            lengths |= measured
        print("seconds: " + ", ".join(f"{name} {length:.1f}" for name, length in lengths.items()), flush=True)
        campaign = Campaign(folder=folder, wanted=wanted, lengths=lengths, server=server)
        for number, case in enumerate(itertools.islice(draw_cases(given.seed), TRIES * given.kills)):
            began = time.monotonic()
            wrong = campaign.strike(case, f"kill-{number}")
            found = "came too late" if wrong is None else "; ".join(["LOST", *wrong]) if wrong else "nothing lost"
            if wrong is not None:
                kills.append((case, bool(wrong)))
            seconds = time.monotonic() - began
            print(f"{len(kills)}. {case.victim} while {case.moment}: {found} ({seconds:.0f} s)", flush=True)
            if len(kills) == given.kills:
                break
    lost = sum(is_lost for _, is_lost in kills)
    print(f"\n{table(kills)}\n\n{len(kills)} kills, {lost} lost")
    if lost or len(kills) < given.kills:
        sys.exit(f"the storages of lost kills, and the jobs' output, are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
