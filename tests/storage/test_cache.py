"""The bound of what a node keeps: the least recently used goes first, and nothing that a living process uses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reid.storage import Cache
from reid.storage import cache as module

KINDS = ("copies", "maps")
USE = """
import sys
from pathlib import Path
from reid.storage import Cache
Cache(Path(sys.argv[1]), 0, ("copies", "maps")).use("maps", "read")
print("used", flush=True)
sys.stdin.read()
"""


def cache_of(folder: Path, limit: int) -> Cache:
    return Cache(folder, limit, KINDS)


def fill(folder: Path, kind: str, name: str, size: int) -> None:
    entry = cache_of(folder, 0).use(kind, name)
    (entry / "inner").mkdir(parents=True)
    (entry / "inner" / "file").write_bytes(bytes(size))


def age(folder: Path, *names: str) -> None:
    """The first was used longest ago."""
    for order, name in enumerate(names):
        (lock,) = folder.glob(f"*/.{name}.lock")
        os.utime(lock, (1000 + order, 1000 + order))


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process used, it uses no more, as if it had ended."""
    monkeypatch.setattr(module, "_held", {})


def end_use(folder: Path) -> None:
    for lock in [lock for lock in module._held if lock.is_relative_to(folder)]:
        os.close(module._held.pop(lock))


@pytest.fixture
def full(tmp_path: Path, forgotten: None) -> Path:
    """Four entries of 100 bytes, `c` used longest ago, then `a`, `d`, `b`."""
    for kind, name in (("copies", "a"), ("maps", "b"), ("copies", "c"), ("maps", "d")):
        fill(tmp_path, kind, name, 100)
    end_use(tmp_path)
    age(tmp_path, "c", "a", "d", "b")
    return tmp_path


def left(folder: Path) -> set[str]:
    return {path.name for kind in KINDS for path in (folder / kind).iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize(
    ("limit", "needed", "expected"),
    [(400, 0, "abcd"), (399, 0, "abd"), (400, 150, "bd"), (100, 0, "b"), (0, 0, ""), (50, 1000, "")],
)
def test_what_was_not_used_for_longest_goes_first(full: Path, limit: int, needed: int, expected: str) -> None:
    cache_of(full, limit).make_room(needed)
    assert left(full) == set(expected)


def test_use_makes_it_the_last_to_go(full: Path) -> None:
    cache_of(full, 400).use("copies", "c")
    end_use(full)
    cache_of(full, 100).make_room()
    assert left(full) == {"c"}


def test_what_a_living_process_uses_stays_and_what_a_killed_one_used_does_not(full: Path) -> None:
    fill(full, "maps", "read", 100)
    end_use(full)
    age(full, "read", "c", "a", "d", "b")
    path = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "platform")}
    with subprocess.Popen(
        [sys.executable, "-c", USE, str(full)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=path
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "used\n"
        age(full, "read", "c", "a", "d", "b")
        cache_of(full, 150).make_room()
        assert left(full) == {"read"}
        reader.kill()
        reader.wait()
        cache_of(full, 50).make_room()
        assert left(full) == set()


def test_it_is_said_what_was_removed(full: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache_of(full, 300).make_room()
    assert caplog.messages == [f"removed {full}/copies/c, 100 bytes that were not used for longest: see cache_gb"]
