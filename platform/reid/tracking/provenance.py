"""Where a run comes from: tags of the process that records it, under MLflow's own names where it has some."""

import importlib.metadata
import platform
import shlex
import socket
import sys
from pathlib import Path

from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_BRANCH,
    MLFLOW_GIT_COMMIT,
    MLFLOW_GIT_DIRTY,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)

COMMAND_TAG = "reid.command"
SOURCE = Path(__file__).parents[3]
"""The root of the repository, where the package is used from its source."""


def provenance(source: Path = SOURCE) -> dict[str, str]:
    """Tags: the command line, the host, the versions, and the source's git revision where it is a checkout."""
    versions = {name: importlib.metadata.version(name) for name in ("reid", "torch", "ray")}
    versions["python"] = platform.python_version()
    return {
        COMMAND_TAG: shlex.join(sys.argv),
        "reid.host": socket.gethostname(),
        **{f"version.{name}": version for name, version in versions.items()},
        MLFLOW_SOURCE_NAME: Path(sys.argv[0]).name,
        MLFLOW_SOURCE_TYPE: "LOCAL",
        **_revision(source),
    }


def _revision(source: Path) -> dict[str, str]:
    if not (source / ".git").exists():
        return {}
    try:
        import git  # looks for the program as it is imported
    except ImportError:
        return {}
    try:
        repository = git.Repo(source)
        tags = {MLFLOW_GIT_COMMIT: repository.head.commit.hexsha, MLFLOW_GIT_DIRTY: str(repository.is_dirty()).lower()}
        return tags if repository.head.is_detached else tags | {MLFLOW_GIT_BRANCH: repository.active_branch.name}
    except (git.GitError, ValueError):  # another user's, damaged, or without a commit
        return {}
