"""Local files and folders that are there whole or not at all, and what is left of those that a kill cut off.

What is being written has a name of its own beside the place it is meant for, and a lock file that its process holds:
the system frees a lock whenever a process ends, so what is not locked belongs to no living one.
"""

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PARTIAL = ".partial"
"""Suffix of what is still being written, or was when its process was killed."""
_PARTIAL_NAME = re.compile(rf"\..+\.[0-9a-f]{{32}}{re.escape(PARTIAL)}")
"""What the names of all that belongs to it begin with: its lock file, or a journal of SQLite's, has a suffix more."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write to that takes the name `path` when the block ends well, and is removed when it does not.

    The folders that it lies in are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path) as partial:
        yield partial
        if partial.exists():
            os.replace(partial, path)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, and the folders that it lies in."""
    with whole_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_folder(path: Path, *, replace: bool = False, lock: bool = True) -> Iterator[Path]:
    """An empty folder that takes the name `path` when the block ends well, and is removed when it does not.

    One process at a time writes to a place; what killed ones have left beside it is removed.

    Args:
        replace: take the place of a folder that is there already.
        lock: leave out where nobody else can write to that place.

    Raises:
        FileExistsError: there is one, and it is not to be replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(".writing.lock")) if lock else nullcontext():
        if path.exists() and not replace:
            raise FileExistsError(f"{path} exists already: remove it, or choose another place")
        remove_leftovers(path.parent)
        with _partial(path) as partial:
            partial.mkdir()
            yield partial
            if path.exists():
                remove_whole(path)
            partial.rename(path)


def remove_whole(folder: Path) -> None:
    """Remove a folder in such a way that no part of it is ever taken for all of it."""
    with _partial(folder) as partial:
        folder.rename(partial)


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """An empty folder on this node's disk, removed when the block ends; those of killed processes are removed first."""
    root = Path(tempfile.gettempdir())
    remove_leftovers(root)
    with _partial(root / f"reid-{purpose}") as folder:
        folder.mkdir(mode=0o700)
        yield folder


def remove_leftovers(folder: Path) -> None:
    """Remove what processes were writing in a folder when they were killed.

    What a living process writes stays, and so does what another user's has left.
    """
    with suppress(FileNotFoundError, PermissionError):
        names = os.listdir(folder)
        for partial in {match.group() for name in names if (match := _PARTIAL_NAME.match(name))}:
            with suppress(Timeout, FileNotFoundError, PermissionError), FileLock(_lock_of(folder / partial), timeout=0):
                for name in names:
                    if name.startswith(partial):
                        _remove(folder / name)
                _remove(_lock_of(folder / partial))


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """A name beside `path`, and ours as long as the block lasts; whatever has it then is removed."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    with FileLock(_lock_of(partial)):
        try:
            yield partial
        finally:
            _remove(partial)
            _remove(_lock_of(partial))


def _lock_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.lock")


def _remove(path: Path) -> None:
    """Remove a file or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
