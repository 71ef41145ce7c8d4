"""Records runs without ever holding up training: what is put is kept in a folder, and a thread sends what is kept."""

import functools
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from reid.config import without_passwords
from reid.storage import DiskFullError, LeaseLostError
from reid.tracking.database import DamagedDatabaseError, sqlite_file
from reid.tracking.load import LoadMonitor
from reid.tracking.outbox import Outbox
from reid.tracking.record import RunRecord
from reid.tracking.registry import MODEL_NAME, publish, require_alias
from reid.tracking.store import ParentMissingError, RunStore

logger = logging.getLogger(__name__)

NO_OUTAGE = (DamagedDatabaseError, DiskFullError)
"""What no waiting cures: said at once, and again as the job ends."""
UNREACHABLE = (MlflowException, RequestException, SQLAlchemyError, OSError)
REFUSED = range(400, 500)
"""HTTP's numbers for what the server will not take from anybody; the next record may be better."""

Outcome = Literal["sent", "busy", "unsent"]
"""Of an attempt to send: all of it, nothing as another process is at it, not all of it."""
PAUSE_S: dict[Outcome, float] = {"sent": 1.0, "busy": 1.0, "unsent": 30.0}
"""Until the next attempt: of what changes more often, only the last is sent; a server that is away is left alone."""
PATIENCE_S = 10.0
"""That the end of a job waits for another process to be done with sending."""


