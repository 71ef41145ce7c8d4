from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reid.storage import Storage


@pytest.fixture(params=["path", "uri"])
def storage_at(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[], Storage]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "root"
    return lambda: Storage(str(root) if request.param == "path" else f"{root.as_uri()}/")


def test_a_writable_place_is_left_as_it_was(storage_at: Callable[[], Storage], tmp_path: Path) -> None:
    storage_at().make_ready()
    assert list((tmp_path / "root").iterdir()) == []


def test_several_may_try_at_once_whether_a_place_is_writable(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: Storage(str(tmp_path / "root")).make_ready(), range(200)))
    assert list((tmp_path / "root").iterdir()) == []


def test_processes_may_try_at_once_whether_a_place_is_writable(
    in_processes: Callable[..., list[int]], tmp_path: Path
) -> None:
    def try_often(number: int) -> None:
        for _ in range(125):
            Storage(str(tmp_path / "root")).make_ready()

    assert in_processes(8, try_often) == [0] * 8
    assert list((tmp_path / "root").iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for root in (f"{tmp_path}/file/reid", f"{tmp_path.as_uri()}/file/reid", "nosuch://bucket/reid"):
        with pytest.raises(ValueError, match=f"storage: cannot write to {root} .*; set storage=") as caught:
            Storage(root).make_ready()
        assert "\n" not in str(caught.value)


def test_scratch_is_local_and_the_root_itself_where_that_is_local(
    storage_at: Callable[[], Storage], tmp_path: Path
) -> None:
    storage = storage_at()
    assert storage.scratch == (tmp_path / "root" if storage.is_local else tmp_path / "cache" / "reid")


def test_places_under_a_root_keep_its_options() -> None:
    storage = Storage("s3://bucket/reid?endpoint_override=127.0.0.1:9&scheme=http")
    place = storage.place("runs", "a", "phases.json")
    assert place == "s3://bucket/reid/runs/a/phases.json?endpoint_override=127.0.0.1:9&scheme=http"
