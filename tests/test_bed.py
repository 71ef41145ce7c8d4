"""The bed of several nodes: what its machines share, and that nothing of them is left."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from bed import Bed
from bed.machine import refused

HERE = Path(__file__).parent
LOOK = """
import os, socket, sys
print(os.path.exists(sys.argv[1]), socket.gethostname(), socket.gethostbyname(socket.gethostname()))
"""
SERVE = "import socket, sys; s = socket.create_server((sys.argv[1], 8000)); [s.accept() for _ in iter(int, 1)]"
ASK = "import socket, sys; socket.create_connection((sys.argv[1], 8000), timeout=2)"
WAIT = """
import socket, sys, time
for _ in range(100):
    try:
        socket.create_connection((sys.argv[1], 8000), timeout=2)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
else:
    sys.exit("nobody answered")
"""
STARTED = """
import sys, time
from pathlib import Path
from bed import Bed
with Bed(folder=Path(sys.argv[1]), why_loopback=sys.argv[2] or None) as bed:
    bed.add("a")
    bed.start("a", "sleep", "1000", log=bed.folder / "log")
    time.sleep(0.5)
    print(*[process.pid for name in bed.machines for process in bed.machines[name].processes()], flush=True)
    time.sleep(1000)
"""

pytestmark = pytest.mark.nodes
LOOPBACK = "as if namespaces were refused"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of a bed that has no chance to remove it."""
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        yield Path(folder)


@pytest.fixture(params=[None, LOOPBACK], ids=["namespaces", "loopback"])
def why_loopback(request: pytest.FixtureRequest) -> str | None:
    if request.param is None and (refusal := refused()) is not None:
        pytest.skip(f"namespaces are refused here, and the bed does without: {refusal}")
    why: str | None = request.param
    return why


def test_machines_have_names_and_files_of_their_own_and_hear_each_other(why_loopback: str | None) -> None:
    with Bed(why_loopback=why_loopback) as bed:
        machines = [bed.add(name) for name in ("a", "b")]
        address = machines[0].address
        server = bed.start("a", sys.executable, "-c", SERVE, address, log=bed.folder / "a" / "log")
        bed.run("b", sys.executable, "-c", WAIT, address)
        assert server.poll() is None
        if why_loopback is None:
            bed.run("a", "touch", "/dev/shm/mine", bed.shared / "mine")  # noqa: S108 - the machine's own
            for path in ("/dev/shm/mine", bed.shared / "mine"):  # noqa: S108
                assert bed.run("a", sys.executable, "-c", LOOK, path).split() == ["True", "a", "127.0.1.1"]
                assert bed.run("b", sys.executable, "-c", LOOK, path).split() == ["False", "b", "127.0.1.1"]
        bed.switch_off("a")
        assert server.poll() is not None
        with pytest.raises(AssertionError, match=r"(?s)Traceback.*socket"):
            bed.run("b", sys.executable, "-c", ASK, address)
    assert not bed.folder.exists()


def test_nothing_outlives_who_started_it(folder: Path, why_loopback: str | None) -> None:
    command = [sys.executable, "-c", STARTED, str(folder), why_loopback or ""]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        numbers = [int(text) for text in starter.stdout.readline().split()]
        started = [psutil.Process(number) for number in numbers]
        assert any("sleep 1000" in " ".join(process.cmdline()) for process in started)
        starter.kill()
    assert psutil.wait_procs(started, timeout=10)[1] == []
