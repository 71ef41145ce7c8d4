"""What a cluster stores in: S3, PostgreSQL and MLflow's server, each on a machine of the bed."""

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy

from bed.machine import Machine

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
SCRIPTS = Path(sys.executable).parent
USER = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
"""That PostgreSQL runs as: it refuses root."""
BUCKET = "reid"
START_S = 180
MAKE_BUCKET = "import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], method='PUT', data=b''))"


@dataclass(frozen=True)
class Service:
    """A service that answers."""

    process: "subprocess.Popen[bytes]"
    address: str
    """Of S3 and MLflow a URL, of PostgreSQL that of a database, with its password."""


def start_s3(machine: Machine, port: int, folder: Path, environment: Mapping[str, str]) -> Service:
    """moto's S3 with an empty bucket `reid`; all is lost with it."""
    log, address = folder / "s3.log", f"http://{machine.address}:{port}"
    process = machine.start(
        SCRIPTS / "moto_server", f"--host={machine.address}", f"--port={port}", environment=environment, log=log
    )
    wait_for("Running on", log, process)
    making = machine.start(
        sys.executable, "-c", MAKE_BUCKET, f"{address}/{BUCKET}", environment=environment, log=folder / "bucket.log"
    )
    assert making.wait(START_S) == 0, (folder / "bucket.log").read_text()
    return Service(process, address)


def start_postgres(
    machine: Machine, port: int, folder: Path, environment: Mapping[str, str], *, password: str | None = None
) -> Service:
    """Debian's PostgreSQL with a password, random if none; what is in it lies in the folder and outlives it."""
    if not POSTGRES:
        raise FileNotFoundError("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    data, password, log = folder / "postgres", password or secrets.token_hex(16), folder / "postgres.log"
    data.mkdir()
    (folder / "password").write_text(password)
    if os.getuid() == 0:
        shutil.chown(data, USER)
        shutil.chown(folder / "password", USER)
    flags = ("--no-sync", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--username=reid")
    made = subprocess.run(_as_user(POSTGRES[-1] / "initdb", f"--pgdata={data}", *flags), capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all samenet scram-sha-256\n")
    settings = (f"listen_addresses={machine.address}", f"unix_socket_directories={data}", "fsync=off")
    process = machine.start(
        *_as_user(POSTGRES[-1] / "postgres", "-D", data, "-p", port),
        *(part for setting in settings for part in ("-c", setting)),
        environment=environment,
        log=log,
    )
    wait_for("ready to accept connections", log, process)
    address = sqlalchemy.URL.create("postgresql", "reid", password, machine.address, port, "postgres")
    return Service(process, address.render_as_string(hide_password=False))


def start_mlflow(
    machine: Machine, port: int, folder: Path, environment: Mapping[str, str], *, database: str, artifacts: str
) -> Service:
    """MLflow's server, which keeps runs in a database and artifacts in a place of its own."""
    log = folder / "mlflow.log"
    process = machine.start(
        *(SCRIPTS / "mlflow", "server", "--workers=1", f"--host={machine.address}", f"--port={port}"),
        *("--serve-artifacts", f"--artifacts-destination={artifacts}", f"--allowed-hosts={machine.address}:{port}"),
        environment=environment | {"MLFLOW_BACKEND_STORE_URI": database},
        log=log,
    )
    wait_for("Application startup complete", log, process)
    return Service(process, f"http://{machine.address}:{port}")


def wait_for(text: str, log: Path, process: "subprocess.Popen[bytes]", seconds: float = START_S) -> None:
    """Until a process has logged a text."""
    deadline = time.monotonic() + seconds
    while text not in log.read_text(errors="replace"):
        assert process.poll() is None, f"it ended with status {process.returncode}:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"no {text!r} within {seconds} s:\n{log.read_text()}"
        time.sleep(0.1)


def _as_user(*command: object) -> list[str]:
    return [*(("runuser", "-u", USER, "--") if os.getuid() == 0 else ()), *map(str, command)]
