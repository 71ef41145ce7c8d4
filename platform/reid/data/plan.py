"""What a preparation depends on, known before anything is read."""

import hashlib
import json
import os
from pathlib import Path
from typing import NoReturn

from reid.config import DataError, load_manifest
from reid.data.store import SCHEMA_VERSION, Encoding


def plan_digest(
    name: str, source: str | Path, *, height: int = 256, width: int = 128, encoding: Encoding = "raw"
) -> str:
    """Digest of a preparation: the manifest, the settings that matter, and name, size and time of every source file.

    It is known before anything is read, so a store's folder can be named by it.

    Raises:
        DataError: there is no such manifest or source folder.
    """
    source = Path(source)
    manifest = load_manifest(name, source)
    if not os.path.isdir(source):
        raise DataError(f"there is no folder {source}: set data.source to the folder of {manifest.title}")
    settings = [SCHEMA_VERSION, manifest.model_dump(mode="json"), encoding, *manifest.stored_size(height, width)]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for folder, folders, files in os.walk(source, onerror=_refuse):
        folders.sort()
        for file in sorted(files):
            path = os.path.join(folder, file)
            try:
                status = os.stat(path)
            except OSError as error:
                _refuse(error)
            digest.update(
                f"{os.path.relpath(path, source)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(
                    errors="surrogateescape"
                )
            )
    return digest.hexdigest()


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename} cannot be read ({error.strerror}): remove it, or make it readable")
