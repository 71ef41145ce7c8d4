"""Where everything lies that a run writes: under one root, a local folder or a pyarrow.fs URI."""

import os
from collections.abc import Collection
from pathlib import Path

import pyarrow.fs

from reid.data import Dataset, local_copy, open_dataset


class Storage:
    """The places under `storage`.

    `sources/` rendered benchmarks, `stores/` Arrow stores, `runs/` checkpoints and results, `mlflow.db` and
    `mlartifacts/` of the default tracking store, `outbox/` run records that MLflow has not got yet.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") if "://" in root else root
        self.is_local = "://" not in root

    def place(self, *names: str) -> str:
        """A place under the root, local path or URI as the root is."""
        return "/".join((self.root, *names))

    @property
    def scratch(self) -> Path:
        """A local folder for what must lie on this node: the root itself where it is local."""
        if self.is_local:
            return Path(self.root)
        return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "reid"

    def read(self, *names: str) -> str | None:
        """Text of a small file; None where there is none."""
        filesystem, path = self._resolve(*names)
        if filesystem.get_file_info(path).type is pyarrow.fs.FileType.NotFound:
            return None
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.read()).decode()

    def write(self, text: str, *names: str) -> None:
        """Write a small file so that it is there whole or not at all."""
        filesystem, path = self._resolve(*names)
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with filesystem.open_output_stream(f"{path}.partial") as stream:
            stream.write(text.encode())
        filesystem.move(f"{path}.partial", path)

    def upload(self, file: Path, *names: str) -> None:
        """Copy a local file of any size."""
        filesystem, path = self._resolve(*names)
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        pyarrow.fs.copy_files(str(file), path, destination_filesystem=filesystem)

    def require_writable(self) -> None:
        """Try to write under the root.

        Raises:
            ValueError: it cannot be written.
        """
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            self.write("", ".writable")
            filesystem, path = self._resolve(".writable")
            filesystem.delete_file(path)
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise ValueError(
                f"storage: cannot write to {self.root} ({error}); set storage=… or REID_STORAGE to a place of yours"
            ) from error

    def _resolve(self, *names: str) -> tuple[pyarrow.fs.FileSystem, str]:
        return open_place(self.place(*names))


def open_place(place: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The file system of a local path or a pyarrow.fs URI, and the path in it."""
    if "://" not in place:
        return pyarrow.fs.LocalFileSystem(), str(Path(place).absolute())
    filesystem, path = pyarrow.fs.FileSystem.from_uri(place)
    return filesystem, path


def delete_folder(place: str) -> None:
    """Delete a folder, a local path or a pyarrow.fs URI, with all that is in it, if it is there."""
    filesystem, path = open_place(place)
    if filesystem.get_file_info(path).type is not pyarrow.fs.FileType.NotFound:
        filesystem.delete_dir(path)


def open_store(place: str, storage: str, splits: Collection[str] | None = None) -> Dataset:
    """Open an Arrow store; a remote one through this node's cache.

    Args:
        place: the store's folder or URI.
        storage: root of the run's storage.
        splits: open these alone and touch no file of the others; none = all.
    """
    cache = Storage(storage).scratch / "cache"
    return open_dataset(local_copy(place, cache, splits), verify="sizes", splits=splits)
