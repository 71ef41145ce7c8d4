"""The command line that all jobs share."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reid.cluster import PhaseFailedError, PlacementError
from reid.config import PRESETS, RunConfig, load_config, require_no_password, without_passwords
from reid.storage import Place, disk_full
from reid.training import load_state

DEFAULT_PRESET = "demo"
JOB_ERRORS = (ValueError, PlacementError, PhaseFailedError, ConnectionError)
"""What a user can remedy: one clear line instead of a traceback."""
CHECKPOINT_HELP = "a phase's checkpoint: a folder or a pyarrow.fs URI"
OF_ANOTHER_PLACE = {"storage", "tracking", "scaling", "extensions"}
"""Settings of where a checkpoint was trained and recorded, and of what ran there: none that its user asked for."""


def parser(description: str) -> argparse.ArgumentParser:
    """`--preset`, `--config` and `--set`, which every job has."""
    command = argparse.ArgumentParser(description=description, allow_abbrev=False)
    command.add_argument("--preset", help=f"complete settings by name: {', '.join(PRESETS)}; {DEFAULT_PRESET} if none")
    command.add_argument("--config", metavar="FILE", help="YAML settings laid over the preset")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="dotted.key=value",
        help="one setting laid over both, such as phases.final.epochs=3; repeatable",
    )
    return command


def run(
    job: Callable[[RunConfig], object],
    arguments: argparse.Namespace,
    base: Callable[[], Mapping[str, Any]] | None = None,
) -> None:
    """Run a job with the configuration that the arguments describe; exits with status 1 where it fails.

    Args:
        base: gives a full tree of settings to use where no preset is named.
    """
    to_terminal = logging.StreamHandler()
    to_terminal.setFormatter(_WithoutPasswords())
    logging.basicConfig(level=logging.INFO, handlers=[to_terminal])
    for chatty in ("alembic", "mlflow", "ray"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # tracebacks of what it raises, too
    try:
        config = load_config(
            preset=arguments.preset or DEFAULT_PRESET,
            base=base if arguments.preset is None else None,
            file=arguments.config,
            overrides=arguments.overrides,
        )
        _run(job, config)
    except JOB_ERRORS as error:
        sys.exit(without_passwords(f"error: {error}"))


def place(address: str) -> Place:
    """A place as the command line names it, for argparse.

    Raises:
        argparse.ArgumentTypeError: it holds a password.
    """
    try:
        require_no_password(address)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"the address {error}") from error
    return Place(address).absolute


class _WithoutPasswords(logging.Formatter):
    """Also of what libraries say."""

    def format(self, record: logging.LogRecord) -> str:
        return without_passwords(super().format(record))


def _run(job: Callable[[RunConfig], object], config: RunConfig) -> None:
    """
    Raises:
        DiskFullError: the job failed for that reason and has not said so.
    """
    try:
        job(config)
    except JOB_ERRORS:
        raise
    except Exception as error:
        full = disk_full(error, config.storage)
        if full is None:
            raise
        raise full from error


def parse(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    return parser(description).parse_args(argv)


def settings_of(checkpoint: Place) -> Mapping[str, Any]:
    """A checkpoint's settings but those of where it was trained and recorded."""
    return load_state(checkpoint).config.model_dump(mode="json", exclude=OF_ANOTHER_PLACE)
