"""A machine of the bed: namespaces of its own where this machine allows them, else a loopback address of its own."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

NETWORK = "198.18.0"
"""Of RFC 2544, for tests of networks. Only the bed's own namespaces know it, so two beds do not meet."""
ISOLATED = ("--net", "--pid", "--mount", "--uts", "--ipc")
GONE_S = 30
"""In which processes that were killed are gone."""
KILLED_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")

SETUP = """
set -e
mount -t tmpfs tmpfs /dev/shm
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/tmp" "$3"
hostname "$2"
ip link set lo up
echo up
while :; do sleep infinity & wait; done
"""
"""Of a machine's first process: it reaps whom others leave, and all end with it."""


class Machine(Protocol):
    """Where processes run that share an address, and end together."""

    name: str
    address: str

    def start(self, *command: str | Path, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """A process of the machine, which ends with this one."""
        ...

    def processes(self) -> list[psutil.Process]:
        """All that run on it."""
        ...

    def switch_off(self) -> None:
        """As if its power went: every process of it is gone at once."""
        ...


def refused() -> str | None:
    """Why this machine allows no namespaces with a network; None where it does."""
    if os.getuid() != 0:
        return "only root may connect network namespaces"
    if missing := [tool for tool in ("unshare", "nsenter", "setpriv", "ip", "mount") if shutil.which(tool) is None]:
        return f"{', '.join(missing)} is not installed"
    bridge = "ip link set lo up && ip link add br0 type bridge && mount -t tmpfs tmpfs /dev/shm && hostname bed"
    command = ["unshare", *ISOLATED, "--fork", "--mount-proc", "sh", "-c", bridge]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return tried.stderr.strip() or f"status {tried.returncode}" if tried.returncode else None


@dataclass
class Namespaces:
    """A machine with a network, processes, mounts, shared memory and a name of its own, which resolves to 127.0.1.1."""

    name: str
    address: str
    folder: Path
    shared: Path
    """A path that is another folder on every machine."""
    switch: "Namespaces | None" = None
    """The machine whose bridge it is connected to; none = it has that bridge itself."""
    first: subprocess.Popen[bytes] = field(init=False)
    entered: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "tmp").mkdir(parents=True)
        hosts = self.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        isolated = ("unshare", *ISOLATED, "--fork", "--kill-child", "--mount-proc")
        setup = ("bash", "-c", SETUP, "bash", str(self.folder), self.name, str(self.shared))
        self.first = subprocess.Popen(
            [*KILLED_WITH_US, *isolated, *setup], stdout=subprocess.PIPE, start_new_session=True
        )
        assert self.first.stdout is not None
        assert self.first.stdout.readline() == b"up\n", f"{self.name} did not come up"
        self._connect()

    def _connect(self) -> None:
        if self.switch is None:
            device = "br0"
            self._within("ip", "link", "add", device, "type", "bridge")
        else:
            device, port = "eth0", f"to-{self.name}"
            peer = ("peer", "name", device, "netns", str(self._pid()))
            self.switch._within("ip", "link", "add", port, "type", "veth", *peer)
            self.switch._within("ip", "link", "set", port, "master", "br0", "up")
        self._within("ip", "address", "add", f"{self.address}/24", "dev", device)
        self._within("ip", "link", "set", device, "up")

    def connect_this_machine(self) -> None:
        """Lets this machine reach all that are connected to the bridge, until they end."""
        device, port = "reid-bed", "to-outside"
        peer = ("peer", "name", port, "netns", str(self._pid()))
        outside = ("ip", "address", "add", f"{NETWORK}.254/24", "dev", device)
        for command in (
            ("ip", "link", "add", device, "type", "veth", *peer),
            outside,
            ("ip", "link", "set", device, "up"),
        ):
            subprocess.run(command, check=True)
        self._within("ip", "link", "set", port, "master", "br0", "up")

    def _pid(self) -> int:
        """Of its first process, as this machine numbers it."""
        (first,) = psutil.Process(self.first.pid).children()
        return first.pid

    def _within(self, *command: str) -> None:
        """Of this machine's processes, but on that one's network."""
        subprocess.run(["nsenter", f"--target={self._pid()}", "--net", "--", *command], check=True)

    def start(self, *command: str | Path, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        within = ("nsenter", f"--target={self._pid()}", *ISOLATED, f"--wd={Path.cwd()}", "--")
        self.entered.append(_start([*within, *KILLED_WITH_US, *map(str, command)], environment, log))
        return self.entered[-1]

    def processes(self) -> list[psutil.Process]:
        return _families([self.first.pid, *(process.pid for process in self.entered)])

    def switch_off(self) -> None:
        if self.first.poll() is None:
            first = psutil.Process(self._pid())
            self.first.kill()
            psutil.wait_procs([first], timeout=GONE_S)  # the kernel ends it last
        for process in (self.first, *self.entered):
            process.wait(GONE_S)
        assert self.first.stdout is not None
        self.first.stdout.close()


@dataclass
class Loopback:
    """A machine by its address alone: `127.0.0.2` is this machine as well."""

    name: str
    address: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str | Path, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        self.started.append(_start([*KILLED_WITH_US, *map(str, command)], environment, log))
        return self.started[-1]

    def processes(self) -> list[psutil.Process]:
        return _families([process.pid for process in self.started])

    def switch_off(self) -> None:
        family = self.processes()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=GONE_S)
        for process in self.started:
            process.wait(GONE_S)


def _families(roots: Sequence[int]) -> list[psutil.Process]:
    """Processes by number, with all that descend from them."""
    found = []
    for number in roots:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(number)
            found += [root, *root.children(recursive=True)]
    return found


def _start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as sink:
        return subprocess.Popen(
            command, env=dict(environment), stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
