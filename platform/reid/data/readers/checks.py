"""What must hold for every re-ID dataset, whatever its format."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from reid.config import DataError, Manifest, file_name_rule, read_file
from reid.data.readers.records import Records

SHOWN = 10
LONGEST = 300


def some_of(items: Iterable[object]) -> str:
    """The first few of many, and how many there are."""
    listed = [text if len(text) <= LONGEST else f"{text[:LONGEST]}…" for text in map(str, items)]
    rest = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {rest} more ({len(listed)} in all)" if rest > 0 else "")


def require_folders(source: Path, folders: Iterable[str], title: str) -> None:
    """Raise unless the source folder and all of its parts are there."""
    if not os.path.isdir(source):
        raise DataError(f"there is no folder {source}: set data.source to the folder of {title}")
    missing = [folder for folder in folders if not os.path.isdir(source / folder)]
    if missing:
        raise DataError(
            f"{source} lacks {some_of(f'{folder}/' for folder in missing)}: point data.source at the folder of "
            f"{title} that holds it, or put there what is missing"
        )


def names_in(folder: Path) -> list[str]:
    """Names of what lies in a folder, sorted.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error}): make it a folder that you may read") from error


def labels_in(name: str, manifest: Manifest) -> tuple[int, int] | None:
    """(identity, camera) as a manifest's expression finds them in a file's name; None where it does not.

    Raises:
        DataError: the manifest has none.
    """
    if manifest.file_name is None:
        raise DataError(
            f"the manifest {manifest.name} lacks file_name, which {manifest.reader} needs: give it an expression with "
            "groups pid and camid"
        )
    match = file_name_rule(manifest.file_name).match(name)
    texts = [match[group] or "" for group in ("pid", "camid")] if match else []
    numbers = [int(text) for text in texts if re.fullmatch(r"-?[0-9]{1,9}", text)]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None


def leaves_folder(path: str) -> bool:
    """Whether a path that a file names is not below the folder it should be in."""
    steps = PurePosixPath(path)
    return not steps.parts or steps.is_absolute() or ".." in steps.parts or bool(PureWindowsPath(path).drive)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file and their numbers from 1, stripped, without the empty ones.

    Raises:
        DataError: there is no such file, or it is no text.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no {path}: unpack the dataset again") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no text, unpack the dataset again: {error}") from error
    stripped = (line.strip() for line in text.splitlines())
    return ((number, line) for number, line in enumerate(stripped, start=1) if line)


def require_printable(names: Iterable[str], source: Path) -> None:
    """Raise unless all names of images can be written down."""
    unshown = [name for name in names if not name.isprintable()]
    if unshown:
        raise DataError(f"{source}: the names {some_of(map(repr, unshown))} cannot be shown: rename the files")


def check_identities(splits: Mapping[str, Records], source: Path) -> None:
    """Raise unless `train`, `query` and `gallery` make a re-ID dataset: learnable, disjoint and answerable."""
    require_printable((name for records in splits.values() for name in records.names), source)
    empty = [name for name in ("train", "query", "gallery") if not len(splits[name])]
    if empty:
        raise DataError(f"{source} has no images of {some_of(empty)}: add some, or unpack the download again")
    train, query, gallery = (splits[name].pids_N for name in ("train", "query", "gallery"))
    for name, pids in (("train", train), ("query", query)):
        if (pids <= 0).any():
            named = np.flatnonzero(pids <= 0)
            files = some_of(splits[name].paths[row] for row in named)
            raise DataError(f"{source}: distractors (pid 0) belong in the gallery alone: remove {files}")
    identities, images = np.unique(train, return_counts=True)
    if (images < 2).any():
        raise DataError(
            f"{source}: train identities {some_of(identities[images < 2])} have a single image, and re-identification "
            "needs two of each: remove them or add images"
        )
    shared = np.intersect1d(train, np.concatenate([query, gallery]))
    if shared.size:
        raise DataError(
            f"{source}: identities {some_of(shared)} are in train and in the test splits: remove them from one"
        )
    unanswerable = np.setdiff1d(query, gallery)
    if unanswerable.size:
        raise DataError(
            f"{source}: query identities {some_of(unanswerable)} have no image in the gallery: unpack the download "
            "again, or remove them from query"
        )


def check_counts(manifest: Manifest, splits: Mapping[str, Records], source: Path) -> None:
    """Raise if a split's size differs from what the manifest expects, naming every difference."""
    counts = manifest.counts or {}
    unknown = [name for name in counts if name not in splits]
    if unknown:
        raise DataError(
            f"{source}: counts are for {some_of(unknown)}, expected some of {', '.join(splits)}: rename them"
        )
    differences = []
    for name, expected in counts.items():
        found = splits[name]
        if len(found) != expected.images or expected.identities not in (None, found.num_identities):
            differences.append(
                f"{name} has {len(found)} images of {found.num_identities} identities instead of {expected.images}"
                + (f" of {expected.identities}" if expected.identities is not None else "")
            )
    if differences:
        raise DataError(
            f"{source} is not the whole of {manifest.title}: {'; '.join(differences)}. Complete it; or, to use "
            "other images on purpose, say `counts: null` in the manifest, of ours in a copy under another name"
        )
