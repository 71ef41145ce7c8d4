"""Which database files the nodes of a cluster may share: none of SQLite's."""

import logging
from pathlib import Path

from reid.cluster.connection import on_several_nodes
from reid.config import ConfigError
from reid.storage import network_file_system

logger = logging.getLogger(__name__)


def require_lockable(setting: str, file: Path, remedy: str) -> None:
    """Of a SQLite file on a network file system, warn where this node alone can open it, and refuse it elsewhere.

    Args:
        setting: by which another database is chosen.
        remedy: how.

    Raises:
        ConfigError: other nodes of the cluster can open it too, and would damage it.
    """
    kind = network_file_system(file)
    if kind is None:
        return
    trouble = f"{setting}: the SQLite file {file} lies on a network file system ({kind}), where "
    if on_several_nodes():
        raise ConfigError(f"{trouble}several nodes would damage it: {remedy}")
    logger.warning("%sit is safe only while one machine opens it: else %s", trouble, remedy)
