"""`ray job submit`: what runs, on the driver and on the workers, is the tree that was submitted."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BASELINE_ALONE = [
    part
    for setting in (
        *("phases.pose=null", "phases.intermediate=null", "phases.final=null"),
        *("phases.baseline.epochs=1", "phases.baseline.batch_size=36"),
    )
    for part in ("--set", setting)
]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def submit(cluster: Any, *options: str) -> list[str | Path]:
    return [Path(sys.executable).with_name("ray"), "job", "submit", "--address", cluster.dashboard, *options, "--"]


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A copy of the tree that differs from the installed one on the driver and on the workers."""
    for folder in ("platform", "jobs", "datasets"):
        shutil.copytree(ROOT / folder, tmp_path / "newer" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    package = tmp_path / "newer" / "platform" / "reid"
    for file, old, new in (
        ("experiments/results.py", 'title="query against gallery"', 'title="submitted to the driver"'),
        (
            "training/loop.py",
            '"train/learning_rate"',
            '"train/submitted_to_the_worker"] = metrics["train/learning_rate"',
        ),
    ):
        source = (package / file).read_text()
        assert source.count(old) == 1, file
        (package / file).write_text(source.replace(old, new))
    return tmp_path / "newer"


def test_a_working_directory_runs_as_it_was_submitted(
    cluster: Any, start: Callable[..., Any], shared_storage: Path, newer: Path
) -> None:
    """On one to two workers, as many as there is room for."""
    command = ["python", "jobs/full_pipeline.py", "--preset", "smoke", "--set", "name=submitted", *BASELINE_ALONE]
    elastic = ["--set", "scaling.num_workers=[1,2]", "--set", f"storage={shared_storage}"]
    job = start(*submit(cluster, "--working-dir", "."), *command, *elastic, cwd=newer)
    printed = job.finish()
    assert "submitted to the driver" in printed
    assert "query against gallery" not in printed
    assert "succeeded" in printed
    (state,) = shared_storage.glob("runs/submitted-*/baseline/epoch_0001/phase.json")
    assert "train/submitted_to_the_worker" in state.read_text()
    assert re.search(r"baseline\W+(\d+\.\d%\W+){5}", printed)


def test_the_script_itself_runs_in_the_repository(
    cluster: Any, start: Callable[..., Any], shared_storage: Path
) -> None:
    settings = ["--preset", "smoke", "--set", "name=literal", "--set", "scaling.num_workers=0", *BASELINE_ALONE]
    job = start(*submit(cluster), "jobs/full_pipeline.py", *settings, "--set", f"storage={shared_storage}")
    assert "query against gallery" in job.finish()
    assert list(shared_storage.glob("runs/literal-*/result.json"))


def test_a_job_that_fails_ends_with_a_status_that_says_so(cluster: Any, start: Callable[..., Any]) -> None:
    job = start(*submit(cluster), "jobs/full_pipeline.py", "--set", "phases.final.epochs=0")
    assert job.process.wait(300) != 0
    assert "phases.final.epochs: must be greater than or equal to 1" in job.output()
