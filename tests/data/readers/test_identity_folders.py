"""A folder for each person, in the ways in which people arrange them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reid.config import load_manifest
from reid.data import DataError
from reid.data.readers.identity_folders import read_folders_of_identities


def make(root: Path, files: Sequence[str]) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            ["anna/1.jpg", "anna/2.JPEG", "bob/1.png", "bob/1.bmp"],
            [("anna/1.jpg", "anna", None), ("anna/2.JPEG", "anna", None), ("bob/1.bmp", "bob", None),
             ("bob/1.png", "bob", None)],
        ),
        (["0002/a.jpg", "0002/monday/b.jpg"], [("0002/a.jpg", "0002", None), ("0002/monday/b.jpg", "0002", None)]),
        (
            ["train/anna/1.jpg", "Query/bob/1.jpg", "gallery/bob/2.jpg"],
            [("Query/bob/1.jpg", "bob", "query"), ("gallery/bob/2.jpg", "bob", "gallery"),
             ("train/anna/1.jpg", "anna", "train")],
        ),
        (
            ["training/anna/1.jpg", "test/bob/1.jpg", "notes.txt"],
            [("test/bob/1.jpg", "bob", "test"), ("training/anna/1.jpg", "anna", "train")],
        ),
        (
            ["anna/1.jpg", "anna/._1.jpg", "anna/Thumbs.db", ".cache/x/1.jpg", "manifest.yaml"],
            [("anna/1.jpg", "anna", None)],
        ),
    ],
)  # fmt: skip
def test_a_tree_as_people_have_it(
    files: list[str], expected: list[tuple[str, str, str | None]], tmp_path: Path
) -> None:
    listing = read_folders_of_identities(make(tmp_path, files), load_manifest("folder"))
    splits = listing.splits or [None] * len(listing)
    assert list(zip(listing.paths, listing.identities, splits, strict=True)) == expected


def test_the_folder_of_textures_is_no_identity(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text("textures: {folder: clothes}\n")
    make(tmp_path, ["anna/1.jpg", "clothes/anna.jpg"])
    listing = read_folders_of_identities(tmp_path, load_manifest("folder", tmp_path))
    assert list(listing.identities) == ["anna"]


def test_a_link_that_leads_back_up_is_not_followed(tmp_path: Path) -> None:
    make(tmp_path, ["anna/1.jpg"])
    (tmp_path / "anna" / "all").symlink_to(tmp_path)
    assert list(read_folders_of_identities(tmp_path, load_manifest("folder")).paths) == ["anna/1.jpg"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "holds neither a file labels.csv nor folders of images"),
        (["anna/notes.txt"], "holds neither a file labels.csv nor folders of images"),
        (["1.jpg", "2.jpg"], "the images 1.jpg, 2.jpg lie in no folder of an identity"),
        (["train/1.jpg", "train/anna/2.jpg"], "the images 1.jpg lie in no folder of an identity"),
        (["train/anna/1.jpg", "extra/bob/1.jpg"], "the folders extra beside train/ are no splits, expected query"),
    ],
)
def test_a_tree_that_cannot_be_meant_is_named(files: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read_folders_of_identities(make(tmp_path, files), load_manifest("folder"))
    assert str(error.value).startswith(str(tmp_path))
    assert said in str(error.value)
