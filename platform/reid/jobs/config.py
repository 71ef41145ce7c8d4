"""`reid config`."""

import click
import yaml

from reid.jobs import command


@command.named("config")
@command.takes_settings
def config(given: command.Given) -> None:
    """Print the settings as they are resolved, as YAML, for --config; nothing is started."""
    with command.job(given) as resolved:
        click.echo(yaml.safe_dump(resolved.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)