class Recorder:
    """Writes run records to MLflow, one process at a time.

    `put` only keeps a record; a thread sends what is kept, as long as there is something to send. Within a `with`, all
    that is kept is sent once more as that ends, and what is still unsent is said. What is kept outlives this process.

    The outbox holds one file for each run that MLflow lacks something of. What was kept for one server, experiment and
    storage is never sent to another. A recorder can be sent to another process; it connects there anew.

    Args:
        uri, experiment, artifacts: see `RunStore`.
        outbox: local folder for records that are not sent yet, of any server.
        storage: root of the storage that the records speak of.
    """

    def __init__(self, *, uri: str, experiment: str, artifacts: str | None, outbox: Path, storage: str) -> None:
        self._again = functools.partial(
            Recorder, uri=uri, experiment=experiment, artifacts=artifacts, outbox=outbox, storage=storage
        )
        self._uri = uri
        self.experiment = experiment
        self._artifacts = artifacts
        addressee = json.dumps([self.uri, experiment, storage])
        name = experiment.replace("/", "_")[:60]
        self._outbox = Outbox(outbox / f"{name}-{hashlib.sha256(addressee.encode()).hexdigest()[:12]}")
        self._store: RunStore | None = None
        self._away_at = 0.0
        self._said = ""
        self._thread: threading.Thread | None = None
        self._put, self._ending = False, threading.Event()
        self._state = threading.Lock()
        """Held for a moment by whoever changes `_thread` or `_put`."""
        self._load: LoadMonitor | None = None
        self._watched: RunRecord | None = None
        self._require: Callable[[], None] = lambda: None
        self._keeping = threading.Lock()
        """Held by whoever keeps a record, so that an older one of the watched run never follows a later one."""

    @property
    def uri(self) -> str:
        """The tracking server's address, fit to be shown."""
        return without_passwords(self._uri)

    def __reduce__(self) -> tuple[Callable[[], "Recorder"], tuple[()]]:
        return self._again, ()

    def __enter__(self) -> Self:
        """
        Raises:
            DamagedDatabaseError: the database file is damaged.
            DiskFullError: there is no room for it.
        """
        if sqlite_file(self._uri) is not None:  # to create it takes seconds, which a training should not share
            self._open_database()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Raises:
            DamagedDatabaseError, DiskFullError: as of `send`, where no other error ends the block.
        """
        ended = time.monotonic()
        self._ending.set()
        if thread := self._thread:
            thread.join()
        try:
            if self._away_at < ended:
                self.send(wait_s=PATIENCE_S)
        except NO_OUTAGE as trouble:
            if error is None:
                raise
            self._say(trouble)
        finally:
            self._ending.clear()
            if kept := self.kept():
                logger.warning(
                    "MLflow at %s lacks %d records, which wait in %s for the next job or jobs/flush.py",
                    *(self.uri, len(kept), self._outbox.folder),
                )

    def put(self, record: RunRecord) -> None:
        """Keep a record, to be sent from a thread of its own.

        Raises:
            DiskFullError: there is no room for it.
        """
        self._require()
        with self._keeping:
            if self._watched is not None and record.key == self._watched.key:
                self._watched = record
            self._keep(record)

    @contextmanager
    def watching(self, record: RunRecord, require: Callable[[], None] = lambda: None) -> Iterator[None]:
        """As long as the block lasts, the records of this run carry the load of this node, which is told by itself.

        Args:
            record: the run's latest.
            require: raises LeaseLostError where nothing may be kept any more.
        """
        self._watched, self._require = record, require
        try:
            with LoadMonitor(self._tell_load) as self._load:
                yield
        finally:
            self._watched, self._load, self._require = None, None, lambda: None

    def _tell_load(self) -> None:
        try:
            self._require()
            with self._keeping:
                if self._watched is not None:
                    self._keep(self._watched)
        except LeaseLostError:
            return  # whoever puts a record says it
        except DiskFullError as trouble:
            self._say(trouble)

    def _keep(self, record: RunRecord) -> None:
        if self._load is not None and record is self._watched:
            record = replace(record, measurements=(*record.measurements, *self._load.readings))
        self._outbox.keep(record)
        with self._state:
            self._put = True
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._send_what_is_put, name="mlflow", daemon=True)
                self._thread.start()

    def send(self, *, wait_s: float = 0.0) -> Outcome:
        """Send all that is kept, oldest first, with a warning when something could not be sent.

        Args:
            wait_s: seconds to wait for another process that is sending.

        Raises:
            DamagedDatabaseError: the database file is damaged.
            DiskFullError: there is no room for what MLflow is to hold.
        """
        with self._outbox.sending(wait_s) as mine:
            if not mine:
                return "busy"
            outcome: Outcome = "sent"
            if self._outbox.others_have_sent() and self._store is not None:
                self._store.ask_anew()
            for path in self.kept():
                record = self._outbox.read(path)
                if record is None:
                    continue
                try:
                    self._connected().sync(record)
                    self._outbox.drop(path, record)
                except (*UNREACHABLE, ParentMissingError) as error:
                    outcome = "unsent"
                    self._warn(error, "no record, it is kept in", path)
                    if not _is_of_one_record(error):
                        self._store = None  # what it knows of the server may be outdated when the server is back
                        self._away_at = time.monotonic()
                        break
            return outcome

    def publish(
        self, folder: Path, *, alias: str, place: str | None = None, name: str = MODEL_NAME, run_key: str | None = None
    ) -> str | None:
        """Register an exported descriptor, see `reid.tracking.registry.publish`; returns its version.

        None, with a warning, when MLflow is out of reach: the files stay, to be published another time.

        Args:
            place: where they lie if the folder is a copy of it.

        Raises:
            ValueError: the alias is not allowed, or the folder holds no export that passes the check.
            DamagedDatabaseError, DiskFullError: as of `send`.
        """
        require_alias(alias)
        began = time.monotonic()
        self.send(wait_s=PATIENCE_S)  # a model is linked to a run that is there
        if self._away_at > began:
            logger.warning("MLflow at %s took no model, it lies in %s", self.uri, place or folder)
            return None
        try:
            return publish(
                folder,
                uri=self._uri,
                experiment=self.experiment,
                artifacts=self._artifacts,
                run_key=run_key,
                name=name,
                alias=alias,
            )
        except UNREACHABLE as error:
            self._warn(error, "no model, it lies in", place or folder)
            return None

    def require_sound(self) -> None:
        """Try to open the database file, if that is what records go to and if there is one.

        Raises:
            DamagedDatabaseError: it is damaged.
        """
        file = sqlite_file(self._uri)
        if file is not None and file.exists():
            self._open_database()

    def kept(self) -> list[Path]:
        """Records not yet sent, parents before their children."""
        return self._outbox.kept()

    def damaged(self) -> list[Path]:
        """Files that held records, and can be sent no more."""
        return self._outbox.damaged()

    def _send_what_is_put(self) -> None:
        outcome: Outcome = "sent"
        while True:
            with self._state:
                if self._ending.is_set() or (outcome == "sent" and not self._put):
                    self._thread = None
                    return
                self._put = False
            try:
                outcome = self.send()
            except NO_OUTAGE as trouble:
                outcome = "unsent"
                self._say(trouble)
            self._ending.wait(PAUSE_S[outcome])

    def _open_database(self) -> None:
        try:
            self._connected()
        except UNREACHABLE as error:
            self._warn(error, "no record, they are kept in", self._outbox.folder)

    def _connected(self) -> RunStore:
        if self._store is None:
            self._store = RunStore(self._uri, self.experiment, self._artifacts)
        return self._store

    def _say(self, trouble: Exception) -> None:
        """Say what no waiting cures, once."""
        if str(trouble) != self._said:
            self._said = str(trouble)
            logger.error("%s", trouble)

    def _warn(self, error: Exception, what: str, where: str | Path) -> None:
        reason = without_passwords((str(error).splitlines() or [repr(error)])[0], self._uri)
        logger.warning("MLflow at %s took %s %s: %s", self.uri, what, where, reason)


def _is_of_one_record(error: Exception) -> bool:
    """Whether the server is there, and has something against this record alone."""
    return isinstance(error, ParentMissingError) or (
        isinstance(error, MlflowException) and error.get_http_status_code() in REFUSED  # type: ignore[no-untyped-call]
    )
