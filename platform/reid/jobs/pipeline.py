"""`reid pipeline`."""

from reid.jobs import command


@command.named("pipeline")
@command.takes_settings
def pipeline(given: command.Given) -> None:
    """Train every phase, score each, record all in MLflow."""
    with command.job(given) as config:
        from reid.experiments import run_pipeline

        run_pipeline(config)
