"""A cluster that a job starts for itself, beside another one: nobody outside of this machine reaches its processes."""

import ipaddress
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from bed import Bed

ROOT = Path(__file__).parents[2]
ONE_PHASE = [f"phases.{name}=null" for name in ("pose", "intermediate", "final")]
OUTWARD = ("RAY_", "MLFLOW_", "GLOO_", "NCCL_")
"""Beginnings of variables by which a user would choose otherwise."""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name: it holds Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="r"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # Ray's last process may still be writing


@pytest.fixture
def neighbour() -> Iterator[Bed]:
    """Another cluster, of somebody else on this machine."""
    with Bed(why_loopback="it is to be seen") as bed:
        bed.start_head()
        yield bed


@dataclass
class Listener:
    """A process of a job."""

    titles: set[str] = field(default_factory=set)
    """Ray gives a worker another title for each task."""
    sockets: set[tuple[str, int]] = field(default_factory=set)
    """Addresses and ports, of IPv6 too, on which it was seen to listen."""


def look(driver: psutil.Process, found: dict[int, Listener]) -> None:
    """Note what the driver and its descendants listen on now."""
    for process in (driver, *driver.children(recursive=True)):
        with suppress(psutil.Error):  # ended meanwhile
            found[process.pid].titles.add(" ".join(process.cmdline())[:200])
    for socket in psutil.net_connections("tcp"):
        if socket.status == psutil.CONN_LISTEN and socket.pid in found:
            found[socket.pid].sockets.add((socket.laddr.ip.removeprefix("::ffff:"), socket.laddr.port))


@pytest.mark.usefixtures("neighbour")
def test_a_job_on_a_cluster_of_its_own_listens_on_loopback_alone_and_looks_for_no_other(
    folder: Path, storage: Path
) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(OUTWARD)}
    settings = [part for text in ("scaling.num_workers=2", *ONE_PHASE) for part in ("--set", text)]
    found: dict[int, Listener] = defaultdict(Listener)
    with (folder / "log").open("w") as log:
        job = subprocess.Popen(
            [sys.executable, "jobs/full_pipeline.py", "--preset", "smoke", *settings],
            cwd=ROOT,
            env=variables | {"RAY_TMPDIR": str(folder), "HOME": str(folder), "REID_STORAGE": str(storage)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        driver = psutil.Process(job.pid)
        while job.poll() is None:
            look(driver, found)
            time.sleep(0.2)
    finally:
        job.kill()
    assert job.wait() == 0, (folder / "log").read_text()
    confused = [file.name for file in folder.rglob("worker-*") if "multiple active Ray" in file.read_text()]
    assert confused == []
    outward = {
        f"{address}:{port} of {sorted(listener.titles)}"
        for listener in found.values()
        for address, port in listener.sockets
        if not ipaddress.ip_address(address).is_loopback
    }
    assert outward == set()
    for name in ("gcs_server", "raylet", "dashboard", "DashboardAgent", "full_pipeline.py", "RayTrainWorker"):
        seen = [len(listener.sockets) for listener in found.values() if any(name in title for title in listener.titles)]
        assert any(seen), f"{name} was never seen to listen"
    assert max(seen) >= 3, "of rank 0's process: Ray's, torch's store and Gloo's"
