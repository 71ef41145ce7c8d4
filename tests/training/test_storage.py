from collections.abc import Callable
from pathlib import Path

import pytest

from reid.data import open_dataset
from reid.training.storage import Storage, open_store


@pytest.fixture(params=["path", "uri"])
def storage_at(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[], Storage]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "root"
    return lambda: Storage(str(root) if request.param == "path" else f"{root.as_uri()}/")


def test_what_is_written_is_read_whole_or_not_at_all(storage_at: Callable[[], Storage], tmp_path: Path) -> None:
    storage = storage_at()
    assert storage.read("runs", "a", "phases.json") is None
    storage.write("first", "runs", "a", "phases.json")
    storage.write("größer", "runs", "a", "phases.json")
    assert storage.read("runs", "a", "phases.json") == "größer"
    assert storage.place("runs", "a").endswith("root/runs/a")
    assert [file.name for file in (tmp_path / "root" / "runs" / "a").iterdir()] == ["phases.json"]


def test_a_writable_place_is_left_as_it_was(storage_at: Callable[[], Storage], tmp_path: Path) -> None:
    storage_at().require_writable()
    assert list((tmp_path / "root").iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for root in (f"{tmp_path}/file/reid", f"{tmp_path.as_uri()}/file/reid", "nosuch://bucket/reid"):
        with pytest.raises(ValueError, match=f"storage: cannot write to {root} .*; set storage=") as caught:
            Storage(root).require_writable()
        assert "\n" not in str(caught.value)


def test_scratch_is_local_and_the_root_itself_where_that_is_local(
    storage_at: Callable[[], Storage], tmp_path: Path
) -> None:
    storage = storage_at()
    assert storage.scratch == (tmp_path / "root" if storage.is_local else tmp_path / "cache" / "reid")


def test_a_remote_store_is_read_from_a_copy_on_this_node(
    stores: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert open_store(str(stores["reid"]), str(tmp_path)).path == stores["reid"]
    copy = open_store(stores["reid"].as_uri(), tmp_path.as_uri())
    assert copy.path.is_relative_to(tmp_path / "cache" / "reid" / "cache")
    assert copy.digest == open_dataset(stores["reid"]).digest
