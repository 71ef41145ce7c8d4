"""Where everything lies that a run writes: under one root, a local folder or a pyarrow.fs URI."""

import os
import tempfile
from pathlib import Path
from typing import Self

import pyarrow

from reid.config import CACHE_GB, RunConfig
from reid.storage.cache import Cache
from reid.storage.place import Place
from reid.storage.room import room_for
from reid.storage.writing import remove_leftovers

CACHED = ("cache", "maps")
"""Folders, on this node, of copies of remote stores and of what was computed of images once."""


class Storage:
    """The places under `storage`.

    `sources/` rendered benchmarks, `stores/` Arrow stores, `maps/` pose maps computed once, `runs/` checkpoints and
    results, `exports/` programs, `mlflow.db` and `mlartifacts/` of the default tracking store, `outbox/` run records
    that MLflow has not got yet.

    Args:
        root: of all of them.
        cache_gb: see `RunConfig`.
    """

    def __init__(self, root: str, cache_gb: float = CACHE_GB) -> None:
        self.root = Place(root)
        self.is_local = self.root.is_local
        self.cache = Cache(self.scratch, cache_gb * 1e9, CACHED)

    @classmethod
    def of(cls, config: RunConfig) -> Self:
        return cls(config.storage, config.cache_gb)

    def place(self, *names: str) -> Place:
        """A place under the root, local path or URI as the root is."""
        place = self.root
        for name in names:
            place = place / name
        return place

    @property
    def scratch(self) -> Path:
        """A local folder for what must lie on this node: the root itself where it is local."""
        if self.is_local:
            return Path(self.root)
        return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "reid"

    def make_ready(self) -> None:
        """Remove what killed jobs have left, and try to write under the root; for every job to begin with.

        Raises:
            ValueError: it cannot be written.
        """
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            with room_for(self.root):
                self.root.try_writing()
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise ValueError(
                f"storage: cannot write to {self.root} ({error}); set storage=… or REID_STORAGE to a place of yours"
            ) from error

    def _remove_leftovers(self) -> None:
        """On this node: under the root, or the cache of a remote one, and among temporary folders."""
        remove_leftovers(Path(tempfile.gettempdir()))
        for folder, folders, _ in os.walk(self.scratch):
            folders[:] = [name for name in folders if name != "mlartifacts" and not name.startswith(".")]
            remove_leftovers(Path(folder))
