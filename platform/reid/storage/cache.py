"""What a node keeps that can be had again: within a bound, the least recently used goes first."""

import fcntl
import logging
import os
from pathlib import Path

from reid.storage.room import shown
from reid.storage.writing import remove_whole

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""Suffix of an entry's lock file, which stays; its time is when the entry was last used."""
_held: dict[Path, int] = {}
"""Lock files, open as long as this process lives: the system frees them with it, however it ends."""


class Cache:
    """Folders by kind and name, each of which can be copied or computed again.

    Processes share the entries that they use, and nobody removes what another one uses.

    Args:
        folder: of the cache, shared by all processes of a node.
        limit: most that all entries of all kinds take together, in bytes.
        kinds: folders of the entries.
    """

    def __init__(self, folder: Path, limit: float, kinds: tuple[str, ...]) -> None:
        self.folder, self._limit, self._kinds = folder, limit, kinds

    def use(self, kind: str, name: str) -> Path:
        """The folder of an entry, there or still to be made, which stays as long as this process lives."""
        assert kind in self._kinds
        folder = self.folder / kind / name
        lock = _lock_of(folder)
        if lock not in _held:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            _held[lock] = descriptor
        os.utime(lock)
        return folder

    def make_room(self, needed: int = 0) -> None:
        """Remove what was not used for longest and nobody uses, until so many bytes more are within the limit."""
        entries = [path for kind in self._kinds for path in (self.folder / kind).glob("[!.]*") if path.is_dir()]
        sizes = {entry: _size(entry) for entry in entries}
        excess = sum(sizes.values()) + needed - self._limit
        for entry in sorted(entries, key=_last_used):
            if excess > 0 and _remove_unused(entry, shown(sizes[entry])):
                excess -= sizes[entry]


def _lock_of(entry: Path) -> Path:
    return entry.with_name(f".{entry.name}{LOCK}")


def _last_used(entry: Path) -> float:
    lock = _lock_of(entry)
    return lock.stat().st_mtime if lock.exists() else 0.0


def _size(folder: Path) -> int:
    """Bytes of all files, without those that are gone meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _remove_unused(entry: Path, size: str) -> bool:
    """Whether it is gone, by this process or another one."""
    descriptor = os.open(_lock_of(entry), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if entry.exists():
            remove_whole(entry)
            logger.warning("removed %s, %s that were not used for longest: see cache_gb", entry, size)
    except BlockingIOError:  # somebody uses it
        return False
    finally:
        os.close(descriptor)
    return True
