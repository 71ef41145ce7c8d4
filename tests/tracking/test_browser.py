"""Serving MLflow's browser: by one server that ends with its caller, also of a storage that was moved."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from reid.tracking import Recorder, RunRecord, serve_ui

SCRIPT = "import sys; from reid.tracking import serve_ui; serve_ui(sys.argv[1], int(sys.argv[2]), sys.argv[3])"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def served(storage: Path, port: int) -> Iterator[tuple[psutil.Process, str]]:
    """The process that serves, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(storage), str(port), "reid"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "platform")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = next((line for line in process.stdout if line.startswith("browse: ")), "")
        yield psutil.Process(process.pid), address.removeprefix("browse: ").strip()
    finally:
        process.terminate()
        process.wait(60)


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - http
        content: bytes = answer.read()
        return content


@pytest.mark.cluster
def test_a_moved_storage_is_served_on_loopback_until_the_caller_ends(
    parent: RunRecord, phase: RunRecord, tmp_path: Path
) -> None:
    before, after, port = tmp_path / "before", tmp_path / "after", free_port()
    with Recorder(
        uri=f"sqlite:///{before}/mlflow.db", experiment="reid", artifacts=f"{before}/mlartifacts",
        outbox=before / "outbox", storage=str(before),
    ) as runs:  # fmt: skip
        runs.put(parent)
        runs.put(phase)
    before.rename(after)
    with served(after, port) as (process, address):
        match = re.fullmatch(
            rf"http://127\.0\.0\.1:{port}/#/experiments/(\d+)/runs\?workflowType=machine_learning&viewStateShareKey=reid",
            address,
        )
        assert match is not None, address
        client = MlflowClient(tracking_uri=f"http://127.0.0.1:{port}")
        (run,) = client.search_runs([match[1]], "attributes.run_name = 'final'")
        where = urllib.parse.urlencode({"path": "pictures/cmc.png", "run_uuid": run.info.run_id})
        assert get(f"http://127.0.0.1:{port}/get-artifact?{where}") == b"png"
        family = process.children(recursive=True)
        listening = [c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening == ["127.0.0.1"]
        process.send_signal(signal.SIGTERM)
        assert psutil.wait_procs([process, *family], timeout=60)[1] == []


def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port: {port} cannot be served on .*: choose another"):
            serve_ui(str(tmp_path), port, "reid")


def test_a_remote_storage_has_no_database_to_serve() -> None:
    with pytest.raises(ValueError, match="storage: no database lies at s3://bucket/reid: open the tracking server"):
        serve_ui("s3://bucket/reid", 5000, "reid")
