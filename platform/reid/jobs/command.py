"""The command line that all jobs share."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reid.config import PRESETS, ConfigError, RunConfig, load_config
from reid.config.schema import DATASET_LAYOUT
from reid.data import load_manifest
from reid.training.cluster import PlacementError
from reid.training.runner import PhaseFailedError

DEFAULT_PRESET = "demo"
JOB_ERRORS = (ValueError, PlacementError, PhaseFailedError, ConnectionError)
"""What a user can remedy: one clear line instead of a traceback."""


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
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("alembic", "mlflow", "ray"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        tree = base() if base is not None and arguments.preset is None else None
        preset = arguments.preset or DEFAULT_PRESET
        config = load_config(preset=preset, base=tree, file=arguments.config, overrides=arguments.overrides)
        job(_with_dataset_layout(config))
    except JOB_ERRORS as error:
        sys.exit(f"error: {error}")


def _with_dataset_layout(config: RunConfig) -> RunConfig:
    """The configuration with `model.layout` = `dataset` replaced by the layout that the dataset's manifest names."""
    if config.model.layout != DATASET_LAYOUT:
        return config
    source = None if config.data.source is None else Path(config.data.source)
    layout = load_manifest(config.data.name, source).layout
    if layout is None:
        raise ConfigError(f"model.layout: the manifest of {config.data.name} names none; choose one")
    return config.model_copy(update={"model": config.model.model_copy(update={"layout": layout})})


def parse(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    return parser(description).parse_args(argv)
