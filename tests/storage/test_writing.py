"""Files and folders are there whole or not at all, whatever interrupts their writing."""

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from reid.storage import whole_file, whole_folder, write_whole

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from reid.storage import whole_folder
with whole_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


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


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    place = tmp_path / "folder"
    killed = subprocess.run([sys.executable, "-c", KILLED, place], cwd=ROOT / "platform", check=False)
    assert killed.returncode == -9
    assert not place.exists()
    with whole_folder(place) as partial:
        assert names(partial) == set()
        (partial / "file").write_text("")
    assert names(tmp_path) == {"folder"}
    assert names(place) == {"file"}


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
