"""SQLite files as MLflow's database: created whole or not at all, followed where they are moved, damage and a full disk
told from an outage.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import sqlalchemy
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from reid.storage import DiskFullError, remove_leftovers, room_for, whole_file

ROOM = 10**6
"""Bytes that a new database and the records of a run take, more or less."""
CONNECT_S = 10
"""That a database may take to answer."""
_DAMAGE = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""Codes of what no waiting cures; SQLITE_ERROR is how tables appear that are not as MLflow makes them."""

_ARTIFACT_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow's tables say, by path from the root, what folder has the files of something."""


class DamagedDatabaseError(ValueError):
    """A database file that must be repaired or moved away; waiting does not help."""


def sqlite_file(uri: str) -> Path | None:
    """The file of an address such as `sqlite:////data/reid/mlflow.db`; none of any other."""
    if not uri.startswith("sqlite"):
        return None
    database = sqlalchemy.make_url(uri).database
    return Path(database) if database and not database.startswith((":", "file:")) else None


def create_missing(file: Path, artifacts: str | None) -> None:
    """Create MLflow's tables in a new file that only its owner can read, unless it is there.

    The file takes its name when all tables are there: MLflow cannot go on with a part of them.
    """
    if _is_there(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        remove_leftovers(file.parent)
        if _is_there(file):
            return
        with whole_file(file) as partial:
            partial.touch(mode=0o600)
            root = artifacts or str(file.parent / "mlartifacts")
            store = SqlAlchemyStore(f"sqlite:///{partial}", root)  # type: ignore[no-untyped-call]
            store.engine.dispose()


def follow_move(file: Path, artifacts: str) -> None:
    """Where a database was moved together with its artifacts, let it name them where they lie now.

    MLflow itself has no means for that. A database that does not lie beside `artifacts` stays as it is, and so does
    what names a folder that is still there.

    Raises:
        SQLAlchemyError: it cannot be opened.
    """
    here = Path(artifacts)
    if file.parent != here.parent:
        return
    engine = sqlalchemy.create_engine(f"sqlite:///{file}", poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        named = connection.execute(sqlalchemy.text("SELECT artifact_location FROM experiments")).scalars()
        roots = {root for name in named if name and (root := _root_in(name, here.name)) is not None}
        for root in (root for root in roots if root != here and not root.exists()):
            for table, column in _ARTIFACT_COLUMNS:
                connection.execute(
                    sqlalchemy.text(
                        f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1) "  # noqa: S608 - ours
                        f"WHERE {column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/'"
                    ),
                    {"old": str(root), "new": str(here)},
                )


def knock(uri: str) -> None:
    """Connect to a database once: MLflow itself would try for minutes.

    Raises:
        SQLAlchemyError: it cannot be opened.
    """
    limit = "timeout" if uri.startswith("sqlite") else "connect_timeout"
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool, connect_args={limit: CONNECT_S})
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))


@contextmanager
def no_outage(uri: str, *, opening: bool = False) -> Iterator[None]:
    """Says of a database file what no waiting cures.

    Args:
        opening: the block opens the database, so what MLflow itself finds wrong with a file is damage too.

    Raises:
        DamagedDatabaseError: what is done in the block fails because the database file is damaged.
        DiskFullError: it fails because there is no room beside the file.
    """
    file = sqlite_file(uri)
    try:
        with nullcontext() if file is None else room_for(file, ROOM):
            yield
    except DiskFullError:
        raise
    except Exception as error:
        reason = None if file is None else _damage(error, opening=opening)
        if reason is None:
            raise
        raise DamagedDatabaseError(
            f"{file} is damaged ({reason.splitlines()[0]}): put a sound copy in its place, or move it away to begin a "
            "new one"
        ) from error


def _is_there(file: Path) -> bool:
    return file.exists() and (not file.is_file() or file.stat().st_size > 0)  # SQLite takes an empty file for a new one


def _root_in(location: str, name: str) -> Path | None:
    """The folder of all artifacts, in the local path of an experiment's; none in an address."""
    path = Path(location)
    if not path.is_absolute():
        return None
    return next((folder for folder in (path, path.parent) if folder.name == name), None)


def _damage(error: Exception, *, opening: bool) -> str | None:
    """What is wrong with the file, if that is where an error comes from."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlite3.Error):
            return str(cause) if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _DAMAGE else None
        cause = cause.__cause__ or cause.__context__
    return str(error) if opening and isinstance(error, MlflowException) else None
