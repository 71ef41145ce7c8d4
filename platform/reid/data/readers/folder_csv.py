"""Anyone's own images: a folder with `labels.csv` and, where people have attributes, `manifest.yaml`.

Legend: N images, A attributes.
"""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.config import Attribute, DataError, Manifest, read_file
from reid.data.readers.checks import check_counts, check_identities, leaves_folder, some_of
from reid.data.readers.records import Records, number_unknown_cameras

LABELS = "labels.csv"
NEEDED = ("path", "split", "pid")
OPTIONAL = ("camid",)
SPLITS = ("train", "query", "gallery")


@dataclass(frozen=True, kw_only=True)
class _Row:
    path: str
    split: str
    pid: int
    camid: int
    classes: tuple[int, ...]


def read_folder_csv(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `labels.csv`: a header, then a line for each image.

    Columns: `path` below the folder; `split` (`train`, `query` or `gallery`); `pid`, the identity, from 1, or 0 for
    distractors in the gallery; `camid`, from 1 (may be left out or empty: unknown); and a column for each attribute of
    the manifest, named by its one field, with the name of a class (empty: missing).

    Raises:
        DataError: a line is wrong, with its number, or the splits contradict each other.
    """
    if not os.path.lexists(source / LABELS):
        raise DataError(f"there is no {source / LABELS}: write a line with path, split and pid for each image")
    rows = list(_read_rows(source, manifest))
    splits = {split: _records([row for row in rows if row.split == split], manifest) for split in SPLITS}
    check_identities(splits, source / LABELS)
    check_counts(manifest, splits, source)
    return number_unknown_cameras(splits)


def _read_rows(source: Path, manifest: Manifest) -> Iterator[_Row]:
    path = source / LABELS
    line_of: dict[Path, int] = {}
    try:
        with io.StringIO(read_file(path).decode("utf-8-sig"), newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(path, reader.fieldnames or (), manifest)
            for cells in reader:
                place = f"{path}, line {reader.line_num}"
                if None in cells or None in cells.values():
                    raise DataError(f"{place} has more or fewer cells than the header: quote cells that hold a comma")
                row = _parse(place, cells, manifest)
                image = source / row.path
                if image in line_of:
                    raise DataError(f"{place}: {row.path} is in line {line_of[image]} already: keep one")
                if not os.path.isfile(image):  # no exception where the system permits no such name
                    raise DataError(f"{place}: there is no {image}: correct the path or remove the line")
                line_of[image] = reader.line_num
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV in UTF-8, save it as such: {error}") from error


def _check_header(path: Path, header: Sequence[str], manifest: Manifest) -> None:
    several = [attribute.name for attribute in manifest.attributes if len(attribute.fields) != 1]
    if several:
        raise DataError(f"{path.parent}: attributes {some_of(several)} need one field each, the name of their column")
    expected = [*NEEDED, *(attribute.fields[0] for attribute in manifest.attributes)]
    shared = sorted(name for name, times in Counter([*expected, *OPTIONAL]).items() if times > 1)
    if shared:
        raise DataError(
            f"{path.parent / 'manifest.yaml'}: the column {some_of(shared)} has another meaning already: give each "
            "attribute a field of its own"
        )
    missing = [name for name in expected if name not in header]
    if missing:
        raise DataError(f"{path}, line 1: the header lacks {some_of(missing)}: add the columns")
    unknown = [name for name in header if name not in (*expected, *OPTIONAL)]
    if unknown or len(set(header)) < len(header):
        raise DataError(
            f"{path}, line 1: invalid columns {some_of(unknown or header)}, expected each once of "
            f"{', '.join([*expected, *OPTIONAL])}: remove them, or declare them as attributes in "
            f"{path.parent / 'manifest.yaml'}"
        )


def _parse(place: str, cells: dict[str, str], manifest: Manifest) -> _Row:
    if leaves_folder(cells["path"]):
        raise DataError(f"{place}: the path '{cells['path']}' leads out of the folder: give one below it")
    if cells["split"] not in SPLITS:
        raise DataError(f"{place}: invalid split '{cells['split']}', expected one of {', '.join(SPLITS)}")
    camid = _number(place, "camid", cells["camid"], 1) if cells.get("camid") else -1
    if camid > (manifest.cameras or np.inf):
        raise DataError(f"{place}: camid is {camid}, but the manifest has cameras 1..{manifest.cameras}: correct one")
    return _Row(
        path=cells["path"],
        split=cells["split"],
        pid=_number(place, "pid", cells["pid"], 0),
        camid=camid,
        classes=tuple(_class(place, cells[attribute.fields[0]], attribute) for attribute in manifest.attributes),
    )


def _number(place: str, name: str, cell: str, least: int) -> int:
    if not (re.fullmatch("[0-9]{1,10}", cell) and least <= int(cell) < 2**31):
        raise DataError(f"{place}: {name} is '{cell}': give a whole number from {least} to {2**31 - 1}")
    return int(cell)


def _class(place: str, cell: str, attribute: Attribute) -> int:
    if cell and cell not in attribute.classes:
        expected = ", ".join(attribute.classes)
        raise DataError(f"{place}: invalid {attribute.fields[0]} '{cell}', expected one of {expected}, or nothing")
    return attribute.classes.index(cell) if cell else -1


def _records(rows: Sequence[_Row], manifest: Manifest) -> Records:
    classes = np.array([row.classes for row in rows], np.int8)
    return Records(
        paths=tuple(row.path for row in rows),
        names=tuple(row.path for row in rows),
        pids_N=np.array([row.pid for row in rows], np.int64),
        camids_N=np.array([row.camid for row in rows], np.int64),
        attributes_NA=classes.reshape(len(rows), len(manifest.attributes)),
    )
