"""What the commands share: options for the settings, and a job run with them.

Nothing here imports torch, Ray or MLflow: a command does, within its function, once its settings are known to be right.
"""

import functools
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
import yaml
from click.shell_completion import CompletionItem

from reid.config import (
    PRESETS,
    ConfigError,
    JobStoppedError,
    RunConfig,
    load_config,
    without_passwords,
)
from reid.jobs.settings import listed_settings, settings_text
from reid.jobs.terminal import Terminal
from reid.progress import listening

if TYPE_CHECKING:
    from reid.storage import Place

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_PRESET = "demo"
HELP_WIDTH = 110
"""Columns that the help takes at most, where the terminal has them."""
JOB_ERRORS = (ValueError, ConnectionError, JobStoppedError)
"""What a user can remedy: one clear line instead of a traceback."""
OF_ANOTHER_PLACE = {"storage", "cache_gb", "tracking", "scaling", "extensions"}
"""Settings of where a checkpoint was trained and recorded, and of what ran there: none that its user asked for."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a user said of the settings, and of how the job is to be shown."""

    preset: str | None
    file: str | None
    overrides: tuple[str, ...]
    verbose: bool = False
    dry_run: bool = False
    job: str = ""
    """Name of the command."""

    def config(self, base: Callable[[], Mapping[str, Any]] | None = None) -> RunConfig:
        """
        Args:
            base: gives a full tree of settings to use where no preset is named.

        Raises:
            ConfigError, DataError: see `load_config`.
        """
        return load_config(
            preset=self.preset or DEFAULT_PRESET,
            base=base if self.preset is None else None,
            file=self.file,
            overrides=self.overrides,
        )


class Command(click.Command):
    """A command whose help ends with every setting."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(context, formatter)
        formatter.write_paragraph()
        formatter.write(settings_text(formatter.width))


def named(name: str) -> Callable[[Callable[..., None]], Command]:
    """Makes a command of a function, whose docstring is its help."""
    return click.command(name, cls=Command, context_settings={"max_content_width": HELP_WIDTH})


def takes_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that every job has, together as `given`."""

    @click.option(
        "--preset",
        metavar="NAME",
        shell_complete=_presets,
        help=f"Complete settings by name: {', '.join(PRESETS)}; {DEFAULT_PRESET} if none.",
    )
    @click.option("--config", "file", metavar="FILE", type=click.Path(), help="YAML settings laid over the preset.")
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=_settings,
        help="One setting laid over both, such as phases.final.epochs=3; repeatable.",
    )
    @click.option("--verbose", is_flag=True, help="Also show what otherwise goes to the log alone.")
    @click.option("--dry-run", is_flag=True, help="Print settings, workers, time and disk; nothing is started.")
    @functools.wraps(function)
    def wrapped(
        *,
        preset: str | None,
        file: str | None,
        overrides: Sequence[str],
        verbose: bool,
        dry_run: bool,
        **others: object,
    ) -> None:
        given = Given(
            preset=preset,
            file=file,
            overrides=tuple(overrides),
            verbose=verbose,
            dry_run=dry_run,
            job=click.get_current_context().command.name or "",
        )
        function(given=given, **others)

    return wrapped


@contextmanager
def job(given: Given, base: Callable[[], Mapping[str, Any]] | None = None) -> Iterator[RunConfig]:
    """Within the block a job runs; see `heard`.

    It does not run where the user asked for a dry run.

    Args:
        base: see `Given.config`.

    Yields:
        The configuration that was asked for.
    """
    with heard(verbose=given.verbose):
        config = given.config(base)
        if given.dry_run:
            from reid.experiments import run_dry

            print_settings(config)
            run_dry(config, given.job)
            sys.exit()
        with _full_disk_told(config):
            yield config


@contextmanager
def heard(*, verbose: bool = False) -> Iterator[None]:
    """Within the block, what is said is shown, and an error that its user can remedy is one line."""
    for chatty in ("alembic", "mlflow", "ray"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # tracebacks of what it raises, too
    with Terminal(verbose=verbose) as terminal, listening(terminal):
        try:
            yield
        except JOB_ERRORS as error:
            message = without_passwords(f"error: {error}")
            terminal.note(message)
            sys.exit(message)


def print_settings(config: RunConfig) -> None:
    """The whole tree as YAML, such as `--config` reads."""
    click.echo(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)


class PlaceType(click.ParamType["Place"]):
    """A place as the command line names it; one that holds a password is refused."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Place":
        from reid.storage import Place

        try:
            return Place(value).absolute
        except ValueError as error:
            self.fail(str(error), param, ctx)


def takes_checkpoint(*, required: bool = True) -> Callable[[Function], Function]:
    """Gives a command the option `--checkpoint`."""
    return click.option(
        "--checkpoint",
        type=PlaceType(),
        required=required,
        metavar="PLACE",
        help="A phase's checkpoint: a folder or a pyarrow.fs URI.",
    )


def settings_of(checkpoint: "Place") -> Mapping[str, Any]:
    """A checkpoint's settings but those of where it was trained and recorded."""
    from reid.training import load_state

    return load_state(checkpoint).config.model_dump(mode="json", exclude=OF_ANOTHER_PLACE)


@contextmanager
def _full_disk_told(config: RunConfig) -> Iterator[None]:
    """
    Raises:
        DiskFullError: the block failed for that reason and has not said so.
    """
    try:
        yield
    except JOB_ERRORS:
        raise
    except Exception as error:
        from reid.storage import disk_full

        full = disk_full(error, config.storage)
        if full is None:
            raise
        raise full from error


def _presets(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [
        CompletionItem(name, help=" ".join((make.__doc__ or "").split()))
        for name, make in PRESETS.items()
        if name.startswith(incomplete)
    ]


def _settings(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        config = load_config(preset=context.params.get("preset") or DEFAULT_PRESET)
    except ConfigError:
        return []
    return [
        CompletionItem(f"{setting.path}=", help=setting.meaning)
        for setting in listed_settings(list(config.phases))
        if setting.path.startswith(incomplete)
    ]
