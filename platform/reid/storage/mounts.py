"""File systems that SQLite must not be trusted on."""

from pathlib import Path

import psutil

_NETWORK = {"9p", "afs", "beegfs", "ceph", "cifs", "fuse", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3"}


def network_file_system(path: Path) -> str | None:
    """The kind of file system that a path lies on, such as `nfs4`, where a network or a program stands behind it.

    There SQLite's locks and shared memory hold on one machine at best, and on several not at all.
    """
    kind = _file_system(path.expanduser().resolve())
    return kind if kind.partition(".")[0] in _NETWORK else None


def _file_system(path: Path) -> str:
    """The kind; of several at one place, the last covers the others."""
    mounted = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounted[str(folder)] for folder in (path, *path.parents) if str(folder) in mounted), "")
