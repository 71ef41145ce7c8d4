"""A Ray cluster of several nodes on one machine, with what it stores in."""

import itertools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from bed.machine import NETWORK, Loopback, Machine, Namespaces, refused
from bed.services import BUCKET, Service, start_mlflow, start_postgres, start_s3, wait_for

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
}
"""So that a node that is gone is missed within some twenty seconds; by default it takes up to a minute."""
OTHERWISE = ("RAY_", "MLFLOW_", "REID_S", "AWS_", "GLOO_", "NCCL_")
"""Beginnings of variables by which who started us has chosen otherwise."""


@dataclass
class Bed:
    """Machines, of which one is the cluster's head, one holds the services, and others are nodes that come and go.

    Where namespaces are refused, machines are loopback addresses alone: `why_loopback` says why.
    """

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="b")))  # short: it holds Unix sockets
    why_loopback: str | None = field(default_factory=refused)
    reachable: bool = False
    """Whether this machine, outside of the bed, reaches those in it; of one bed at a time."""
    machines: dict[str, Machine] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    token: str = field(default_factory=lambda: secrets.token_hex(32))

    def __enter__(self) -> Self:
        self.folder.chmod(0o711)  # PostgreSQL's user reaches its own folder
        self.shared.mkdir()
        services = self.add("services")
        if self.reachable and isinstance(services, Namespaces):
            services.connect_this_machine()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for name in reversed(list(self.machines)):
            self.switch_off(name)
        shutil.rmtree(self.folder)

    @property
    def shared(self) -> Path:
        """A path that is another folder on every machine with namespaces of its own: temporary files, Ray's too."""
        return self.folder / "t"

    @property
    def address(self) -> str:
        """Of the cluster."""
        return f"{self.machines['head'].address}:{self._port('gcs')}"

    @property
    def dashboard(self) -> str:
        return f"http://{self.machines['head'].address}:{self._port('dashboard')}"

    def token_file(self, name: str) -> Path:
        """By which a machine's user is let into the cluster."""
        return self.folder / name / "home" / ".ray" / "auth_token"

    def environment(self, name: str) -> dict[str, str]:
        """What a user of a machine has set."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(OTHERWISE)}
        return own | {
            "HOME": str(self.folder / name / "home"),
            "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "platform"),
            "TMPDIR": str(self._temporary(name)),
            "RAY_TMPDIR": str(self._temporary(name)),
            "RAY_AUTH_MODE": "token",
            "OMP_NUM_THREADS": "1",
            "AWS_ENDPOINT_URL": f"http://{self.machines['services'].address}:{self._port('s3')}",
            "AWS_ACCESS_KEY_ID": "bed",
            "AWS_SECRET_ACCESS_KEY": "bed",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def add(self, name: str) -> Machine:
        """A machine on which nothing runs yet."""
        number, folder = next(self.numbers), self.folder / name
        if self.why_loopback is None:
            switch = self.machines.get("services")
            assert switch is None or isinstance(switch, Namespaces)
            self.machines[name] = Namespaces(name, f"{NETWORK}.{number}", folder, self.shared, switch)
        else:
            self._temporary(name).mkdir(parents=True)
            self.machines[name] = Loopback(name, f"127.0.0.{1 + number}")
        token = self.token_file(name)
        token.parent.mkdir(parents=True)
        token.touch(mode=0o600)
        token.write_text(self.token)
        return self.machines[name]

    def start_head(self) -> None:
        """The cluster, with a head that computes nothing."""
        address = self.add("head").address
        where = (f"--port={self._port('gcs')}", f"--dashboard-port={self._port('dashboard')}")
        client = f"--ray-client-server-port={self._port('client')}"
        self._start_ray("head", "--head", "--num-cpus=0", *where, client, f"--dashboard-host={address}")

    def start_node(self, name: str, cpus: int = 1) -> None:
        """A node that joins the cluster; one of that name may have been there before."""
        self.add(name)
        self._start_ray(name, f"--address={self.address}", f"--num-cpus={cpus}")

    def switch_off(self, name: str) -> None:
        """Whatever runs on a machine is gone at once."""
        self.machines.pop(name).switch_off()
        shutil.rmtree(self.folder / name)

    def start(self, name: str, *command: str | Path, log: Path, **variables: str) -> "subprocess.Popen[bytes]":
        """A command on a machine, as its user would give it."""
        return self.machines[name].start(*command, environment=self.environment(name) | variables, log=log)

    def run(self, name: str, *command: str | Path, seconds: float = 300, **variables: str) -> str:
        """What a command on a machine prints, which must end well."""
        log = self.folder / f"run-{secrets.token_hex(4)}.log"
        status = self.start(name, *command, log=log, **variables).wait(seconds)
        assert status == 0, log.read_text()
        return log.read_text()

    def processes(self, name: str) -> list[str]:
        """Titles of all that runs on a machine."""
        titles = []
        for process in self.machines[name].processes():
            with suppress(psutil.Error):  # ended meanwhile
                titles.append(" ".join(process.cmdline()))
        return titles

    def start_s3(self) -> Service:
        return self._serve(start_s3, "s3")

    def start_postgres(self) -> Service:
        return self._serve(start_postgres, "postgres")

    def start_mlflow(self, database: str) -> Service:
        environment, folder = self.environment("services"), self.folder / "services"
        artifacts = f"s3://{BUCKET}/mlflow"
        machine, port = self.machines["services"], self._port("mlflow")
        return start_mlflow(machine, port, folder, environment, database=database, artifacts=artifacts)

    def _serve(self, start: Callable[..., Service], name: str) -> Service:
        folder = self.folder / "services"
        return start(self.machines["services"], self._port(name), folder, self.environment("services"))

    def _temporary(self, name: str) -> Path:
        return self.shared if self.why_loopback is None else self.folder / name / "t"

    def _start_ray(self, name: str, *options: str) -> None:
        machine, log = self.machines[name], self.folder / name / "ray.log"
        log.touch()
        agent = f"--dashboard-agent-listen-port={free_port()}"
        here = (f"--node-ip-address={machine.address}", "--object-store-memory=200000000", agent)
        process = self.start(
            *(name, SCRIPTS / "ray", "start", "--block", "--disable-usage-stats", *options, *here), log=log, **HEALTH
        )
        wait_for("Ray runtime started", log, process)

    def _port(self, name: str) -> int:
        return self.ports.setdefault(name, free_port())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
