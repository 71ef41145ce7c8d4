"""MLflow's browser on a storage, for whoever sits at this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from reid.config import environment
from reid.progress import say, say_result
from reid.storage import Storage
from reid.tracking.store import RunStore
from reid.tracking.view import experiment_page

HOST = "127.0.0.1"
ASK_S = 0.5
"""Between two questions whether the server answers, and what each may take."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Nothing is told to anybody else, and no processes wait for jobs of MLflow's own."""


def serve_ui(storage: str, port: int, experiment: str) -> None:
    """Serve the runs of a storage on 127.0.0.1 until interrupted, and print the address of an experiment's page.

    The server is one process, which has the time it needs to start. A storage without a database gets one.

    Args:
        storage: root of a local storage, which may have been moved.
        experiment: name of the experiment whose page is printed; created when missing.

    Raises:
        ValueError: the storage is remote or cannot be written, its database is damaged, the port is taken, or the
            server stopped by itself.
    """
    place = Storage(storage)
    if not place.is_local:
        raise ValueError(f"storage: no database lies at {place.root}: open the tracking server of its runs")
    place.make_ready()
    _require_free(port)
    root = place.scratch.absolute()
    database, artifacts = f"sqlite:///{root / 'mlflow.db'}", str(root / "mlartifacts")
    page = experiment_page(RunStore(database, experiment, artifacts).experiment_id)
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", database, "--default-artifact-root", artifacts),
        *("--artifacts-destination", artifacts),
        *("--uvicorn-opts", "--log-level=warning"),
    ]
    say(f"starting the browser of {root}")
    with environment(QUIET, unless_set=True), _running(command) as server:
        while not _answers(port):
            _require_alive(server)
            time.sleep(ASK_S)
        say_result(f"browse: http://{HOST}:{port}/{page}")
        server.wait()
        _require_alive(server)


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and with it all that it started, also where this one is told to end."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    process = subprocess.Popen(command, umask=0o077, process_group=0)  # noqa: S603 - our own
    try:
        yield process
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=ASK_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _require_alive(server: subprocess.Popen[bytes]) -> None:
    """
    Raises:
        ValueError: it has ended.
    """
    if server.poll() is not None:
        raise ValueError(f"MLflow's server stopped with status {server.returncode}: its own words stand above")


def _require_free(port: int) -> None:
    """
    Raises:
        ValueError: the port is taken.
    """
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise ValueError(f"port: {port} cannot be served on ({error}): choose another") from error
