"""Records runs without ever holding up training: what cannot be sent now is kept in a folder and sent later."""

import hashlib
import json
import logging
import time
from pathlib import Path

from filelock import FileLock
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from reid.config import without_passwords
from reid.storage import write_whole
from reid.tracking.record import RunRecord
from reid.tracking.registry import MODEL_NAME, publish, require_alias
from reid.tracking.store import RunStore

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 30
UNREACHABLE = (MlflowException, RequestException, SQLAlchemyError, OSError)


class Recorder:
    """Writes run records to MLflow, one process at a time.

    A record states the whole of its run, so the outbox holds one file per run that MLflow lacks something of. What was
    kept for one server, experiment and storage is never sent to another.
    A recorder can be sent to another process; it connects there anew.

    Args:
        uri, experiment, artifacts: see `RunStore`.
        outbox: local folder for records that could not be sent, of any server.
        storage: root of the storage that the records speak of.
    """

    def __init__(self, *, uri: str, experiment: str, artifacts: str | None, outbox: Path, storage: str) -> None:
        self._uri = uri
        self.experiment = experiment
        self._artifacts = artifacts
        addressee = json.dumps([self.uri, experiment, storage])
        self._outbox = outbox / f"{experiment}-{hashlib.sha256(addressee.encode()).hexdigest()[:12]}"
        self._store: RunStore | None = None
        self._retry_at = 0.0

    @property
    def uri(self) -> str:
        """The tracking server's address, fit to be shown."""
        return without_passwords(self._uri)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_store": None, "_retry_at": 0.0}

    def put(self, record: RunRecord) -> None:
        """Keep a record, and send it together with all kept before, unless the server was away a moment ago."""
        self.keep(record)
        if time.monotonic() >= self._retry_at:
            self.send()

    def send(self) -> bool:
        """Send all that is kept, oldest first; False, with a warning, when something could not be sent."""
        self._outbox.mkdir(parents=True, exist_ok=True)
        with FileLock(self._outbox / ".lock"):
            for path in self.kept():
                try:
                    if self._store is None:
                        self._store = RunStore(self._uri, self.experiment, self._artifacts)
                    record = path.read_text()
                    self._store.sync(RunRecord.from_json(json.loads(record)))
                except UNREACHABLE as error:
                    self._store = None  # what it knows of the server may be outdated when the server is back
                    self._retry_at = time.monotonic() + RETRY_AFTER_S
                    self._warn(error, "no record, it is kept in", self._outbox)
                    return False
                with self._writing():
                    if path.read_text() == record:  # else another process has put a later one meanwhile
                        path.unlink()
        return True

    def publish(self, folder: Path, *, alias: str, name: str = MODEL_NAME, run_key: str | None = None) -> str | None:
        """Register an exported descriptor, see `reid.tracking.registry.publish`; returns its version.

        None, with a warning, when MLflow is out of reach: the folder stays, to be published another time.

        Raises:
            ValueError: the alias is not allowed, or the folder holds no export that passes the check.
        """
        require_alias(alias)
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
            self._warn(error, "no model, it lies in", folder)
            return None

    def kept(self) -> list[Path]:
        """Records not yet sent, parents before their children."""
        return sorted(self._outbox.glob("*.json"), key=lambda path: path.stem)

    def keep(self, record: RunRecord) -> None:
        """Keep a record, to be sent with the next `send`."""
        self._outbox.mkdir(parents=True, exist_ok=True)
        with self._writing():
            write_whole(self._outbox / f"{record.key}.json", json.dumps(record.to_json()))

    def _warn(self, error: Exception, what: str, where: Path) -> None:
        reason = without_passwords((str(error).splitlines() or [repr(error)])[0])
        logger.warning("MLflow at %s took %s %s: %s", self.uri, what, where, reason)

    def _writing(self) -> FileLock:
        """Held for a moment by whoever changes the outbox; sending, which may take long, has a lock of its own."""
        return FileLock(self._outbox / ".writing")
