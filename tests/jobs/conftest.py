"""One Ray cluster for all tests of the jobs, and the jobs as a user runs them: commands in processes of their own."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent


def free_ports(count: int) -> list[int]:
    """Different ones: chosen one after another, the same could come twice."""
    with ExitStack() as listening:
        listeners = [listening.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster of two CPUs with its dashboard; `environment` is what a user of it has set."""

    head: psutil.Process
    dashboard: str
    environment: dict[str, str]

    def training_workers(self) -> list[psutil.Process]:
        return [child for child in self.head.children(recursive=True) if "RayTrainWorker" in _title(child)]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="r", dir=tempfile.gettempdir()))  # short: it holds Unix sockets
    port, dashboard, client, agent = free_ports(4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))} | {
        "HOME": str(folder / "home"),
        "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "platform"),  # the version that is installed
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "OMP_NUM_THREADS": "1",
    }
    (folder / "home").mkdir()
    ports = {
        "port": port,
        "dashboard-port": dashboard,
        "ray-client-server-port": client,
        "dashboard-agent-listen-port": agent,
    }
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(BINARIES / "ray", "start", "--head", "--block", "--num-cpus=2", "--num-gpus=0"),
                *("--node-ip-address=127.0.0.1", "--disable-usage-stats", f"--temp-dir={folder / 'ray'}"),
                *(f"--{name}={number}" for name, number in ports.items()),
            ],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    started = [psutil.Process(process.pid)]
    try:
        log_file = folder / "head.log"
        deadline = time.monotonic() + 180
        while "Ray runtime started" not in log_file.read_text():
            assert time.monotonic() < deadline, log_file.read_text()
            time.sleep(0.1)
        yield Cluster(started[0], f"http://127.0.0.1:{dashboard}", environment | {"RAY_ADDRESS": f"127.0.0.1:{port}"})
    finally:
        started += started[0].children(recursive=True)
        process.terminate()
        for left in psutil.wait_procs(started, timeout=5)[1]:
            left.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One `$REID_STORAGE` for all runs on the cluster, so that the data are rendered once."""
    return tmp_path_factory.mktemp("runs")


@dataclass
class Job:
    """A job's driver, running."""

    process: subprocess.Popen[str]
    log: Path

    def finish(self, seconds: float = 900) -> str:
        """Everything it printed, once it has ended well."""
        status = self.process.wait(seconds)
        assert status == 0, self.output()
        return self.output()

    def output(self) -> str:
        return self.log.read_text()


Start = Callable[..., Job]


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], object], float, str, Job], None]:
    """Waits for something that a running job does, polling often enough to act within an epoch."""

    def wait_until(condition: Callable[[], object], seconds: float, what: str, job: Job) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert job.process.poll() is None, f"ended before {what}:\n{job.output()}"
            assert time.monotonic() < deadline, f"{what} took more than {seconds} s:\n{job.output()}"
            time.sleep(0.1)

    return wait_until


@pytest.fixture(scope="session")
def start(cluster: Cluster, shared_storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a command against the cluster; what is left running in the end is killed."""
    jobs: list[Job] = []
    logs = tmp_path_factory.mktemp("logs")

    def start(*command: str | Path, cwd: Path = ROOT) -> Job:
        log = logs / f"job-{len(jobs)}.log"
        with log.open("w") as sink:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd,
                env=cluster.environment | {"REID_STORAGE": str(shared_storage), "COLUMNS": "200"},
                stdout=sink,
                stderr=subprocess.STDOUT,
                text=True,
            )
        jobs.append(Job(process, log))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.process.poll() is None:
            job.process.kill()
            job.process.wait()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # ended meanwhile
        return ""
