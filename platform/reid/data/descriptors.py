"""A table of descriptors: a Parquet file with a row for each image.

Columns: `split` (null for a folder of images), `name`, `pid` and `camid` (null where unknown), `descriptor`, a
fixed-size list of float32. The schema's metadata says how the table was made (`Origin`).

Legend: N rows of the table, R rows of a block, D length of a descriptor.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from torch import Tensor

from reid.config import DataError, Section, complaints, require_file
from reid.data.shards import numeric
from reid.storage import Place, remove_leftovers, room_for, whole_file

ORIGIN = b"reid"
"""Key of the schema's metadata."""
LABELS = {"split": pa.string(), "name": pa.string(), "pid": pa.int64(), "camid": pa.int64()}
"""Columns beside the descriptor."""
MAX_DIM = 2**20
BLOCK_ROWS = 4096


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

    Nothing is written where there are no rows. What killed processes have left beside it is removed.

    Raises:
        DataError: the file cannot be written.
        DiskFullError: there is no room for it.
    """
    rows = 0
    try:
        remove_leftovers(path.parent)
        with room_for(path), whole_file(path) as partial, ExitStack() as closing:
            writer = None
            for batch in batches:
                if writer is None:
                    schema = batch.schema.with_metadata({ORIGIN: origin.model_dump_json().encode()})
                    writer = closing.enter_context(pq.ParquetWriter(partial, schema))
                writer.write_batch(batch)
                rows += batch.num_rows
            closing.close()
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}): choose another place for the descriptors") from error
    return rows


class DescriptorTable:
    """A table that was written before, open for reading; descriptors stay in the file.

    Args:
        path: the file, a local path or a pyarrow.fs URI.

    Raises:
        DataError: there is no such file, or it is no table of descriptors.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Place(path)
        try:
            if self.path.is_local:
                require_file(self.path)
            filesystem, inside = self.path.resolve()
            self._file = pq.ParquetFile(filesystem.open_input_file(inside))
            self.origin, self.dim = _checked(self._file.schema_arrow)
            self._labels = self._file.read(columns=list(LABELS))
            self._labels.validate(full=True)
            if self._labels["name"].null_count:
                raise ValueError("some images have no name")
        except FileNotFoundError:
            raise DataError(f"{path} does not exist: write it with --checkpoint and --images first") from None
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from error

    def __len__(self) -> int:
        return int(self._labels.num_rows)

    def row(self, index: int) -> "RowLabels":
        """What a row says beside its descriptor."""
        (row,) = self._labels.slice(index, 1).to_pylist()
        return RowLabels(split=row["split"], name=row["name"], pid=row["pid"], camid=row["camid"])

    def find(self, name: str) -> list[int]:
        """Rows of a name, or of split/name."""
        names, splits = self._labels["name"], self._labels["split"]
        split, _, within = name.partition("/")
        same = pa.compute.equal(names, name)
        if not pa.compute.any(same).as_py():
            same = pa.compute.and_(pa.compute.equal(names, within), pa.compute.equal(splits, split))
        return np.flatnonzero(same.fill_null(False).to_numpy()).tolist()

    def place_in_split(self, index: int) -> int:
        """Position of a row among those of its split."""
        split = self._labels["split"].slice(0, index)
        return int(pa.compute.sum(pa.compute.equal(split, self._labels["split"][index])).as_py() or 0)

    def blocks(self) -> Iterator[Tensor]:
        """Descriptors (R, D) in the order of the rows."""
        rows = 0
        try:
            for batch in self._file.iter_batches(BLOCK_ROWS, columns=["descriptor"]):
                rows += batch.num_rows
                yield torch.from_numpy(self._finite(batch.column("descriptor")))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise self._damaged(error) from error
        if rows != len(self):
            raise self._damaged(f"{rows} descriptors of {len(self)} images")

    def descriptor(self, index: int) -> Tensor:
        """One row's descriptor (D,).

        Raises:
            IndexError: there is no such row.
        """
        start = 0
        for block_RD in self.blocks():
            if index - start < len(block_RD):
                return block_RD[index - start]
            start += len(block_RD)
        raise IndexError(f"{self.path} has no row {index}")

    def _finite(self, column: pa.Array) -> NDArray[np.float32]:
        column.validate(full=True)
        if column.null_count or column.flatten().null_count:
            raise ValueError("some images have no descriptor")
        descriptors_RD = np.array(numeric(column))
        if not np.isfinite(descriptors_RD).all():
            raise ValueError("some descriptors are not finite")
        return descriptors_RD

    def _damaged(self, reason: object) -> DataError:
        shown = complaints(reason) if isinstance(reason, ValidationError) else (str(reason).splitlines() or [""])[0]
        return DataError(f"{self.path} is no table of descriptors ({shown}): write it anew")


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


def list_images(root: Path) -> list[str]:
    """Names of all images (jpg, jpeg, png) under a folder, relative to it, sorted; hidden ones are left out.

    Raises:
        DataError: there is no such folder, it holds no image, or a name is no UTF-8.
    """
    if not os.path.isdir(root):
        raise DataError(f"there is no folder {root}: set --images to a folder of images or a prepared store")
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(folder).relative_to(root)
        names += [
            (relative / file).as_posix()
            for file in files
            if not file.startswith(".") and file.lower().endswith((".jpg", ".jpeg", ".png"))
        ]
    if not names:
        raise DataError(f"{root} holds no image (*.jpg, *.jpeg, *.png): set --images to another folder")
    for name in names:
        if not name.isprintable():
            raise DataError(f"{root} holds an image with a name that cannot be shown, {name!r}: rename it")
    return sorted(names)


def image_place(root: Path, name: str) -> Path:
    """Where an image of a table lies.

    Raises:
        DataError: the name leads out of the folder.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"the name {name!r} leads out of the folder of images {root}: write the table anew")
    return root / parts
