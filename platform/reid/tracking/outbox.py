"""Records that MLflow has not got yet, one file for each run, in a folder that all processes of a node share."""

import dataclasses
import json
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from reid.storage import room_for, write_whole
from reid.tracking.record import RunRecord

logger = logging.getLogger(__name__)

DAMAGED = ".damaged"
"""Suffix of a file that holds no record any more."""


class Outbox:
    """A folder of records, with a lock for whoever sends, held for long, and one for whoever changes a file.

    Only its owner can look into it, as into the database that the records are for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._name = uuid.uuid4().hex
        """As the one who sent last."""

    def keep(self, record: RunRecord) -> None:
        """Keep a record, in the place of an earlier one of its run, but see `RunRecord.after`.

        Raises:
            DiskFullError: there is no room for it.
        """
        record = dataclasses.replace(record, time=time.time())
        path = self.folder / f"{record.key}.json"
        with room_for(self.folder, len(_text_of(record))):
            self._create()
            with self._writing():
                earlier = self._record_in(path) if path.exists() else None
                write_whole(path, _text_of(record.after(earlier) if earlier else record))

    def kept(self) -> list[Path]:
        """Records not yet sent, parents before their children."""
        return sorted(self.folder.glob("*.json"), key=lambda path: path.stem)

    def damaged(self) -> list[Path]:
        """Files that hold no record any more."""
        return sorted(self.folder.glob(f"*{DAMAGED}"))

    def read(self, path: Path) -> RunRecord | None:
        """A kept record; none where another process has sent it, or where the file is damaged and was put aside."""
        with self._writing():
            return self._record_in(path) if path.exists() else None

    def drop(self, path: Path, sent: RunRecord) -> None:
        """Remove a record that was sent, unless a later one has taken its place meanwhile."""
        with self._writing():
            now = self._record_in(path) if path.exists() else None
            if now is not None and _text_of(now) == _text_of(sent):
                path.unlink()

    @contextmanager
    def sending(self, wait_s: float) -> Iterator[bool]:
        """Held by the one process that sends; False where another one still does after so many seconds."""
        self._create()
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=wait_s)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def others_have_sent(self) -> bool:
        """Whether somebody else has sent since this was asked last; for whoever sends."""
        last = self.folder / ".last"
        if last.exists() and last.read_text() == self._name:
            return False
        write_whole(last, self._name)
        return True

    def _record_in(self, path: Path) -> RunRecord | None:
        try:
            return RunRecord.from_json(json.loads(path.read_bytes()))
        except ValueError as error:
            aside = path.with_suffix(DAMAGED)
            write_whole(aside, path.read_bytes())
            path.unlink()
            logger.warning("%s holds no run record: it is now %s, and MLflow goes without it (%r)", path, aside, error)
            return None

    def _create(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _writing(self) -> FileLock:
        return FileLock(self.folder / ".writing")


def _text_of(record: RunRecord) -> str:
    return json.dumps(record.to_json())
