"""Local files and folders that are there whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock

PARTIAL = ".partial"
"""Suffix of what is still being written, or was when its process was killed."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write to that takes the name `path` when the block ends well, and is removed when it does not."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        yield partial
        if partial.exists():
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_folder(path: Path, *, replace: bool = False, lock: bool = True) -> Iterator[Path]:
    """An empty folder that takes the name `path` when the block ends well, and is removed when it does not.

    One process at a time writes to a place; what a killed one has left is removed.

    Args:
        replace: take the place of a folder that is there already.
        lock: leave out where nobody else can write to that place.

    Raises:
        FileExistsError: there is one, and it is not to be replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{PARTIAL}")
    with FileLock(path.with_name(".writing.lock")) if lock else nullcontext():
        if path.exists() and not replace:
            raise FileExistsError(f"{path} exists already: remove it, or choose another place")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            if path.exists():
                shutil.rmtree(path)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
