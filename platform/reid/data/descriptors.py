"""A table of descriptors: an Arrow IPC or Parquet file with a row for each image.

Columns: `split` (null for a folder of images), `name`, `pid` and `camid` (null where unknown), `descriptor`, a
fixed-size list of float32. The schema's metadata says how the table was made (`Origin`).

Legend: N rows of the table, R rows of a block, D length of a descriptor.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyarrow import compute
from pydantic import Field, ValidationError
from torch import Tensor

from reid.config import DataError, Section, complaints
from reid.data.row_file import BLOCK_ROWS, open_rows, write_rows
from reid.storage import Place

ORIGIN = b"reid"
"""Key of the schema's metadata."""
LABELS = {"split": pa.string(), "name": pa.string(), "pid": pa.int64(), "camid": pa.int64()}
"""Columns beside the descriptor."""
MAX_DIM = 2**20


class Origin(Section):
    """How a table was made."""

    images: str
    """The folder of images, or the folder or URI of the prepared store."""
    kind: Literal["folder", "store"]
    checkpoint: str
    digest: str
    """Digest of the model: `reid.export.descriptor.Descriptor.digest`."""
    phase: str
    height: int = Field(ge=16, le=1024)
    """Of the model's input in pixels."""
    width: int = Field(ge=16, le=1024)
    settings: dict[str, Any]
    """All settings of the extraction, as `reid.config.load_config` takes them."""


class RowLabels(TypedDict):
    """An image of a table; None where unknown."""

    split: str | None
    name: str
    pid: int | None
    camid: int | None


def rows_of(
    descriptors_RD: NDArray[np.float32],
    names: list[str],
    *,
    split: str | None = None,
    pids_R: NDArray[np.int64] | None = None,
    camids_R: NDArray[np.int64] | None = None,
) -> pa.RecordBatch:
    """Rows of a table."""
    count, dim = descriptors_RD.shape
    flat = pa.array(np.ascontiguousarray(descriptors_RD, np.float32).reshape(-1))
    return pa.record_batch(
        {
            "split": pa.array([split] * count, pa.string()),
            "name": pa.array(names, pa.string()),
            "pid": pa.nulls(count, pa.int64()) if pids_R is None else pa.array(pids_R),
            "camid": pa.nulls(count, pa.int64()) if camids_R is None else pa.array(camids_R),
            "descriptor": pa.FixedSizeListArray.from_arrays(flat, dim),
        }
    )


def write_table(path: Path, origin: Origin, batches: Iterable[pa.RecordBatch]) -> int:
    """Write a table as its rows come; it appears under its name when it is complete. Returns the number of rows.

    See `write_rows`.

    Raises:
        DataError: the file cannot be written.
        DiskFullError: there is no room for it.
    """
    return write_rows(path, batches, {ORIGIN: origin.model_dump_json().encode()})


