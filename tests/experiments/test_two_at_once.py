"""Jobs of several processes on one storage: the first of them, at the same moment."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reid.data import open_dataset
from reid.experiments.extraction import require_writable
from reid.storage import Place

ROOT = Path(__file__).parents[2]
PREPARING = """
import sys
from functools import partial
from reid import jobs
prepare_data = partial(jobs.prepare.main, standalone_mode=False)
settings = ["scaling.num_workers=0", "data.height=32", "data.width=16", f"storage={sys.argv[1]}"]
print("ready", flush=True)
sys.stdin.read()
prepare_data(["--preset", "smoke", *(part for setting in settings for part in ("--set", setting))])
"""


def at_once(script: str, argument: Path, count: int) -> list[tuple[int, str]]:
    """Exit status and output of processes that go on at the same moment, when all of them are ready."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, argument],
            env=os.environ | {"PYTHONPATH": str(ROOT / "platform")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    return [(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_first_jobs_render_and_prepare_everything_once(tmp_path: Path) -> None:
    ended = at_once(PREPARING, tmp_path / "storage", 2)
    assert [status for status, _ in ended] == [0, 0], ended
    printed = "".join(output for _, output in ended)
    for source in ("market1501", "coco"):
        assert printed.count(f"rendering {tmp_path}/storage/sources/embedded-2-smoke-0/{source}") == 1
    stores = [path for path in (tmp_path / "storage" / "stores").iterdir() if path.is_dir()]
    assert len(stores) == 2
    for store in stores:
        open_dataset(store, verify=True)
    assert not list(tmp_path.rglob("*.partial*"))


def test_whether_a_table_can_be_written_is_tried_by_many_at_once(
    in_processes: Callable[..., list[int]], tmp_path: Path
) -> None:
    def try_often(number: int) -> None:
        for _ in range(100):
            require_writable(Place(tmp_path / "tables" / "people.parquet"))

    assert in_processes(8, try_often) == [0] * 8
    assert list((tmp_path / "tables").iterdir()) == []
