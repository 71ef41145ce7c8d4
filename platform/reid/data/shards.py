"""One shard of a store: an uncompressed Arrow IPC file with a single record batch, read without copying.

Columns are NumPy arrays: one-dimensional ones become plain columns, two-dimensional ones fixed-size lists, others
fixed-shape tensors. Lists hold bytes or text.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reid.config import require_file
from reid.storage import whole_file

Column = NDArray[Any] | list[bytes] | list[str]
Columns = Mapping[str, Column]


def write_shard(path: Path, columns: Columns) -> None:
    """Write all columns at once; the file appears under its name only when it is complete."""
    write_batch(path, pa.record_batch({name: _to_arrow(values) for name, values in columns.items()}))


def write_batch(path: Path, batch: pa.RecordBatch) -> None:
    with (
        whole_file(path) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def map_shard(path: Path) -> pa.RecordBatch:
    """The record batch of a shard, memory-mapped.

    Raises:
        OSError, pyarrow.ArrowException: the file is missing, cut short or no Arrow file, or points beyond itself.
    """
    require_file(path)
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    if reader.num_record_batches != 1:
        raise pa.ArrowInvalid(f"{reader.num_record_batches} record batches instead of one")
    batch = reader.get_batch(0)
    batch.validate(full=True)
    return batch


def merge_shards(paths: list[Path], target: Path) -> None:
    """Write the rows of several shards as one."""
    table = pa.Table.from_batches([map_shard(path) for path in paths])
    write_batch(target, table.combine_chunks().to_batches()[0])


def numeric(column: pa.Array) -> NDArray[Any]:
    """A read-only view of a numeric column: rows along the first axis."""
    if isinstance(column, pa.FixedShapeTensorArray):
        return np.asarray(column.to_numpy_ndarray())
    if pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.flatten().to_numpy(zero_copy_only=True)).reshape(len(column), column.type.list_size)
    return np.asarray(column.to_numpy(zero_copy_only=True))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_arrow(values: Column) -> pa.Array:
    if isinstance(values, list) or values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))
    if values.ndim == 2:
        return lists
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(flat.type, values.shape[1:]), lists)
