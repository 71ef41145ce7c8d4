"""Files and folders are there whole or not at all, whatever interrupts their writing."""

import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from reid.storage import Storage, remove_leftovers, temporary_folder, whole_file, whole_folder, write_whole

ROOT = Path(__file__).parents[2]
WRITING = """
import sys, tempfile, time
from pathlib import Path
from reid.storage import temporary_folder, whole_file, whole_folder
place = Path(sys.argv[2])
tempfile.tempdir = str(place.parent)
kinds = {
    "file": lambda: whole_file(place),
    "folder": lambda: whole_folder(place),
    "unlocked": lambda: whole_folder(place, lock=False),
    "temporary": lambda: temporary_folder("copy"),
}
with kinds[sys.argv[1]]() as partial:
    if partial.is_dir():
        partial = partial / "half"
    partial.write_text("half")
    partial.with_name(partial.name + "-journal").write_text("of SQLite")
    print("written", flush=True)
    time.sleep(600)
"""
KINDS = ("file", "folder", "unlocked", "temporary")


@contextmanager
def writing(kind: str, place: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is in the middle of writing to a place; it is killed in the end."""
    command = [sys.executable, "-c", WRITING, kind, place]
    process = subprocess.Popen(command, cwd=ROOT / "platform", stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_an_exception_leaves_the_former_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "below" / "file", "former")
    with suppress(RuntimeError), whole_file(tmp_path / "below" / "file") as partial:
        partial.write_text("ha")
        raise RuntimeError
    assert (tmp_path / "below" / "file").read_text() == "former"
    assert names(tmp_path / "below") == {"file"}


def test_a_block_that_writes_nothing_leaves_nothing(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file"):
        pass
    assert names(tmp_path) == set()


def test_an_exception_leaves_the_former_folder(tmp_path: Path) -> None:
    for content in ("former", "later"):
        with whole_folder(tmp_path / "folder", replace=True) as partial:
            (partial / content).write_text("")
    with suppress(RuntimeError), whole_folder(tmp_path / "folder", replace=True) as partial:
        (partial / "broken").write_text("")
        raise RuntimeError
    assert names(tmp_path) == {"folder"}
    assert names(tmp_path / "folder") == {"later"}


def test_a_folder_that_is_there_is_replaced_on_demand_alone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError, match="folder exists already: remove it"), whole_folder(tmp_path / "folder"):
        pytest.fail("it was to be left alone")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_process_left_is_removed_by_the_next_job(kind: str, tmp_path: Path) -> None:
    with writing(kind, tmp_path / "runs" / "a" / "folder") as process:
        assert len(names(tmp_path / "runs" / "a")) >= 1
    assert process.returncode == -9
    assert names(tmp_path / "runs" / "a") != set()
    Storage(str(tmp_path)).make_ready()
    assert [path.name for path in (tmp_path / "runs" / "a").iterdir()] in ([], [".writing.lock"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_living_process_writes_stays(kind: str, tmp_path: Path) -> None:
    with writing(kind, tmp_path / "folder"):
        before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
        Storage(str(tmp_path)).make_ready()
        remove_leftovers(tmp_path)
        assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    remove_leftovers(tmp_path)
    assert names(tmp_path) == set()


def test_a_folder_is_written_where_another_was_left_half_written(tmp_path: Path) -> None:
    for name in ("folder", "another"):
        with writing("folder", tmp_path / name):
            pass
    with whole_folder(tmp_path / "folder") as partial:
        assert names(partial) == set()
        (partial / "file").write_text("")
    assert names(tmp_path) == {"folder"}
    assert names(tmp_path / "folder") == {"file"}


def test_temporary_folders_are_the_users_own_and_the_next_removes_those_of_the_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with writing("temporary", tmp_path / "any"):
        pass
    (left,) = names(tmp_path)
    with temporary_folder("copy") as folder:
        assert names(tmp_path) == {folder.name} != {left}
        assert folder.stat().st_mode & 0o777 == 0o700
    assert names(tmp_path) == set()


def test_names_of_the_users_own_are_left_alone(tmp_path: Path) -> None:
    kept = {".a.partial", f"a.{'0' * 32}.partial", f".{'0' * 32}.partial", f".a.{'g' * 32}.partial", "a.partial"}
    for name in kept:
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "nowhere")
    assert names(tmp_path) == kept


def test_a_folder_is_removed_whole(tmp_path: Path) -> None:
    """Killed in the middle, what is left has no name that could be taken for the folder's."""
    script = """
import os, shutil, signal, sys
from pathlib import Path
from reid.storage import Place
def killed(path, **_):
    os.unlink(Path(path) / "phase.json")
    os.kill(os.getpid(), signal.SIGKILL)
shutil.rmtree = killed
Place(sys.argv[1]).delete()
"""
    (tmp_path / "epoch_0001").mkdir()
    for name in ("phase.json", "model.safetensors"):
        (tmp_path / "epoch_0001" / name).write_text("")
    command = [sys.executable, "-c", script, tmp_path / "epoch_0001"]
    assert subprocess.run(command, cwd=ROOT / "platform", check=False).returncode == -9
    assert all(re.fullmatch(r"\.epoch_0001\.[0-9a-f]{32}\.partial", name) for name in names(tmp_path))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == set()


def test_two_at_once_wait_for_each_other(tmp_path: Path) -> None:
    written: list[int] = []

    def write(number: int) -> None:
        try:
            with whole_folder(tmp_path / "folder") as partial:
                (partial / "file").write_text(str(number))
                written.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert (tmp_path / "folder" / "file").read_text() == str(written[0])
