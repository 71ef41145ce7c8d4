"""How often a job trains what: known before anything is started."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reid.config import PhaseConfig, RunConfig
from reid.experiments.ablation_plan import EpochImages, lay_out
from reid.experiments.ablation_rows import comparison_of
from reid.search import searched_phase
from reid.stages import stage_of
from reid.training import KEPT_CHECKPOINTS


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a job does of one phase, over all of its trainings."""

    trainings: int = 0
    epochs: float = 0
    scorings: float = 0
    """Of all images that are scored."""
    samples: float = 0
    """Scorings of a few of them."""
    checkpoints: int = 0
    """That are kept in the run's folder."""
    models: int = 0
    """That are kept in MLflow."""

    def __add__(self, other: "Work") -> "Work":
        return Work(**{name: value + getattr(other, name) for name, value in vars(self).items()})


def work_of(config: RunConfig, job: str, epoch_images: EpochImages) -> dict[str, Work]:
    """By phase; empty where a job trains none.

    Args:
        job: name of the command.
    """
    counted: dict[str, Callable[[], Iterable[tuple[str, Work]]]] = {
        "pipeline": lambda: [(phase, training_work(config, config.phases[phase])) for phase in config.phases],
        "sweep": lambda: _sweep(config),
        "ablation": lambda: _ablation(config, epoch_images),
    }
    if job not in counted:
        return {}
    work = dict.fromkeys(config.phases, Work())
    for phase, more in counted[job]():
        work[phase] += more
    return work


def training_work(config: RunConfig, phase: PhaseConfig, *, scored: bool = True, kept: bool = True) -> Work:
    """Of one training.

    Args:
        scored: whether it is, at its end at least.
        kept: whether its model is, in MLflow.
    """
    every = config.evaluation.every
    return Work(
        trainings=1,
        epochs=phase.epochs,
        scorings=scored * (phase.epochs // every + bool(phase.epochs % every) if every else 1),
        samples=phase.epochs * (scored and config.evaluation.sample > 0),
        checkpoints=min(phase.epochs, KEPT_CHECKPOINTS),
        models=int(kept),
    )


def halved_epochs(epochs: int, grace: int, reduction: int) -> float:
    """Epochs of a trial, in the mean, where one in `reduction` goes on after `grace` epochs, and so on."""
    trained, share, done, rung = 0.0, 1.0, 0, grace
    while done < epochs:
        until = min(rung, epochs)
        trained += share * (until - done)
        done, rung, share = until, rung * reduction, share / reduction
    return trained


def _sweep(config: RunConfig) -> Iterable[tuple[str, Work]]:
    search, searched = config.search, searched_phase(config)
    for name, phase in config.phases.items():
        if name == searched:
            continue
        yield name, training_work(config, phase)
        if search.retrain and stage_of(config, name).data.identities:  # once more with those who were held out
            yield name, training_work(config, phase, scored=False)
    phase = config.phases[searched]
    stops = search.early_stopping and len(search.objectives) == 1
    of_others = halved_epochs(phase.epochs, search.grace, search.reduction) if stops else phase.epochs
    epochs = phase.epochs + (search.trials - 1) * of_others  # the first is never stopped
    yield searched, Work(trainings=search.trials, epochs=epochs, scorings=epochs)
    if search.retrain:
        yield searched, training_work(config, phase) + training_work(config, phase)


def _ablation(config: RunConfig, epoch_images: EpochImages) -> Iterable[tuple[str, Work]]:
    for training in lay_out(config, comparison_of(config).rows, epoch_images).trainings:
        phase = training.config.phases[training.phase]
        yield training.phase, training_work(training.config, phase, kept=training.keeps_model)
