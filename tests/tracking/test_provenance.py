"""Where a run comes from."""

import platform
import subprocess
from pathlib import Path

import pytest
import ray
import torch

from reid.tracking import RunRecord, provenance

GIT = ("git", "-c", "user.name=n", "-c", "user.email=e@example.org")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for command in (["init", "-q", "-b", "trunk"], ["add", "a.txt"], ["commit", "-q", "-m", "first"]):
        (tmp_path / "a.txt").write_text("a")
        subprocess.run([*GIT, *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_checkout_has_a_revision_a_branch_and_is_dirty_or_not(checkout: Path) -> None:
    revision = subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True)
    tags = provenance(checkout)
    assert tags["mlflow.source.git.commit"] == revision.stdout.strip()
    assert tags["mlflow.source.git.branch"] == "trunk"
    assert tags["mlflow.source.git.dirty"] == "false"
    (checkout / "a.txt").write_text("b")
    assert provenance(checkout)["mlflow.source.git.dirty"] == "true"
    subprocess.run([*GIT, "checkout", "-q", "--detach"], cwd=checkout, check=True)
    assert "mlflow.source.git.branch" not in provenance(checkout)


def test_a_copy_within_somebody_elses_checkout_has_none(checkout: Path) -> None:
    (checkout / "copy").mkdir()
    assert not any(name.startswith("mlflow.source.git") for name in provenance(checkout / "copy"))


def test_versions_and_the_command_are_said_and_passwords_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["jobs/sweep.py", "--set", "tracking.uri=http://user:s3cret@host/mlflow"])
    tags = RunRecord(key="a", name="a", status="RUNNING", tags=provenance(tmp_path)).tags
    assert tags["mlflow.source.name"] == "sweep.py"
    assert tags["reid.command"].startswith("jobs/sweep.py --set tracking.uri=http://user:***@host")
    assert (tags["version.torch"], tags["version.ray"]) == (torch.__version__.partition("+")[0], ray.__version__)
    assert tags["version.python"] == platform.python_version()
    assert not any("s3cret" in value for value in tags.values())
