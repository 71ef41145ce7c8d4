"""`reid ablation`."""

from reid.jobs import command


@command.named("ablation")
@command.takes_settings
def ablation(given: command.Given) -> None:
    """Train a model without each of its components, and table what each brings.

    Over several seeds and with equal budgets; with phases of several models, these are compared.
    """
    with command.job(given) as config:
        from reid.experiments import run_ablation

        run_ablation(config)
