"""What is raised where a user's settings or data are not as they should be."""

from pydantic import ValidationError

SHOWN = 5


class ConfigError(ValueError):
    """One or more settings are wrong; the message names each by its dotted path, with the remedy."""


class DataError(ValueError):
    """A dataset on disk is not as it should be; the message names the place and the remedy."""


class JobStoppedError(RuntimeError):
    """A job cannot go on, for a reason that its user can remedy and the message says."""


def complaints(error: ValidationError) -> str:
    """The first few of a validation's errors, each with its dotted path, in one line."""
    found = []
    for details in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in details["loc"])
        message = " ".join(details["msg"].removeprefix("Value error, ").split())
        found.append(f"{place}: {message}" if place else message)
    rest = len(found) - SHOWN
    return "; ".join(found[:SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
