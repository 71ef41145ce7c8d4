"""`reid sweep`."""

from reid.jobs import command


@command.named("sweep")
@command.takes_settings
def sweep(given: command.Given) -> None:
    """Search settings of the last phase by mAP on identities held out of the training split.

    Then train the winner and the paper's values on all of it, score both on query and gallery, and register the winner.
    """
    with command.job(given) as config:
        from reid.experiments import run_sweep

        run_sweep(config)
