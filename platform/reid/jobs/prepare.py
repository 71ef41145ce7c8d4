"""`reid prepare`."""

from reid.jobs import command


@command.named("prepare")
@command.takes_settings
def prepare(given: command.Given) -> None:
    """Prepare the configured datasets as Arrow stores."""
    with command.job(given) as config:
        from reid.experiments import prepare_all

        prepare_all(config)
