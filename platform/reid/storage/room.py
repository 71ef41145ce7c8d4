"""Full disks as one clear error, whatever noticed it: Python, Arrow, torch, SQLite, or a process on the cluster."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reid.storage.place import Place

_CODES = {errno.ENOSPC, errno.EDQUOT}
_TEXTS = (*(os.strerror(code) for code in sorted(_CODES)), "database or disk is full")
"""How those say it that give no code."""
_UNITS = {"GB": 10**9, "MB": 10**6, "kB": 10**3}


class DiskFullError(ValueError):
    """There is no room for what was to be written; where there is, the same command goes on."""


@contextmanager
def room_for(place: str | Path, needed: int | None = None) -> Iterator[None]:
    """Says of a full disk, if that is what an error in the block comes from, where it is and how much is needed.

    Args:
        place: what is written in the block.
        needed: its size in bytes, more or less; none = not known.

    Raises:
        DiskFullError: the block fails as the disk is full.
    """
    try:
        yield
    except Exception as error:
        full = disk_full(error, place, needed)
        if full is None or full is error:
            raise
        raise full from error


def disk_full(error: Exception, place: str | Path, needed: int | None = None) -> DiskFullError | None:
    """An error said clearly, if it comes from a full disk; see `room_for`."""
    for cause in _causes(error):
        if type(cause) is DiskFullError:  # Ray's of that name say more
            return cause
        if _is_of_a_full_disk(cause):
            return DiskFullError(_message(Place(place), needed))
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and all that led to it, also in other processes, the innermost last."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            yield cause
            waiting += [cause.__cause__, cause.__context__]
            waiting += [getattr(cause, "cause", None), *getattr(cause, "worker_failures", {}).values()]  # Ray's


def _is_of_a_full_disk(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return getattr(error, "errno", None) in _CODES or any(text in str(error) for text in _TEXTS)


def _message(place: Place, needed: int | None) -> str:
    free = _free(place)
    amounts = [] if needed is None else [f"it takes about {shown(needed)} in all"]
    amounts += [] if free is None else [f"{shown(free)} are free"]
    return (
        f"the disk of {place} is full ({', '.join(amounts) or 'it is elsewhere'}): make room there, or choose another "
        "place, and give the same command again"
    )


def _free(place: Place) -> int | None:
    """Bytes that are free where a place is to be; none if it is not on this node."""
    if not place.is_local:
        return None
    path = Path(place).absolute()
    return shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.exists())).free


def shown(size: int) -> str:
    """Bytes, for people to read."""
    unit, factor = next(((unit, factor) for unit, factor in _UNITS.items() if size >= factor), ("bytes", 1))
    return f"{size / factor:.3g} {unit}"
