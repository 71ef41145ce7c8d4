"""Safety of the whole session: one thread, no writing outside a temporary folder, no process left behind."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import psutil
import pytest

SESSION = "REID_TEST_SESSION"
"""Environment variable that every process started by a test inherits, also one that left our process tree."""


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    os.environ[SESSION] = str(os.getpid())
    yield
    left = [process for process in psutil.process_iter() if _is_ours(process)]
    _, alive = psutil.wait_procs(left, timeout=5)
    if alive:
        commands = [" ".join(process.cmdline())[:120] for process in alive]
        pytest.fail("the tests left processes running:\n" + "\n".join(commands), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def _session_storage(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["REID_STORAGE"] = str(tmp_path_factory.mktemp("storage"))


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `$REID_STORAGE` for one test."""
    folder = tmp_path / "storage"
    monkeypatch.setenv("REID_STORAGE", str(folder))
    return folder


def _is_ours(process: psutil.Process) -> bool:
    try:
        return (
            process.pid != os.getpid()
            and process.environ().get(SESSION) == os.environ[SESSION]
            and "multiprocessing.resource_tracker" not in " ".join(process.cmdline())  # ends with the interpreter
        )
    except psutil.Error:  # ended meanwhile, or another user's
        return False
