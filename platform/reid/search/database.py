"""The database of an Optuna study: opened or created, and what it notes of its sweep."""

import os
import sqlite3
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from pydantic import BaseModel, Json, TypeAdapter
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError

from reid.cluster import require_lockable
from reid.config import (
    LAYOUTS,
    ConfigError,
    Count,
    Objective,
    RunConfig,
    require_file,
    with_settings,
    without_passwords,
)
from reid.search.optuna_internals import HEARTBEAT_S, STALE_S

DIRECTIONS: dict[Objective, Literal["maximize", "minimize"]] = {
    "mAP": "maximize",
    "descriptor_dim": "minimize",
    "images_per_second": "maximize",
}
LAYOUTS_ATTRIBUTE = "layouts"
_LAYOUTS = TypeAdapter(list[str])
SQLITE_HEAD = b"SQLite format 3\0"


class _Notes(BaseModel):
    """What `reid.search.study` notes of a trial, beside anything of the user's own."""

    settings: Json[dict[str, Any]] | None = None
    epochs: Count | None = None
    failure: str | None = None
    driver: dict[str, Any] | None = None


def study_address(config: RunConfig) -> str | None:
    """`search.study`, else `$REID_STUDY`, which no command line shows; none = neither is set."""
    return config.search.study or os.environ.get("REID_STUDY") or None


def open_study(address: str, name: str, objectives: Sequence[Objective]) -> optuna.Study:
    """Open a study, or create it.

    Args:
        address: any SQLAlchemy address; of PostgreSQL by psycopg, unless it names another driver.

    Raises:
        ConfigError: it cannot be opened or written, the driver is not installed, or it is a file that nodes must not
            share.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        url = make_url(address)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        options: dict[str, Any] = {}
        if url.get_backend_name() == "sqlite":
            file = _sqlite_file(url.database)
            require_lockable("search.study", Path(file), "set it or REID_STUDY to the address of a PostgreSQL database")
            options = {"creator": partial(_connect_sqlite, file)}
        study = _opened(url, options, name, objectives)
        _require_notes(study)
    except ConfigError:
        raise
    except ImportError as error:
        raise ConfigError(
            f"search.study: {without_passwords(address)} needs a driver that is not installed ({error}): for "
            "PostgreSQL, pip install 'reid[postgres]'"
        ) from error
    except Exception as error:  # Optuna asserts, and raises whatever rows of another version lead it to
        reason = without_passwords((str(error).splitlines() or [repr(error)])[0], address)
        raise ConfigError(
            f"search.study: {without_passwords(address)} cannot be opened and written ({reason}); give the SQLAlchemy "
            "address of a database of yours, such as sqlite:////data/study.db"
        ) from error
    return study


MADE_ALREADY = ("already exists", "UNIQUE constraint", "duplicate key")
"""What SQLite and PostgreSQL say of a table or a row of a new database that another process has made."""


def _opened(
    url: URL, options: dict[str, Any], name: str, objectives: Sequence[Objective], attempts: int = 20
) -> optuna.Study:
    """Optuna creates its tables one after another, and fails where another driver creates one at the same moment."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = optuna.create_study(
                storage=optuna.storages.RDBStorage(
                    url.render_as_string(hide_password=False),
                    engine_kwargs=options,
                    heartbeat_interval=HEARTBEAT_S,
                    grace_period=STALE_S,
                ),
                study_name=name,
                directions=[DIRECTIONS[objective] for objective in objectives],
                load_if_exists=True,
            )
            study.set_metric_names(list(objectives))
        return study
    except DBAPIError as error:
        if attempts == 0 or not any(text in str(error) for text in MADE_ALREADY):
            raise
    return _opened(url, options, name, objectives, attempts - 1)


def with_layouts_of(study: optuna.Study, config: RunConfig) -> RunConfig:
    """The configuration with `search.layouts` as they were when the study began, which notes them now if it begins.

    Of a study of reid 0.1.0, which noted none, they are what its trials chose from.
    """
    drawn = [trial.distributions["layout"] for trial in study.get_trials() if "layout" in trial.distributions]
    chosen = drawn[0].choices if drawn and isinstance(drawn[0], CategoricalDistribution) else ()
    chosen = chosen if set(chosen) <= LAYOUTS.keys() else ()  # a space of the user's own may mean something else
    noted = study.user_attrs.get(LAYOUTS_ATTRIBUTE) or chosen or config.search.layouts or tuple(LAYOUTS)
    if LAYOUTS_ATTRIBUTE not in study.user_attrs:
        study.set_user_attr(LAYOUTS_ATTRIBUTE, list(noted))
    return with_settings(config, {"search.layouts": list(noted)})


def _require_notes(study: optuna.Study) -> None:
    """Raise whatever comes of it unless all that the study says can be read."""
    for trial in study.get_trials():
        _Notes.model_validate(trial.user_attrs)
    _LAYOUTS.validate_python(study.user_attrs.get(LAYOUTS_ATTRIBUTE, []))


def _sqlite_file(file: str | None) -> str:
    """The database's file, which may be yet to be made.

    Raises:
        OSError: there is something else in the place of the database, which SQLite would wait for or write over.
    """
    if not file or file == ":memory:":
        raise OSError("it would be gone with this process")
    if os.path.lexists(file):
        require_file(file)
        with open(file, "rb") as stream:
            head = stream.read(len(SQLITE_HEAD))
        if head and head != SQLITE_HEAD:
            raise OSError("the file is not a database")
    return file


def _connect_sqlite(file: str) -> sqlite3.Connection:
    """A connection whose commits do not wait for the disk: what is committed survives any process, if not the node."""
    connection = sqlite3.connect(file, timeout=60, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
