"""Models, stages, layouts, spaces, readers and presets from outside of this package.

An extension is a Python file, or a module that can be imported, that adds to the tables when it is imported. It is
imported by the name of its file, on workers too, so that objects of its classes travel between processes.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from reid.config.errors import ConfigError


def load_extensions(names: Sequence[str]) -> list[ModuleType]:
    """Import extensions, each once in a process.

    Args:
        names: paths `FILE.py`, or dotted names of modules.

    Raises:
        ConfigError: there is no such file or module, its name is taken, or it cannot be run.
    """
    return [_load(name) for name in names]


def _load(name: str) -> ModuleType:
    file = Path(name).expanduser().absolute() if name.endswith(".py") else None
    module_name = name if file is None else file.stem
    loaded = sys.modules.get(module_name)
    try:
        if file is None or not os.path.isfile(file):  # on a worker, the file lies where Ray has put it
            return importlib.import_module(module_name)
        if loaded is not None:
            return _require_same(loaded, file)
        return _run(module_name, file)
    except (ImportError, OSError, TypeError, ValueError) as error:  # also where it is no name of anything
        raise ConfigError(f"extensions: {name} cannot be imported ({error}): correct the path") from error


def _require_same(loaded: ModuleType, file: Path) -> ModuleType:
    where = getattr(loaded, "__file__", None)
    if where is None or Path(where).read_bytes() != file.read_bytes():
        raise ConfigError(f"extensions: {file}: a module named {file.stem} is loaded already: rename the file")
    return loaded


def _run(module_name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file may raise
        del sys.modules[module_name]
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == spec.origin]
        where = f" (line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
        raise ConfigError(f"extensions: {file} cannot be run: {type(error).__name__}: {error}{where}") from error
    return module
