"""A user's own CSV: a header, then a line for each image."""

import csv
import io
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from reid.config import DataError, Manifest, read_file, require_file
from reid.data.readers.checks import leaves_folder, names_in, some_of
from reid.data.readers.listing import SPLIT_WORDS, Listing, Problems, shown

LABELS = "labels.csv"
SUFFIXES = (".csv", ".tsv")
MAX_BYTES = 2**30
DELIMITERS = ",;\t"
SYNONYMS = {
    "path": ("path", "file", "filename", "filepath", "image", "imagename", "imagepath", "img", "imgname", "imgpath"),
    "pid": ("pid", "id", "identity", "identityid", "person", "personid", "subject", "subjectid"),
    "split": ("split", "subset", "set", "partition"),
    "camid": ("camid", "cam", "camera", "cameraid"),
}
"""Headers by meaning, without case, spaces, `_` and `-`; the first of each goes before the others."""
NEEDED = ("path", "pid")
ODD_PATH = re.compile(r"^/|^$|\.(/|$)|//|:")
"""What a path has that may lead out of its folder, or be written in another way."""

Rows = Iterator[tuple[int, list[str]]]
"""The line that each begins in, and its cells."""


def find_labels(source: Path) -> Path | None:
    """`labels.csv`, else the one `.csv` or `.tsv` beside the images; None where there is none.

    Raises:
        DataError: there are several.
    """
    if os.path.lexists(source / LABELS):
        return source / LABELS
    names = (name for name in names_in(source) if not name.startswith("."))
    found = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
    if len(found) > 1:
        raise DataError(f"{source} holds {some_of(found)}: name the one that lists the images {LABELS}")
    return source / found[0] if found else None


def read_labels(path: Path, manifest: Manifest, problems: Problems) -> Listing:
    """The images that a CSV lists, below its own folder; what is wrong with a line goes to `problems`.

    Raises:
        DataError: it cannot be read, or its header is wrong.
    """
    rows = _rows(path, problems)
    line, header = next(rows, (1, []))
    place_of = _columns(line, header, manifest, path.parent, problems)
    problems.raise_any()
    columns: dict[str, list[str]] = {name: [] for name in place_of}
    lines: list[int] = []
    same: dict[str, str] = {}  # equal texts share their memory
    for line, cells in rows:
        if len(cells) < len(header) or any(cells[len(header) :]):
            what = f"it has {len(cells)} cells and the header {len(header)}: quote cells that hold the delimiter"
            problems.in_line(line, what)
            continue
        lines.append(line)
        for name, place in place_of.items():
            columns[name].append(same.setdefault(cells[place], cells[place]))
    splits = columns.pop("split", None)
    listing = Listing(
        place=str(path),
        lines=lines,
        paths=[image.replace("\\", "/") for image in columns.pop("path")],
        identities=columns.pop("pid"),
        splits=None if splits is None else [SPLIT_WORDS.get(word.casefold(), word) for word in splits],
        cameras=columns.pop("camid", None),
        columns=columns,
    )
    _check_paths(listing, path.parent, problems)
    return listing


def _rows(path: Path, problems: Problems) -> Rows:
    """Rows with anything in them, their cells stripped.

    Raises:
        DataError: the file cannot be read, or is no text in UTF-8.
    """
    text = _text(path)
    first = text.lstrip("\r\n").partition("\n")[0].partition("\r")[0]
    with io.StringIO(text, newline="") as file:
        reader = csv.reader(file, delimiter=_delimiter(first), skipinitialspace=True, strict=True)
        before = 0
        try:
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if any(stripped):
                    yield before + 1, stripped
                before = reader.line_num
        except csv.Error as error:
            what = f"it is no CSV ({error}): close its quotes, double a quote within a cell, and shorten vast cells"
            problems.in_line(before + 1, what)


