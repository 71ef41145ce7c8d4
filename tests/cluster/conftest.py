"""Programs that start a cluster of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PLATFORM = Path(__file__).parents[2] / "platform"


@pytest.fixture
def run_program(tmp_path: Path) -> Callable[[str], str]:
    """Runs a Python program, whose argument is the test's folder, to its good end; returns what it has printed."""

    def run_program(text: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        outcome = subprocess.run(
            [sys.executable, "-c", text, str(tmp_path)],
            env=environment | {"PYTHONPATH": str(PLATFORM), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout

    return run_program
