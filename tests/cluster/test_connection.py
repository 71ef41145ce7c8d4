"""A cluster that a job starts for itself: nobody outside of this machine reaches any of its processes."""

import ipaddress
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

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


def listening(driver: psutil.Process) -> Iterator[tuple[str, str, int]]:
    """What the driver and its descendants listen on now: each a process's title, an address and a port."""
    titles = {process.pid: title_of(process) for process in (driver, *driver.children(recursive=True))}
    for socket in psutil.net_connections("tcp"):  # IPv6 too
        if socket.status == psutil.CONN_LISTEN and socket.pid in titles:
            yield titles[socket.pid], socket.laddr.ip, socket.laddr.port


def title_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except psutil.Error:  # ended meanwhile
        return ""


def test_a_job_on_a_cluster_of_its_own_listens_on_loopback_alone(folder: Path, storage: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(OUTWARD)}
    settings = [part for text in ("scaling.num_workers=2", *ONE_PHASE) for part in ("--set", text)]
    found: dict[str, set[tuple[str, int]]] = defaultdict(set)
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
            for title, address, port in listening(driver):
                found[title].add((address, port))
            time.sleep(0.2)
    finally:
        job.kill()
    assert job.wait() == 0, (folder / "log").read_text()
    for seen in ("gcs_server", "raylet", "dashboard", "agent", "full_pipeline.py", "RayTrainWorker"):
        assert any(seen in title for title in found), f"{seen} was never seen to listen: {sorted(found)}"
    workers = [sockets for title, sockets in found.items() if "RayTrainWorker" in title]
    assert max(map(len, workers)) >= 3, "of rank 0, Ray's, torch's store and gloo's"
    outward = {
        f"{address}:{port} of {title}"
        for title, sockets in found.items()
        for address, port in sockets
        if not ipaddress.ip_address(address).is_loopback
    }
    assert outward == set()
