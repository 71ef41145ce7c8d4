"""Environment variables of the libraries we use: set here, and nowhere else, for as long as they are needed."""

import atexit
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def environment(variables: Mapping[str, str], *, unless_set: bool = False) -> Iterator[None]:
    """Variables with these values; as they were before once the context ends.

    Args:
        unless_set: leave alone what the user has set.
    """
    wanted = {name: value for name, value in variables.items() if not (unless_set and name in os.environ)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def set_until_exit(variables: Mapping[str, str]) -> None:
    """Variables with these values for as long as this process runs, but for those that the user has set."""
    kept = environment(variables, unless_set=True)
    kept.__enter__()
    atexit.register(kept.__exit__, None, None, None)
