"""Places: a local path or a pyarrow.fs URI, and what is done with what lies there."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs

from reid.storage.writing import remove_whole, temporary_folder, whole_file, write_whole


class Place(str):
    """A local path, or a pyarrow.fs URI such as `s3://bucket/reid?region=eu-west-1`, whose options all names keep.

    It is text, as it stands in settings, records and messages.
    """

    __slots__ = ()

    @property
    def is_local(self) -> bool:
        return "://" not in self

    @property
    def name(self) -> str:
        return PurePosixPath(self.partition("?")[0] if not self.is_local else self).name

    @property
    def absolute(self) -> "Place":
        """A local path made absolute; a URI as it is."""
        return Place(Path(self).expanduser().absolute()) if self.is_local else self

    def __truediv__(self, name: str) -> "Place":
        if self.is_local:
            return Place(os.path.join(self, name))
        address, mark, options = self.partition("?")
        return Place(f"{address.rstrip('/')}/{name}{mark}{options}")

    def resolve(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """The file system, and the path in it.

        Raises:
            OSError: there is none of that address, or it is out of reach.
        """
        try:
            return self._resolve()
        except pa.ArrowException as error:
            raise OSError(str(error)) from error

    def _resolve(self) -> tuple[pyarrow.fs.FileSystem, str]:
        if self.is_local:
            return pyarrow.fs.LocalFileSystem(), str(Path(self).absolute())
        filesystem, path = pyarrow.fs.FileSystem.from_uri(str(self))
        return filesystem, path

    def exists(self) -> bool:
        filesystem, path = self.resolve()
        return bool(filesystem.get_file_info(path).type is not pyarrow.fs.FileType.NotFound)

    def names(self) -> list[str]:
        """What lies in the folder; nothing where there is none."""
        filesystem, path = self.resolve()
        found = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
        return sorted(entry.base_name for entry in found)

    def read(self) -> bytes:
        """A file's content.

        Raises:
            FileNotFoundError: there is none.
            OSError: it is no file, or cannot be read.
        """
        filesystem, path = self.resolve()
        match filesystem.get_file_info(path).type:
            case pyarrow.fs.FileType.NotFound:
                raise FileNotFoundError(f"there is no {self}")
            case kind if kind is not pyarrow.fs.FileType.File:
                raise OSError(f"{self} is a folder, pipe or device, and no file")
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())

    def read_text(self) -> str | None:
        """A small file's text; None where there is none."""
        return self.read().decode() if self.exists() else None

    def write(self, content: str | bytes) -> None:
        """Write a small file so that it is there whole or not at all."""
        filesystem, path = self.resolve()
        if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
            write_whole(Path(path), content)
            return
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)  # an object store shows what is complete alone
        with filesystem.open_output_stream(path) as stream:
            stream.write(content.encode() if isinstance(content, str) else content)

    def try_writing(self) -> None:
        """Write a file into the folder and remove it again; any number of processes may try at once.

        Raises:
            OSError, pyarrow.ArrowInvalid: it cannot be written.
        """
        probe = self / f"writable-{uuid.uuid4().hex}"
        if self.is_local:
            with whole_file(Path(probe)) as partial:
                partial.touch()
                partial.unlink()
        else:
            probe.write("")
            probe.delete()

    def size(self) -> int | None:
        """Bytes of a file; None where there is none."""
        filesystem, path = self.resolve()
        size: int | None = filesystem.get_file_info(path).size
        return size

    def upload(self, file: Path) -> None:
        """Copy a local file of any size to here."""
        filesystem, path = self.resolve()
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        pyarrow.fs.copy_files(str(file), path, destination_filesystem=filesystem)

    def delete(self) -> None:
        """Delete the folder, with all that is in it, or the file, if it is there."""
        filesystem, path = self.resolve()
        match filesystem.get_file_info(path).type:
            case pyarrow.fs.FileType.Directory if self.is_local:
                remove_whole(Path(path))
            case pyarrow.fs.FileType.Directory:
                filesystem.delete_dir(path)
            case pyarrow.fs.FileType.File:
                filesystem.delete_file(path)

    @contextmanager
    def on_this_node(self) -> Iterator[Path | None]:
        """The file or folder as a local path, a copy if it is remote; None where there is none."""
        filesystem, path = self.resolve()
        kind = filesystem.get_file_info(path).type
        if kind is pyarrow.fs.FileType.NotFound:
            yield None
        elif isinstance(filesystem, pyarrow.fs.LocalFileSystem):
            yield Path(path)
        else:
            with temporary_folder("copy") as folder:
                copy = folder / PurePosixPath(path).name
                if kind is pyarrow.fs.FileType.Directory:
                    copy.mkdir()
                pyarrow.fs.copy_files(path, str(copy), source_filesystem=filesystem)
                yield copy
