"""`reid config`."""

from reid.jobs import command


@command.named("config")
@command.takes_settings
def config(given: command.Given) -> None:
    """Print the settings as they are resolved, as YAML, for --config; nothing is started."""
    with command.job(given) as resolved:
        command.print_settings(resolved)
