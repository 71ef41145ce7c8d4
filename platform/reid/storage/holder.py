"""Who holds something: a process, as other processes and other machines are told of it."""

import os
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that holds something, as others are told of it."""

    job: str
    host: str
    pid: int
    machine: str
    """The running system whose processes `pid` counts; a container is one of its own."""
    started: str
    """What tells the process from others that had its number."""

    @classmethod
    def here(cls, job: str) -> Self:
        """This process."""
        started = _started(os.getpid())
        assert started is not None
        return cls(job=job, host=socket.gethostname(), pid=os.getpid(), machine=_machine(), started=started)

    @property
    def is_on_this_machine(self) -> bool:
        return self.machine == _machine()

    @property
    def has_died(self) -> bool:
        """Whether its process is known to have ended: that of another machine never is."""
        return self.is_on_this_machine and _started(self.pid) != self.started

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Self:
        """What was written with `to_json`, or more."""
        return cls(**{field.name: tree[field.name] for field in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.job} on {self.host}, process {self.pid}"


def _machine() -> str:
    if sys.platform != "linux":
        return socket.gethostname()
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")


def _started(pid: int) -> str | None:
    """What tells a process from others that had its number, nothing on other systems than Linux; none = it has ended.

    It is the kernel's own count: a time of the clock would change as the clock is set.
    """
    if sys.platform != "linux":
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            return ""
        return None
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state[0] in "ZX" else state[19]
