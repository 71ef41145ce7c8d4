"""`reid evaluate`."""

from typing import TYPE_CHECKING

from reid.jobs import command

if TYPE_CHECKING:
    from reid.storage import Place


@command.named("evaluate")
@command.takes_checkpoint()
@command.takes_settings
def evaluate(given: command.Given, checkpoint: "Place") -> None:
    """Score a checkpoint on query and gallery and record the scores in MLflow.

    Without --preset, the settings are those the checkpoint was trained with.
    """
    with command.job(given, base=lambda: command.settings_of(checkpoint)) as config:
        from reid.experiments import run_evaluation

        run_evaluation(config, checkpoint=checkpoint)
