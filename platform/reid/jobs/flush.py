"""`reid flush`."""

from reid.jobs import command


@command.named("flush")
@command.takes_settings
def flush(given: command.Given) -> None:
    """Send MLflow the records of earlier jobs that it could not take.

    Those of the configured storage and experiment.
    """
    with command.job(given) as config:
        from reid.experiments import run_flush

        run_flush(config)
