"""Files of rows that are read part by part: Arrow IPC, whose parts are record batches, and Parquet, in row groups.

Arrow is read as fast as it can be copied; Parquet is decoded, which takes several times as long, and more programs open
it. A file of a million rows is read in the memory that a part takes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from reid.config import DataError, require_file
from reid.storage import Place, remove_leftovers, room_for, whole_file

ARROW, PARQUET = ".arrow", ".parquet"
"""Suffixes of the two kinds."""
BLOCK_ROWS = 4096
"""Of a part, at least; a part is in memory at once."""
_ARROW_MAGIC = b"ARROW1"


class RowFile(Protocol):
    """Open for reading; no more is held in memory than what was read."""

    schema: pa.Schema
    parts: int

    def read(self, part: int, columns: Sequence[str]) -> pa.Table:
        """
        Raises:
            OSError, pyarrow.ArrowException: the file is damaged.
        """


def open_rows(place: Place) -> RowFile:
    """Open a file of either kind, whatever its suffix.

    Raises:
        OSError, pyarrow.ArrowException: there is no such file, or it is of neither kind.
    """
    if place.is_local:
        require_file(place)
    filesystem, inside = place.resolve()
    file = filesystem.open_input_file(inside)
    is_arrow = file.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC
    return _Arrow(file) if is_arrow else _Parquet(file)


def write_rows(path: Path, batches: Iterable[pa.RecordBatch], metadata: Mapping[bytes, bytes] | None = None) -> int:
    """Write rows as they come; the file appears under its name when it is complete. Returns their number.

    It is Parquet where the suffix is `.parquet`, else Arrow IPC. Nothing is written where there are no rows. What
    killed processes have left beside it is removed.

    Args:
        metadata: of the schema.

    Raises:
        DataError: the file cannot be written.
        DiskFullError: there is no room for it.
    """
    rows = 0
    try:
        remove_leftovers(path.parent)
        with room_for(path), whole_file(path) as partial, ExitStack() as closing:
            writer = None
            for batch in _in_blocks(batches):
                if writer is None:
                    schema = batch.schema.with_metadata(metadata)
                    writer = closing.enter_context(_open_writer(partial, schema, path.suffix))
                writer.write_batch(batch)
                rows += batch.num_rows
            closing.close()
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}): choose another place for it") from error
    return rows


def _open_writer(path: Path, schema: pa.Schema, suffix: str) -> pa.ipc.RecordBatchFileWriter | pq.ParquetWriter:
    if suffix == PARQUET:
        return pq.ParquetWriter(path, schema, compression="none", use_dictionary=False)
    return pa.ipc.new_file(str(path), schema)


def _in_blocks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `BLOCK_ROWS` or more, but for the last."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(some.num_rows for some in waiting) >= BLOCK_ROWS:
            yield pa.concat_batches(waiting)
            waiting.clear()
    if waiting:
        yield pa.concat_batches(waiting)


class _Arrow:
    """Parts are copied into memory, not mapped: pages of a mapped file count as memory of a process until it ends."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        reader = pa.ipc.open_file(self._file)
        self.schema, self.parts = reader.schema, reader.num_record_batches

    def read(self, part: int, columns: Sequence[str]) -> pa.Table:
        fields = [self.schema.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        return pa.Table.from_batches([pa.ipc.open_file(self._file, options=options).get_batch(part)])


class _Parquet:
    def __init__(self, file: pa.NativeFile) -> None:
        self._file = pq.ParquetFile(file, pre_buffer=False)
        self.schema, self.parts = self._file.schema_arrow, self._file.num_row_groups

    def read(self, part: int, columns: Sequence[str]) -> pa.Table:
        return self._file.read_row_group(part, columns=list(columns), use_threads=False)
