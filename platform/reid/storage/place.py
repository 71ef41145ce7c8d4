"""Places: a local path or a pyarrow.fs URI, and what is done with what lies there."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs

from reid.config import require_no_password
from reid.storage.writing import remove_whole, temporary_folder, whole_file, write_whole


class Place(str):
    """A local path, or a pyarrow.fs URI such as `s3://bucket/reid?region=eu-west-1`, whose options all names keep.

    It is text, as it stands in settings, records and messages, so it may hold no secret: those are given by the
    environment.

    Raises:
        ValueError: it holds a password, token or key.
    """

    __slots__ = ()

    def __new__(cls, text: "str | os.PathLike[str]") -> "Place":
        place = os.fspath(text)
        try:
            require_no_password(place)
        except ValueError as error:
            raise ValueError(f"the address {error}") from None
        return super().__new__(cls, place)

    @property
    def is_local(self) -> bool:
        return "://" not in self

    @property
    def address(self) -> str:
        """Without the options of a URI."""
        return str(self) if self.is_local else self.partition("?")[0]

    @property
    def options(self) -> str:
        """Of a URI, what stands behind its question mark."""
        return "" if self.is_local else self.partition("?")[2]

    @property
    def name(self) -> str:
        return PurePosixPath(self.address).name

    @property
    def absolute(self) -> "Place":
        """A local path made absolute; a URI as it is."""
        return Place(Path(self).expanduser().absolute()) if self.is_local else self

    def __truediv__(self, name: str) -> "Place":
        return self._with_address(os.path.join(self.address if self.is_local else self.address.rstrip("/"), name))

    @property
    def parent(self) -> "Place":
        return self._with_address(os.path.dirname(self.address))

    def _with_address(self, address: str) -> "Place":
        return Place(f"{address}?{self.options}" if self.options else address)

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

    def upload(self, source: Path, *, last: str = "") -> None:
        """Copy a local file or folder of any size to here.

        Args:
            last: name of the file in the folder that comes last, so that one which has it is whole.
        """
        if source.is_dir():
            for inside in sorted(source.iterdir(), key=lambda inside: (inside.name == last, inside.name)):
                (self / inside.name).upload(inside)
            return
        filesystem, path = self.resolve()
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        pyarrow.fs.copy_files(str(source), path, destination_filesystem=filesystem)

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
    def from_this_node(self, *, last: str = "") -> Iterator[Path]:
        """A local path to write a file or folder at, whole or not at all: this place's own, or one that is copied here
        as the block ends.

        Args:
            last: see `upload`.
        """
        if self.is_local:
            yield Path(self)
            return
        with temporary_folder("new") as folder:
            yield folder / self.name
            if (folder / self.name).exists():
                self.upload(folder / self.name, last=last)

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
