"""Full disks: what notices them, what is said of them, and what is left."""

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError
from ray.train import WorkerGroupError

from reid.storage import DiskFullError, disk_full, room_for

SCRIPT = Path(__file__).with_name("full_disk.py")
FULL = OSError(errno.ENOSPC, "No space left on device")


def test_every_way_of_writing_says_where_and_how_much_and_leaves_nothing(
    on_a_small_disk: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes(800_000))
    printed = on_a_small_disk(SCRIPT, 64, tmp_path / "large")
    ways = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert len(ways) == 8, printed
    for way in ways:
        assert re.fullmatch(
            rf"the disk of {tmp_path}/disk/place is full \(it takes about 800 kB in all, [\d.]+ (kB|bytes) are free\): "
            "make room there, or choose another place, and give the same command again",
            way["said"],
        ), way
        assert way["left"] == [], way
        assert way["again"] == "written", way


def test_an_error_is_traced_to_its_cause(tmp_path: Path) -> None:
    of_a_task = RayTaskError("write", "traceback", FULL).as_instanceof_cause()
    of_workers = WorkerGroupError("rank 1 failed", {1: FULL})
    wrapped = ValueError("cannot be written")
    wrapped.__cause__ = FULL
    quota = OSError(errno.EDQUOT, "Disk quota exceeded")
    of_text = RuntimeError("OSError: No space left on device")
    for error in (FULL, quota, wrapped, of_a_task, of_workers, of_text):
        found = disk_full(error, tmp_path / "store" / "not" / "there", 2_500_000_000)
        assert str(found).startswith(f"the disk of {tmp_path}/store/not/there is full (it takes about 2.5 GB in all, ")
    assert disk_full(OSError(errno.EACCES, "Permission denied"), tmp_path) is None
    assert "is full (it is elsewhere): make room" in str(disk_full(FULL, "s3://bucket/reid"))


def test_the_innermost_knows_best(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFullError, match=f"{tmp_path}/inner is full .it takes about 10 bytes in all"),
        room_for(tmp_path / "outer", 20),
        room_for(tmp_path / "inner", 10),
    ):
        raise FULL


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^something else$"), room_for(tmp_path):
        raise ValueError("something else")
