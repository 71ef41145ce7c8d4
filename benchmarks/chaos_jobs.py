"""Jobs and a tracking server as processes that can be killed, for `chaos.py` and `outages.py`."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

ROOT = Path(__file__).parents[1]
EPOCHS = 2
FINAL_ALONE = tuple(f"phases.{name}=null" for name in ("pose", "baseline", "intermediate"))
SETTINGS: dict[str, tuple[str, ...]] = {
    "full_pipeline": (*FINAL_ALONE, "scaling.num_workers=2"),
    "sweep": (
        *FINAL_ALONE,
        *("search.space=optimizer", "search.trials=4", "search.early_stopping=false", "search.retrain=false"),
    ),
}
"""What is laid over the smoke preset, by job."""
LIMIT_S = 420
"""In which a job has ended, killed or not."""
LINGER_S = 90
"""In which what it started has ended too; of a cluster that was killed, Ray's agents look a minute for the GCS."""
SCAN_S = 0.25
"""Between looks at what processes there are."""


@dataclass
class Job:
    """A command under way, and all processes that it has started."""

    storage: Path
    log: Path
    process: subprocess.Popen[bytes]
    seen: dict[int, psutil.Process] = field(default_factory=dict)
    """By number; whoever was seen once is remembered, also when its parent is gone."""
    seen_at: float = 0.0

    def is_running(self) -> bool:
        return self.process.poll() is None

    def has_printed(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def has_written(self, pattern: str) -> bool:
        return any(self.storage.glob(pattern))

    def family(self) -> list[psutil.Process]:
        """Those of its processes that live."""
        if time.monotonic() - self.seen_at > SCAN_S:
            self.seen_at = time.monotonic()
            driver = [psutil.Process(self.process.pid)] if self.is_running() else []
            for root in driver or [process for process in self.seen.values() if is_alive(process)]:
                with suppress(psutil.Error):  # ended meanwhile
                    for process in (root, *root.children(recursive=True)):
                        self.seen.setdefault(process.pid, process)
        return [process for process in self.seen.values() if is_alive(process)]

    def kill(self) -> None:
        for process in self.family():
            end(process)
        self.process.wait()


def start(name: str, storage: Path, uri: str, settings: tuple[str, ...] = ()) -> Job:
    """A job as a user would give its command, on a cluster of its own; MLflow's experiment has the storage's name."""
    storage.mkdir(parents=True, exist_ok=True)
    log = storage.with_name(f"{storage.name}.log")
    command = _command(name, storage, uri, (*SETTINGS[name], *settings))
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=_surroundings(storage.parent), stdout=sink, stderr=subprocess.STDOUT)  # noqa: S603
    return Job(storage=storage, log=log, process=process)


def flush(storage: Path, uri: str) -> list[str]:
    """The next job on a storage: sends MLflow what that lacks, and removes what killed ones have left half written."""
    command = _command("flush", storage, uri)
    done = subprocess.run(command, env=_surroundings(storage.parent), check=False, capture_output=True, text=True)  # noqa: S603
    return [f"flush ended with status {done.returncode}: {done.stderr.strip()}"] if done.returncode else []


def require_end(job: Job) -> list[str]:
    """Wait for a job; a complaint where it had to be killed."""
    deadline = time.monotonic() + LIMIT_S
    while job.is_running() and time.monotonic() < deadline:
        job.family()
        time.sleep(0.1)
    if job.is_running():
        job.kill()
        return [f"it had not ended after {LIMIT_S} s"]
    return []


def require_gone(job: Job) -> list[str]:
    """Wait for all that a job that has ended had started; a complaint for each process that had to be killed."""
    deadline = time.monotonic() + LINGER_S
    while (left := job.family()) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in left:
        end(process)
    return [f"left running: {process}" for process in left]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # ended meanwhile
        return False


def end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


@dataclass
class Server:
    """MLflow's tracking server, which is killed and comes back at the same address, with the same database.

    It stands for one on another machine: it takes no time of the processor that a job could use.
    """

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.kill()

    def restart(self) -> None:
        """SIGKILL to all of its processes, and start it again."""
        self.kill()
        self.start()

    def kill(self) -> None:
        for process in self._family():
            end(process)
        assert self.process is not None
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP to all of its processes: it takes connections, and answers none."""
        for process in self._family():
            process.suspend()

    def thaw(self) -> None:
        for process in self._family():
            process.resume()

    def _family(self) -> list[psutil.Process]:
        assert self.process is not None
        if self.process.poll() is not None:
            return []
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def start(self) -> None:
        program, folder = Path(sys.executable).with_name("mlflow"), self.folder
        command = [
            *("nice", "--adjustment=19"),
            *(str(program), "server", "--workers=1", "--host=127.0.0.1", f"--port={self.port}"),
            *(f"--backend-store-uri=sqlite:///{folder}/server.db", f"--artifacts-destination={folder}/artifacts"),
        ]
        with (folder / "server.log").open("ab") as log:
            surroundings = _surroundings(folder) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            self.process = subprocess.Popen(command, env=surroundings, stdout=log, stderr=log)  # noqa: S603
        deadline = time.monotonic() + LIMIT_S
        while not self._answers():
            if time.monotonic() > deadline:
                sys.exit(f"the tracking server did not start:\n{(folder / 'server.log').read_text()}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _command(name: str, storage: Path, uri: str, settings: tuple[str, ...] = ()) -> list[str]:
    where = (f"storage={storage}", f"tracking.uri={uri}", f"tracking.experiment={storage.name}")
    overrides = [part for text in (*settings, *where) for part in ("--set", text)]
    return [sys.executable, f"{ROOT}/jobs/{name}.py", "--preset", "smoke", *overrides]


def _surroundings(folder: Path) -> dict[str, str]:
    """The environment, without what would have a job do otherwise; Ray's sessions lie in a folder of the campaign's."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "REID_"))}
    return ours | {"RAY_TMPDIR": str(folder)}