class DescriptorTable:
    """A table that was written before, open for reading; its rows stay in the file, whatever their number.

    Args:
        path: the file, a local path or a pyarrow.fs URI.

    Raises:
        DataError: there is no such file, or it is no table of descriptors.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Place(path)
        try:
            self._file = open_rows(self.path)
            self.origin, self.dim = _checked(self._file.schema)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist: write it with --checkpoint and --images first") from None
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from error
        self._splits: list[Counter[str | None]] = []
        """Rows of each part, by split."""
        starts = [0]
        for part in range(self._file.parts):
            labels = self._read(part, list(LABELS))
            if labels["name"].null_count:
                raise self._damaged("some images have no name")
            counts = compute.value_counts(labels["split"].combine_chunks()).to_pylist()
            self._splits.append(Counter({count["values"]: count["counts"] for count in counts}))
            starts.append(starts[-1] + labels.num_rows)
        self._starts = np.array(starts)
        """First row of each part, and the number of all rows."""

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> list[RowLabels]:
        """What rows say beside their descriptors.

        Raises:
            IndexError: there is no such row.
        """
        wanted = np.asarray(indices, np.int64)
        parts = self._parts_of(wanted)
        found: dict[int, RowLabels] = {}
        for part in np.unique(parts):
            here = np.unique(wanted[parts == part])
            labels = self._read(int(part), list(LABELS)).take(here - self._starts[part]).to_pylist()
            found |= dict(zip(here.tolist(), labels, strict=True))
        return [found[index] for index in wanted.tolist()]

    def row(self, index: int) -> RowLabels:
        """What one row says; see `rows`."""
        return self.rows([index])[0]

    def find(self, name: str) -> list[int]:
        """Rows of a name, or of split/name."""
        split, _, within = name.partition("/")
        exact, in_split = [], []
        for part, start in enumerate(self._starts[:-1]):
            labels = self._read(part, ["name", "split"])
            same = compute.equal(labels["name"], name)
            of_split = compute.and_(compute.equal(labels["name"], within), compute.equal(labels["split"], split))
            exact.append(np.flatnonzero(same.to_numpy()) + start)
            in_split.append(np.flatnonzero(of_split.fill_null(False).to_numpy()) + start)
        for rows in (exact, in_split):
            if found := [row for some in rows for row in some.tolist()]:
                return found
        return []

    def place_in_split(self, index: int) -> int:
        """Position of a row among those of its split."""
        part = self._part_of(index)
        splits = self._read(part, ["split"])["split"].slice(0, index - self._starts[part] + 1).to_pylist()
        before: int = splits[:-1].count(splits[-1])
        return before + sum(counts[splits[-1]] for counts in self._splits[:part])

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Tensor]:
        """Descriptors (R, D) of the rows from `start` to `stop`, in their order; none = of all.

        A part of the file is read while whoever asks works on the one before.
        """
        stop = len(self) if stop is None else stop
        parts = [
            part for part in range(self._file.parts) if self._starts[part] < stop and start < self._starts[part + 1]
        ]
        for part, descriptors_RD in zip(parts, _read_ahead(self._descriptors, parts), strict=True):
            first = int(self._starts[part])
            yield from torch.split(descriptors_RD[max(start - first, 0) : stop - first], BLOCK_ROWS)

    def descriptor(self, index: int) -> Tensor:
        """One row's descriptor (D,).

        Raises:
            IndexError: there is no such row.
        """
        part = self._part_of(index)
        return self._descriptors(part)[index - int(self._starts[part])].clone()

    def _part_of(self, index: int) -> int:
        return int(self._parts_of(np.array([index]))[0])

    def _parts_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        if len(outside := indices[(indices < 0) | (indices >= len(self))]):
            raise IndexError(f"{self.path} has no row {outside[0]}")
        return np.searchsorted(self._starts, indices, side="right") - 1

    def _descriptors(self, part: int) -> Tensor:
        chunked = self._read(part, ["descriptor"])["descriptor"]
        column = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()  # which copies
        if column.null_count or column.flatten().null_count:
            raise self._damaged("some images have no descriptor")
        if len(column) != self._splits[part].total():
            raise self._damaged(f"{len(column)} descriptors of {self._splits[part].total()} images")
        numbers = column.flatten()
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(numbers.to_numpy().sum()):
                raise self._damaged("some descriptors are not finite, or beyond all measure")
        return torch.utils.dlpack.from_dlpack(numbers).view(-1, self.dim)

    def _read(self, part: int, columns: list[str]) -> pa.Table:
        """
        Raises:
            DataError: this part of the file is damaged.
        """
        try:
            rows = self._file.read(part, columns)
            rows.validate(full=True)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise self._damaged(error) from error
        return rows

    def _damaged(self, reason: object) -> DataError:
        shown = complaints(reason) if isinstance(reason, ValidationError) else (str(reason).splitlines() or [""])[0]
        return DataError(f"{self.path} is no table of descriptors ({shown}): write it anew")


def _read_ahead(read: Callable[[int], Tensor], parts: Sequence[int]) -> Iterator[Tensor]:
    """What is read of each part, the next one in another thread by the time that one is asked for."""
    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(read, part) for part in parts[:1]]
        for place in range(1, len(parts) + 1):
            coming += [reader.submit(read, part) for part in parts[place : place + 1]]
            yield coming.pop(0).result()


def _checked(schema: pa.Schema) -> tuple[Origin, int]:
    """How the table was made, and the length of its descriptors.

    Raises:
        KeyError, TypeError, pydantic.ValidationError: it is no table of descriptors.
    """
    origin = Origin.model_validate_json((schema.metadata or {})[ORIGIN])
    if schema.names != [*LABELS, "descriptor"] or any(schema.field(name).type != LABELS[name] for name in LABELS):
        raise TypeError(f"its columns are {', '.join(f'{field.name} {field.type}' for field in schema)}")
    descriptor = schema.field("descriptor").type
    if not (pa.types.is_fixed_size_list(descriptor) and descriptor.value_type == pa.float32()):
        raise TypeError(f"its descriptors are {descriptor}")
    if not 1 <= descriptor.list_size <= MAX_DIM:
        raise TypeError(f"its descriptors have {descriptor.list_size} numbers")
    return origin, descriptor.list_size