def _text(path: Path) -> str:
    try:
        require_file(path)
        if os.path.getsize(path) > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES:,} bytes: leave out columns that are no labels")
        content = read_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): make it a readable file") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: it is no CSV in UTF-8 ({error.reason}): save it as such") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}, line {line}: it holds a null character: save it anew, as a CSV in UTF-8")
    return text


def _delimiter(header: str) -> str:
    """The one by which a header has most columns that we know, then most columns."""

    def told(delimiter: str) -> tuple[int, int]:
        names = header.split(delimiter)
        known = {meaning for meaning, words in SYNONYMS.items() for name in names if _key(name) in words}
        return len(known), len(names)

    return max(DELIMITERS, key=told)


def _key(name: str) -> str:
    return re.sub(r'[\s_"-]', "", name).casefold()


def _columns(line: int, header: Sequence[str], manifest: Manifest, folder: Path, problems: Problems) -> dict[str, int]:
    """The place of each column: under its meaning, an attribute's field, or its own name.

    A column without a name is an index that a table was saved with, and left alone.
    """
    declared = _declared(manifest, folder)
    keys = {place: _key(name) for place, name in enumerate(header) if name}
    times = Counter(keys.values())
    doubled = [header[place] for place, key in keys.items() if times[key] > 1]
    if doubled:
        problems.in_line(line, f"the columns {some_of(map(shown, doubled))} have one name: rename or remove one")
    place_of: dict[str, int] = {}
    for meaning, words in SYNONYMS.items():
        found = [place for place, key in keys.items() if key in words and key not in declared]
        exact = [place for place in found if keys[place] == meaning]
        if len(exact or found) > 1 and not doubled:
            names = some_of(shown(header[place]) for place in found)
            problems.in_line(line, f"the columns {names} can all be the {meaning}: name the right one {meaning}")
        if found:
            place_of[meaning] = (exact or found)[0]
    place_of |= {declared[key]: place for place, key in keys.items() if key in declared}
    missing = [name for name in (*NEEDED, *declared.values()) if name not in place_of]
    if missing:
        remedy = "add the columns, or the header itself, or take away a file that lists no images"
        problems.in_line(line, f"the header lacks {some_of(missing)}: {remedy}")
    taken = {*place_of.values()}
    return place_of | {header[place]: place for place in keys if place not in taken}


def _declared(manifest: Manifest, folder: Path) -> dict[str, str]:
    """Fields of the manifest's attributes by key.

    Raises:
        DataError: an attribute has several, or one that means something else.
    """
    several = [attribute.name for attribute in manifest.attributes if len(attribute.fields) != 1]
    if several:
        raise DataError(f"{folder}: attributes {some_of(several)} need one field each, the name of their column")
    fields = [attribute.fields[0] for attribute in manifest.attributes]
    times = Counter([*map(_key, fields), *SYNONYMS])
    shared = sorted({name for name in fields if times[_key(name)] > 1})
    if shared:
        raise DataError(
            f"{folder}: the column {some_of(shared)} has another meaning already: give each attribute of the manifest "
            "a field of its own"
        )
    return {_key(name): name for name in fields}


def _check_paths(listing: Listing, folder: Path, problems: Problems) -> None:
    row_of: dict[str, int] = {}
    assert listing.lines is not None
    for row, image in enumerate(listing.paths):
        odd = ODD_PATH.search(image) is not None  # taking every path apart takes longer than all else
        first = row_of.setdefault(posixpath.normpath(image) if odd else image, row)
        if odd and leaves_folder(image):
            problems.of_row(listing, row, f"the path {shown(image)} leads out of the folder: give one below it")
        elif first != row:
            problems.of_row(listing, row, f"{shown(image)} is in line {listing.lines[first]} already: keep one")
        elif not os.path.isfile(f"{folder}/{image}"):  # no exception where the system permits no such name
            problems.of_row(
                listing, row, f"there is no {shown(image)} beside the CSV: correct the path, or remove the line"
            )
