"""A study in PostgreSQL, by a real server."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL

import pytest
import sqlalchemy

from reid.config import ConfigError, load_config
from reid.search import open_study, study_address

SECRET = "s3cr et/@:"  # noqa: S105 - of this test alone
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
"""That the server runs as: it refuses root."""


def as_user(*command: object) -> list[str]:
    return [*(("runuser", "-u", USER, "--") if os.getuid() == 0 else ()), *map(str, command)]


@pytest.fixture(scope="module")
def server() -> Iterator[sqlalchemy.URL]:
    """A server of our own that asks for a password, on loopback."""
    if not BINARIES:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, USER)
        (folder / "password").write_text(SECRET)
        (folder / "password").chmod(0o644)
        authentication = ("--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--username=reid")
        data, bin_ = folder / "data", BINARIES[-1]
        subprocess.run(
            as_user(bin_ / "initdb", "--no-sync", f"--pgdata={data}", *authentication),
            check=True,
            stdout=DEVNULL,
        )
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        settings = ("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off")
        process = subprocess.Popen(
            as_user(bin_ / "postgres", "-D", data, "-p", port, *settings),
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        url = sqlalchemy.URL.create(
            "postgresql", username="reid", password=SECRET, host="127.0.0.1", port=port, database="postgres"
        )
        try:
            _wait_for(url)
            yield url
        finally:
            subprocess.run(as_user(bin_ / "pg_ctl", "stop", "-D", data, "-m", "immediate"), check=True, stdout=DEVNULL)
            process.wait(30)
    finally:
        shutil.rmtree(folder)


def _wait_for(url: sqlalchemy.URL) -> None:
    engine = sqlalchemy.create_engine(url.set(drivername="postgresql+psycopg"), poolclass=sqlalchemy.NullPool)
    deadline = time.monotonic() + 60
    while True:
        try:
            engine.connect().close()
        except sqlalchemy.exc.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return


@pytest.mark.cluster
def test_a_study_is_kept_and_found_again(server: sqlalchemy.URL, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(preset="smoke")
    assert study_address(config) is None
    monkeypatch.setenv("REID_STUDY", server.render_as_string(hide_password=False))
    address = study_address(config)
    assert address is not None
    study = open_study(address, "walk", ["mAP"])
    study.enqueue_trial({"a": 0.5})
    trial = study.ask()
    study.tell(trial, 0.25)
    assert [trial.value for trial in open_study(address, "walk", ["mAP"]).get_trials()] == [0.25]


@pytest.mark.cluster
def test_a_wrong_password_is_one_error_that_does_not_show_it(server: sqlalchemy.URL) -> None:
    wrong = server.set(password=SECRET[::-1]).render_as_string(hide_password=False)
    with pytest.raises(ConfigError, match=r"search\.study: postgresql://reid:\*\*\*@127\.0\.0\.1") as caught:
        open_study(wrong, "walk", ["mAP"])
    assert SECRET[::-1] not in str(caught.value)


def test_a_setting_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REID_STUDY", "sqlite:////b.db")
    assert study_address(load_config(preset="smoke", overrides=["search.study=sqlite:////a.db"])) == "sqlite:////a.db"


def test_a_driver_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"needs a driver that is not installed .* pip install 'reid\[postgres\]'"):
        open_study("postgresql+pg8000://reid@127.0.0.1/postgres", "walk", ["mAP"])
