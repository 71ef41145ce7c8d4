"""What a user names on disk, read so that nothing in it can hang the reader or grow beyond what the file holds."""

import os
import re
import stat
from pathlib import Path

import yaml

MAX_YAML_BYTES = 2**20
MAX_DEPTH = 64
"""Of mappings and lists in YAML; ours are seven deep."""
MAX_NODES = 100_000
"""Of YAML once its aliases are written out."""
MAX_DIGITS = 300
MAX_INTERPOLATIONS = 32
"""Each may hold others, so that they multiply."""


def require_file(path: str | Path) -> None:
    """Raise unless there is an ordinary file: a pipe would be waited for, and a device read for ever.

    Raises:
        OSError: there is none, it is out of reach, or it is something else.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # a name with a null character
        raise FileNotFoundError(f"{path!r}: {error}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise OSError(f"it is {kind}, and no file")


def read_file(path: str | Path) -> bytes:
    """An ordinary file's content.

    Raises:
        OSError: as `require_file`, or it cannot be read.
    """
    require_file(path)
    return Path(path).read_bytes()


def read_yaml(path: str | Path) -> str:
    """The text of a YAML file that is safe to load.

    Raises:
        OSError: see `read_file`.
        ValueError: it is no text, or see `require_plain_yaml`.
    """
    require_file(path)
    if os.path.getsize(path) > MAX_YAML_BYTES:
        raise ValueError(f"it has more than {MAX_YAML_BYTES:,} bytes")
    text = read_file(path).decode()
    require_plain_yaml(text)
    return text


def require_plain_yaml(text: str) -> None:
    """Raise unless text is YAML of a depth and a size that settings have, before anything is made of it.

    Raises:
        ValueError: it is no YAML, nests too deeply, is vast once its aliases are written out, or holds vast numbers.
    """
    if text.count("${") > MAX_INTERPOLATIONS:
        raise ValueError(f"it has more than {MAX_INTERPOLATIONS} interpolations, ${{…}}")
    sizes: dict[str, int] = {}
    under_way: list[tuple[str | None, int]] = [(None, 0)]
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            match event:
                case yaml.CollectionStartEvent():
                    under_way.append((event.anchor, 1))
                    if len(under_way) > MAX_DEPTH:
                        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
                    continue
                case yaml.CollectionEndEvent():
                    anchor, size = under_way.pop()
                case yaml.AliasEvent():
                    if event.anchor not in sizes:
                        raise ValueError(f"the alias *{event.anchor} stands for what it is part of, or for nothing")
                    anchor, size = None, sizes[event.anchor]
                case yaml.ScalarEvent():
                    anchor, size = event.anchor, 1
                    if event.style is None and re.fullmatch(rf"[-+]?[0-9][\w:]{{{MAX_DIGITS},}}", event.value):
                        raise ValueError(f"it holds a number of {len(event.value):,} digits")
                case _:
                    continue
            if anchor is not None:
                sizes[anchor] = size
            outer, total = under_way.pop()
            under_way.append((outer, total + size))
            if total + size > MAX_NODES:
                raise ValueError(f"it has more than {MAX_NODES:,} values once its aliases are written out")
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
