import os
import shutil
import threading
from pathlib import Path

import pytest
from pyarrow import fs

from reid.data import DataError, local_copy, open_dataset, open_store, prepare, remote
from reid.storage import Cache, Place, Storage


@pytest.fixture
def store(market_once: Path, tmp_path: Path) -> Path:
    return prepare("embedded", market_once, tmp_path / "elsewhere" / "store").path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 1e9, ("cache",))


def test_a_local_folder_is_used_where_it_is(store: Path, cache: Cache) -> None:
    assert local_copy(str(store), cache) == store
    assert local_copy(store, cache) == store
    assert not cache.folder.exists()


def test_a_remote_store_is_copied_once(store: Path, cache: Cache) -> None:
    copy = local_copy(store.as_uri(), cache)
    assert copy.is_relative_to(cache.folder)
    there, here = open_dataset(store), open_dataset(copy, verify=True)
    assert here.digest == there.digest
    assert (here.splits["train"].gather([1, 8]) == there.splits["train"].gather([1, 8])).all()
    written = {path: path.stat().st_ino for path in copy.iterdir()}
    assert local_copy(store.as_uri(), cache) == copy
    assert {path: path.stat().st_ino for path in copy.iterdir()} == written


def test_processes_of_a_node_wait_for_one_copy(store: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    copy = remote._copy

    def count(*arguments: object) -> None:
        copies.append(arguments)
        copy(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(remote, "_copy", count)
    threads = [threading.Thread(target=local_copy, args=(store.as_uri(), cache)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(copies) == 1


def test_any_arrow_file_system_will_do(store: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = fs.SubTreeFileSystem(str(store.parent), fs.LocalFileSystem())
    monkeypatch.setattr(Place, "resolve", lambda place: (bucket, place.removeprefix("s3://bucket/")))
    copy = local_copy("s3://bucket/store", cache)
    assert open_dataset(copy).digest == open_dataset(store).digest


def damage_shard(store: Path) -> None:
    content = bytearray((store / "query-00000.arrow").read_bytes())
    content[-5000] ^= 1
    (store / "query-00000.arrow").write_bytes(content)


def remove_shard(store: Path) -> None:
    (store / "query-00000.arrow").unlink()


def newer(store: Path) -> None:
    path = store / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 3', '"schema_version": 7'))


def escaping(store: Path) -> None:
    path = store / "manifest.json"
    path.write_text(path.read_text().replace("query-00000.arrow", "../../query-00000.arrow"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_shard, "query-00000.arrow is damaged"),
        (remove_shard, "query-00000.arrow could not be copied"),
        (newer, "upgrade"),
        (escaping, "damaged"),
        (shutil.rmtree, "check the address"),
    ],
)
def test_a_bad_store_is_named_and_leaves_no_copy(store: Path, cache: Cache, damage: object, said: str) -> None:
    damage(store)  # type: ignore[operator]
    with pytest.raises(DataError) as error:
        local_copy(store.as_uri(), cache)
    assert said in str(error.value)
    assert store.as_uri() in str(error.value)
    assert not [path for path in (cache.folder / "cache").glob("[!.]*") if not path.name.endswith(".lock")]


def test_an_unknown_scheme_is_refused(cache: Cache) -> None:
    with pytest.raises(DataError, match="check the address"):
        local_copy("carrier-pigeon://coop/store", cache)


def test_copies_stay_within_the_bound_but_for_those_in_use(
    market_once: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = prepare("embedded", market_once, tmp_path / "elsewhere" / "other", height=16, width=8).path
    held: dict[Path, int] = {}
    monkeypatch.setattr("reid.storage.cache._held", held)
    tight = Cache(tmp_path / "cache", 1, ("cache",))
    first = local_copy(store.as_uri(), tight)
    second = local_copy(other.as_uri(), tight)
    assert first.is_dir(), "this process uses it"
    assert second.is_dir()
    for descriptor in held.values():
        os.close(descriptor)
    held.clear()
    third = local_copy(store.as_uri(), tight, ["query"])
    assert third.is_dir()
    assert not first.exists()
    assert not second.exists()


def test_an_interrupted_copy_is_begun_again(store: Path, cache: Cache) -> None:
    digest = open_dataset(store).digest
    left = cache.folder / "cache" / f".{digest}.{'0' * 32}.partial"
    left.mkdir(parents=True)
    (left / "train-00000.arrow").write_bytes(b"half")
    open_dataset(local_copy(store.as_uri(), cache), verify=True)
    assert not left.exists()


def test_a_store_is_opened_where_it_lies_or_from_a_copy_on_this_node(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert open_store(str(store), Storage(str(tmp_path))).path == store
    copy = open_store(store.as_uri(), Storage(tmp_path.as_uri()))
    assert copy.path.is_relative_to(tmp_path / "cache" / "reid" / "cache")
    assert copy.digest == open_dataset(store).digest
