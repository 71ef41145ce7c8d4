from collections.abc import Callable
from pathlib import Path

import pyarrow.fs
import pytest

from reid.storage import Place

OPTIONS = "endpoint_override=127.0.0.1:9&scheme=http&region=here"


@pytest.fixture(params=["path", "uri"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    root = tmp_path / "root"
    return Place(root if request.param == "path" else root.as_uri())


@pytest.mark.parametrize(
    ("root", "names", "expected"),
    [
        ("/data/reid", ("runs", "a"), "/data/reid/runs/a"),
        ("/data/what?", ("a",), "/data/what?/a"),
        ("s3://bucket/reid", ("a", "b.json"), "s3://bucket/reid/a/b.json"),
        ("s3://bucket/reid/", ("a",), "s3://bucket/reid/a"),
        (f"s3://bucket/reid?{OPTIONS}", ("a", "b"), f"s3://bucket/reid/a/b?{OPTIONS}"),
        (f"s3://bucket?{OPTIONS}", ("a",), f"s3://bucket/a?{OPTIONS}"),
    ],
)
def test_joined_names_come_before_the_options(root: str, names: tuple[str, ...], expected: str) -> None:
    place = Place(root)
    for name in names:
        place = place / name
    assert place == expected
    assert place.name == names[-1]
    assert isinstance(place, Place)


@pytest.mark.parametrize(
    ("place", "parent"),
    [
        ("/data/reid", "/data"),
        ("s3://bucket/reid/a", "s3://bucket/reid"),
        (f"s3://bucket/reid/a?{OPTIONS}", f"s3://bucket/reid?{OPTIONS}"),
    ],
)
def test_what_a_place_lies_in(place: str, parent: str) -> None:
    assert Place(place).parent == parent


@pytest.mark.parametrize("text", ["s3://key:s3cret@bucket/x", "s3://bucket/x?access_key=ab&secret_key=s3cret"])
def test_no_place_holds_a_secret(text: str) -> None:
    with pytest.raises(ValueError, match="the address holds a password") as caught:
        Place(text)
    assert "s3cret" not in str(caught.value)


def test_a_folder_made_here_arrives_whole_with_its_last_file_last(
    s3: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(s3("places")) / "exports" / "a"
    arrived: list[str] = []
    upload = Place.upload

    def watched(place: Place, source: Path, *, last: str = "") -> None:
        upload(place, source, last=last)
        arrived.append(place.name)

    monkeypatch.setattr(Place, "upload", watched)
    with place.from_this_node(last="card.json") as folder:
        (folder / "inner").mkdir(parents=True)
        for name in ("card.json", "inner/b", "z"):
            (folder / name).write_text(name)
    assert arrived == ["b", "inner", "z", "card.json", "a"]
    assert place.names() == ["card.json", "inner", "z"]
    assert (place / "inner" / "b").read_text() == "inner/b"
    assert not folder.exists()
    with place.on_this_node() as copy:
        assert copy is not None
        assert (copy / "inner" / "b").read_text() == "inner/b"
    place.delete()
    assert place.parent.names() == []


def test_arrow_takes_a_joined_place_with_its_options() -> None:
    filesystem, path = (Place(f"s3://bucket/reid?{OPTIONS}") / "runs" / "a").resolve()
    assert path == "bucket/reid/runs/a"
    assert isinstance(filesystem, pyarrow.fs.S3FileSystem)
    assert filesystem.region == "here"


def test_only_local_paths_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Place("a/b").absolute == f"{tmp_path}/a/b"
    assert Place("s3://bucket/a").absolute == "s3://bucket/a"


def test_what_is_written_is_read_and_nothing_else_is_left(place: Place, tmp_path: Path) -> None:
    file = place / "runs" / "a" / "phases.json"
    assert file.read_text() is None
    with pytest.raises(FileNotFoundError):
        file.read()
    file.write("first")
    file.write("größer")
    assert file.read_text() == "größer"
    assert file.read() == "größer".encode()
    assert [found.name for found in (tmp_path / "root" / "runs" / "a").iterdir()] == ["phases.json"]


def test_files_and_folders_are_deleted_and_what_is_not_there_is_no_error(place: Place, tmp_path: Path) -> None:
    (place / "a" / "b").write("")
    (place / "a" / "b").delete()
    assert place.exists()
    assert not (place / "a" / "b").exists()
    place.delete()
    place.delete()
    assert not (tmp_path / "root").exists()


def test_a_folder_names_what_lies_in_it(place: Place) -> None:
    assert place.names() == []
    (place / "b").write("")
    (place / "a" / "c").write("")
    assert place.names() == ["a", "b"]


def test_an_uploaded_file_is_found_on_this_node(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (place / "up" / "file").upload(tmp_path / "file")
    with (place / "up").on_this_node() as folder, (place / "nowhere").on_this_node() as nothing:
        assert folder is not None
        assert (folder / "file").read_bytes() == b"content"
        assert nothing is None


def test_what_lies_on_another_file_system_is_copied_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"content")
    bucket = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    resolve: Callable[[Place], object] = lambda place: (bucket, place.removeprefix("bucket://"))  # noqa: E731
    monkeypatch.setattr(Place, "resolve", resolve)
    for name, inside in (("folder", "file"), ("folder/file", "")):
        with Place(f"bucket://{name}").on_this_node() as copy:
            assert copy is not None
            assert not copy.is_relative_to(tmp_path / "folder")
            assert (copy / inside).read_bytes() == b"content"
        assert not copy.exists()
