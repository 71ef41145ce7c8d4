"""The command line that all jobs share."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from reid.config import PRESETS, ConfigError, RunConfig, load_config
from reid.data import DataError
from reid.training.cluster import PlacementError
from reid.training.runner import PhaseFailedError

JOB_ERRORS = (ConfigError, DataError, PlacementError, PhaseFailedError, ValueError)
"""What a user can remedy: one clear line instead of a traceback."""


def parser(description: str) -> argparse.ArgumentParser:
    """`--preset`, `--config` and `--set`, which every job has."""
    command = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--preset", default="demo", help=f"complete settings by name: {', '.join(PRESETS)}")
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


def run(job: Callable[[RunConfig], object], arguments: argparse.Namespace) -> None:
    """Run a job with the configuration that the arguments describe; exits with status 1 where it fails."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("alembic", "mlflow", "ray"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        job(load_config(preset=arguments.preset, file=arguments.config, overrides=arguments.overrides))
    except JOB_ERRORS as error:
        sys.exit(f"error: {error}")


def parse(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    return parser(description).parse_args(argv)
