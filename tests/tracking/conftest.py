import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from reid.tracking import DatasetInput, Measurement, RunRecord


@dataclass
class Server:
    """A tracking server that can be killed and started again at the same address, with the same database."""

    folder: Path
    port: int = field(default=0)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(Path(sys.executable).with_name("mlflow"), "server", "--workers=1"),
                    *("--host=127.0.0.1", f"--port={self.port}"),
                    f"--backend-store-uri=sqlite:///{self.folder}/server.db",
                    *("--serve-artifacts", f"--artifacts-destination={self.folder}/artifacts"),
                ],
                env=environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL to it and to its workers."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        family = [parent, *parent.children(recursive=True)]
        for process in family:
            process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=10)

    def freeze(self) -> None:
        """SIGSTOP to it and to its workers: it accepts connections and answers none."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        for process in (parent, *parent.children(recursive=True)):
            process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:  # noqa: S310 - http
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = Server(folder, listener.getsockname()[1])
    server.start()
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes seconds to create its tables; each test gets a copy."""
    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'mlflow.db')}"


@pytest.fixture
def client(database: str) -> MlflowClient:
    return MlflowClient(tracking_uri=database)


@pytest.fixture
def parent() -> RunRecord:
    return RunRecord(
        key="walk-1", name="walk-1", status="RUNNING", tags={"reid.kind": "pipeline"}, params={"seed": "0"}
    )


@pytest.fixture
def phase(tmp_path: Path) -> RunRecord:
    """A finished phase with three epochs, a dataset, an artifact, a folder of pictures and a checkpoint."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    (checkpoint / "optimizer.safetensors").write_bytes(b"moments")
    (tmp_path / "notes.md").write_text("notes")
    (tmp_path / "drawn").mkdir()
    for name in ("cmc.png", "parts.png"):
        (tmp_path / "drawn" / name).write_bytes(b"png")
    return RunRecord(
        key="walk-1.final",
        name="final",
        status="FINISHED",
        parent="walk-1",
        tags={"reid.phase": "final"},
        params={"seed": "0", "loss.alpha": "0.5"},
        measurements=measured(3),
        inputs=(DatasetInput(name="d", digest="ab" * 32, source="/data/d", context="training", profile={"train": 9}),),
        artifacts={str(tmp_path / "notes.md"): "", str(tmp_path / "drawn"): "pictures"},
        model="final",
        checkpoint=str(checkpoint),
        model_files=("model.safetensors",),
        card="for people",
    )


def measured(epochs: int) -> tuple[Measurement, ...]:
    """Measured a day ago, ten seconds an epoch."""
    return tuple(
        Measurement(
            step=epoch,
            time=1_700_000_000.25 + 10 * epoch,
            metrics={"train/total": 1 / epoch, **({"eval/mAP": 0.5} if epoch == epochs else {})},
        )
        for epoch in range(1, epochs + 1)
    )
