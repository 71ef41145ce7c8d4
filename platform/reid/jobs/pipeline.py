"""`reid pipeline`."""

import click

from reid.jobs import command


@command.named("pipeline")
@click.option("--dry-run", is_flag=True, help="Say settings, workers, time and disk, and start nothing.")
@command.takes_settings
def pipeline(given: command.Given, dry_run: bool) -> None:
    """Train every phase, score each, record all in MLflow."""
    with command.job(given) as config:
        from reid.experiments import run_dry, run_pipeline

        if dry_run:
            command.print_settings(config)
            run_dry(config)
        else:
            run_pipeline(config)
