"""Trials, and other trainings that run at once, follow a cluster that grows."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_a_node_that_joins_gets_trials_and_trainings() -> None:
    folder = Path(tempfile.mkdtemp(prefix="r"))  # short: it holds Unix sockets
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    root = Path(__file__).parents[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        ended = subprocess.run(
            [sys.executable, Path(__file__).with_name("growing.py"), folder, str(port)],
            env=environment | {"PYTHONPATH": str(root / "platform"), "HOME": str(folder)} | token,
            capture_output=True,
            text=True,
            timeout=280,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found == {"trial": [1, 2], "training": [2, 3]}, ended.stderr
