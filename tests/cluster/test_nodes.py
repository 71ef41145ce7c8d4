"""Training on several nodes, which the tests start themselves; storage, tracking and the study's database elsewhere."""

import json
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bed import Bed
from safetensors.numpy import load_file

from reid.training import load_state

HERE = Path(__file__).parent
JOB = HERE.parents[1] / "jobs" / "full_pipeline.py"
STORAGE = "s3://reid/work"
EPOCHS = {"baseline": 3, "final": 2}
WITHOUT = ("precision=fp32", "phases.pose=null", "phases.intermediate=null")
ELASTIC_EPOCHS = 100
ROUNDING = 1e-2
"""By how much of a loss, or of the length of all weights, another number of workers, which adds in another order, may
differ; other batches make a difference of several hundredths."""
SHORT = (*WITHOUT, *(f"phases.{phase}.epochs={epochs}" for phase, epochs in EPOCHS.items()))
LONG = (
    *(*WITHOUT, "phases.final=null", f"phases.baseline.epochs={ELASTIC_EPOCHS}", "evaluation.sample=0"),
    *("model.batch_norm=frozen", "phases.baseline.learning_rate=2e-5"),
)
"""Batch norm that knows nothing of ranks, and a rate at which rounding does not tear two runs apart."""

pytestmark = [pytest.mark.cluster, pytest.mark.nodes, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    """A head that computes nothing, and two nodes."""
    with Bed() as bed:
        if bed.why_loopback is not None:
            warnings.warn(f"nodes are loopback addresses alone: {bed.why_loopback}", stacklevel=1)
        bed.start_head()
        bed.start_node("node-0")
        bed.start_node("node-1")
        yield bed


def nodes(bed: Bed) -> list[str]:
    """Those that are on, of which there are two between tests."""
    return [name for name in bed.machines if name.startswith("node-")]


def start_another(bed: Bed) -> str:
    """Start one that is not like any before; its name."""
    name = f"node-{next(bed.numbers)}"
    bed.start_node(name)
    return name


@pytest.fixture(scope="module")
def alone(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Storage of the same pipeline on one machine, which nothing disturbs."""
    storage = tmp_path_factory.mktemp("alone")
    command = (sys.executable, JOB, *settings("scaling.num_workers=2", f"storage={storage}", *SHORT))
    bed.run("services", *command, seconds=900)
    return storage


def settings(*overrides: str) -> list[str]:
    return ["--preset", "smoke", *(part for text in ("name=walk", *overrides) for part in ("--set", text))]


def give_data(source: Path, target: Path) -> None:
    """So that they are rendered once."""
    for name in ("sources", "stores"):
        shutil.copytree(source / name, target / name)


@dataclass
class Job:
    """A command under way."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 600
        while not condition():
            assert self.process.poll() is None, f"ended before {what}:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"{what} took too long:\n{self.log.read_text()}"
            time.sleep(0.1)

    def wait_for(self, line: str) -> None:
        self.wait_until(lambda: line in self.log.read_text(), line)

    def finish(self) -> None:
        assert self.process.wait(900) == 0, self.log.read_text()


def trains_on(bed: Bed, name: str) -> bool:
    """Whether a worker of a run lives on a machine."""
    return any("RayTrainWorker" in title for title in bed.processes(name))


def left_in(bed: Bed, storage: object, tracking: str) -> dict[str, Any]:
    """See `left.py`."""
    printed = bed.run("services", sys.executable, HERE / "left.py", str(storage), tracking)
    left: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return left


def test_a_pipeline_on_two_nodes_of_which_one_dies_ends_as_on_one(bed: Bed, alone: Path, tmp_path: Path) -> None:
    """Submitted with the cluster's token, with S3 and with MLflow on PostgreSQL; a new node replaces the dead one."""
    bed.start_s3()
    tracking = bed.start_mlflow(bed.start_postgres().address).address
    give_data(alone, bed.folder / "head" / "home" / ".cache" / "reid")
    submit = ("ray", "job", "submit", "--address", bed.dashboard, "--", "python", JOB)
    where = (f"storage={STORAGE}", f"tracking.uri={tracking}", "scaling.start_timeout=300")
    log = tmp_path / "log"
    job = Job(bed.start("head", *submit, *settings("scaling.num_workers=2", *SHORT, *where), log=log), log)
    job.wait_for("baseline: epoch 1/")
    stays, goes = nodes(bed)
    assert trains_on(bed, stays)
    assert trains_on(bed, goes)
    assert any("ray::Board" in title for title in bed.processes("head")), "what was said there would go with its node"
    bed.switch_off(goes)
    assert "baseline: epoch 3/" not in log.read_text(), "too late to show anything"
    job.wait_for("baseline: a worker was lost, restart 1 of 3 at most")
    comes = start_another(bed)
    job.wait_until(lambda: trains_on(bed, comes), "a worker on the new node")
    job.finish()
    wanted = left_in(bed, alone, f"sqlite:///{alone}/mlflow.db")
    assert {phase: epoch for phase, (epoch, _) in wanted["weights"].items()} == {
        phase: f"epoch_{epochs:04d}" for phase, epochs in EPOCHS.items()
    }
    assert left_in(bed, STORAGE, tracking) == wanted
    assert "marked dead" not in log.read_text(), "Ray's own words"


def test_an_elastic_run_goes_on_smaller_and_grows(bed: Bed, alone: Path, tmp_path: Path) -> None:
    storage, log = tmp_path / "storage", tmp_path / "log"
    give_data(alone, storage)
    give_data(alone, tmp_path / "steady")
    command = (sys.executable, HERE / "eager.py", *settings("scaling.num_workers=[1,2]", f"storage={storage}", *LONG))
    job = Job(bed.start("head", *command, log=log, RAY_ADDRESS=bed.address), log)
    job.wait_for("baseline: epoch 1/")
    stays, goes = nodes(bed)
    assert trains_on(bed, stays)
    assert trains_on(bed, goes)
    bed.switch_off(goes)
    job.wait_for("baseline: a worker was lost, restart 1 of 3 at most")
    job.wait_for("baseline: epoch 2/")
    assert nodes(bed) == [stays], "there is no other that it could go on with"
    comes = start_another(bed)
    job.wait_until(lambda: trains_on(bed, comes), "a larger run")
    assert f"baseline: epoch {ELASTIC_EPOCHS}/" not in log.read_text(), "too late to show anything"
    job.finish()
    steady = settings("scaling.num_workers=0", f"storage={tmp_path / 'steady'}", *LONG)
    bed.run("services", sys.executable, JOB, *steady, seconds=900)
    (found, losses), (wanted, steady_losses) = (what_is_left(tmp_path / name) for name in ("storage", "steady"))
    assert losses == pytest.approx(steady_losses, rel=ROUNDING)
    assert np.linalg.norm(found - wanted) <= ROUNDING * np.linalg.norm(wanted)


def what_is_left(storage: Path) -> tuple[np.ndarray, list[float]]:
    """All weights of an elastic run, end to end, and its loss in every epoch."""
    (checkpoint,) = storage.glob(f"runs/*/baseline/epoch_{ELASTIC_EPOCHS:04d}")
    weights = load_file(checkpoint / "model.safetensors")
    losses = [record.metrics["train/total"] for record in load_state(str(checkpoint)).history]
    return np.concatenate([weights[name].ravel() for name in sorted(weights)]), losses
