"""MATLAB's file format, level 5, as far as annotations need it: structs, cells, text and numbers.

SciPy reads more, and what is damaged crashes its compiled parser, and the process with it.
"""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.config import read_file

HEADER_BYTES = 128
ORDERS = {b"IM": "<", b"MI": ">"}
"""Byte order by the header's last two bytes."""
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
ENCODINGS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
"""Of text, by the type of element."""
CELL, STRUCT, TEXT = 1, 2, 4
NUMERIC = range(6, 16)
"""Classes of arrays."""
MAX_BYTES = 2**28
"""Of a variable when decompressed."""
MAX_DEPTH = 8


def load_mat(path: Path) -> dict[str, Any]:
    """Variables by name: a struct as a dictionary, a cell as an array of objects, text as `str`, numbers as an array.

    Dimensions of one are left out.

    Raises:
        OSError: see `reid.config.read_file`.
        ValueError: it is no such file, is damaged, or holds something else.
    """
    content = memoryview(read_file(path))
    order = ORDERS.get(bytes(content[HEADER_BYTES - 2 : HEADER_BYTES]))
    if order is None:
        raise ValueError("it has no header of a MATLAB 5 file")
    found: dict[str, Any] = {}
    for kind, data in _elements(content[HEADER_BYTES:], order):
        variables = _elements(_decompressed(data), order) if kind == COMPRESSED else [(kind, data)]
        found.update(_matrix(variable, order, MAX_DEPTH) for kind, variable in variables if kind == MATRIX)
    return found


def _decompressed(data: memoryview) -> memoryview:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not stream.eof:
        raise ValueError(f"a variable is cut short, or has more than {MAX_BYTES:,} bytes")
    return memoryview(content)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, content) of what stands one behind the other."""
    here = 0
    while here < len(data):
        kind, size = np.frombuffer(data[here : here + 8], f"{order}u4").tolist()
        start = here + 8
        if kind >> 16:  # up to four bytes stand in the place of the size
            kind, size, start = kind & 0xFFFF, kind >> 16, here + 4
        if start + size > len(data) or (start == here + 4 and size > 4):
            raise ValueError("an element is longer than what holds it")
        yield kind, data[start : start + size]
        here = start + size if kind == COMPRESSED else start + size + -(start + size - here) % 8


def _matrix(data: memoryview, order: str, depth: int) -> tuple[str, Any]:
    """(name, value) of a variable or of a part of one."""
    if not data:
        return "", np.empty(0)
    if not depth:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    (_, flags), (_, dims), (_, name), *parts = _elements(data, order)
    kind = _first(flags, f"{order}u4") & 0xFF
    shape = np.frombuffer(dims, f"{order}i4").tolist()
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"it holds an array of shape {shape}")
    if kind == TEXT:
        return bytes(name).decode(), _text(parts, shape, order)
    if kind in NUMERIC:
        return bytes(name).decode(), _numbers(parts, shape, order)
    if kind == STRUCT:
        return bytes(name).decode(), _struct(parts, shape, order, depth)
    if kind == CELL:
        values = np.empty(len(parts), object)
        for place, (_, part) in enumerate(parts):
            values[place] = _matrix(part, order, depth - 1)[1]
        return bytes(name).decode(), _shaped(values, shape)
    raise ValueError(f"it holds an array of class {kind}, which is neither struct, cell, text nor numbers")


def _first(data: memoryview, kind: str) -> int:
    numbers = np.frombuffer(data, kind)
    if not numbers.size:
        raise ValueError("an element is empty")
    return int(numbers[0])


def _struct(parts: list[tuple[int, memoryview]], shape: list[int], order: str, depth: int) -> dict[str, Any]:
    (_, length), (_, names), *values = parts
    size = _first(length, f"{order}i4")
    fields = [bytes(names[start : start + size]).partition(b"\0")[0].decode() for start in range(0, len(names), size)]
    if math.prod(shape) != 1 or len(values) != len(fields):
        raise ValueError("a struct has more or fewer values than fields")
    return {field: _matrix(value, order, depth - 1)[1] for field, (_, value) in zip(fields, values, strict=True)}


def _text(parts: list[tuple[int, memoryview]], shape: list[int], order: str) -> Any:
    """A text, or an array of as many as there are rows."""
    ((kind, data),) = parts
    if kind not in ENCODINGS:
        raise ValueError(f"text of type {kind} is unknown")
    suffix = {"<": "-le", ">": "-be"}[order] if ENCODINGS[kind] != "utf-8" else ""
    text = bytes(data).decode(ENCODINGS[kind] + suffix)
    rows = min(shape[0], len(text))
    return text if rows <= 1 else np.array([text[row::rows] for row in range(rows)])


def _numbers(parts: list[tuple[int, memoryview]], shape: list[int], order: str) -> NDArray[Any]:
    if len(parts) != 1 or parts[0][0] not in NUMBERS:
        raise ValueError("it holds numbers that are complex or of an unknown type")
    kind, data = parts[0]
    return _shaped(np.frombuffer(data, order + NUMBERS[kind]), shape)


def _shaped(values: NDArray[Any], shape: list[int]) -> NDArray[Any]:
    return values.reshape(shape, order="F").squeeze()
