"""Which file systems a network stands behind, by tables of mounts and by this machine's own."""

from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from reid.storage import network_file_system
from reid.storage.mounts import _file_system

Mount = namedtuple("Mount", "mountpoint fstype")


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> list[Mount]:
    """The table of mounts, to be added to."""
    mounts = [Mount("/", "ext4")]

    def disk_partitions(*, all: bool) -> list[Mount]:
        return mounts if all else []  # psutil leaves out what is no disk of this machine

    monkeypatch.setattr(psutil, "disk_partitions", disk_partitions)
    return mounts


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        *((kind, kind) for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "fuse.sshfs", "fuse")),
        *((kind, None) for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk")),
    ],
)
def test_what_lies_on_which_kind(tmp_path: Path, mount: list[Mount], kind: str, found: str | None) -> None:
    mount.append(Mount(str(tmp_path), kind))
    assert network_file_system(tmp_path / "none" / "mlflow.db") == found


def test_the_innermost_mount_decides_and_a_name_alike_does_not(tmp_path: Path, mount: list[Mount]) -> None:
    mount += [Mount(str(tmp_path), "nfs4"), Mount(str(tmp_path / "disk"), "xfs")]
    assert network_file_system(tmp_path / "disk" / "a.db") is None
    assert network_file_system(tmp_path / "diskette" / "a.db") == "nfs4"


def test_a_later_mount_covers_an_earlier_one(tmp_path: Path, mount: list[Mount]) -> None:
    mount += [Mount(str(tmp_path), "autofs"), Mount(str(tmp_path), "nfs")]
    assert network_file_system(tmp_path) == "nfs"


def test_a_link_is_followed(tmp_path: Path, mount: list[Mount]) -> None:
    mount.append(Mount(str(tmp_path / "far"), "nfs4"))
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    assert network_file_system(tmp_path / "near" / "a.db") == "nfs4"


def test_this_machines_own_table_is_read() -> None:
    assert _file_system(Path("/proc/self")) == "proc"
    assert _file_system(Path("/")) != ""
