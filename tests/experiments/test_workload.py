"""How often a job trains what, against trainings that are counted one by one."""

from collections import Counter
from pathlib import Path

import optuna
import pytest

from reid.config import RunConfig, load_config
from reid.data import Dataset, open_dataset
from reid.experiments.ablation_plan import plan_ablation
from reid.experiments.workload import Work, halved_epochs, training_work, work_of
from reid.stages import stage_of
from reid.training import epoch_images


def config_of(*overrides: str, preset: str = "smoke") -> RunConfig:
    return load_config(preset=preset, overrides=overrides)


def no_images(config: RunConfig, phase: str) -> int:
    raise AssertionError("only an ablation asks")


def test_a_pipeline_trains_every_phase_once() -> None:
    work = work_of(config_of("phases.final.epochs=5", "evaluation.every=2"), "pipeline", no_images)
    assert work["final"] == Work(trainings=1, epochs=5, scorings=3, samples=5, checkpoints=2, models=1)
    assert work["baseline"] == Work(trainings=1, epochs=2, scorings=1, samples=2, checkpoints=2, models=1)
    one = config_of("phases.final.epochs=1", "evaluation.sample=0")
    assert training_work(one, one.phases["final"]) == Work(
        trainings=1, epochs=1, scorings=1, samples=0, checkpoints=1, models=1
    )
    assert work_of(config_of(), "prepare", no_images) == {}


def test_a_sweep_trains_phases_of_persons_without_and_with_those_held_out() -> None:
    settings = ("search.trials=5", "search.grace=1", "search.reduction=2", "phases.final.epochs=4")
    work = work_of(config_of(*settings), "sweep", no_images)
    assert (work["pose"].trainings, work["baseline"].trainings) == (1, 2)
    assert (work["final"].trainings, work["final"].epochs) == (5 + 2, 4 + 4 * (1 + 1 / 2 + 2 / 4) + 2 * 4)
    without = work_of(config_of(*settings, "search.retrain=false"), "sweep", no_images)
    assert (without["baseline"].trainings, without["final"].trainings) == (1, 5)
    never = work_of(config_of(*settings, "search.early_stopping=false", "search.retrain=false"), "sweep", no_images)
    assert never["final"].epochs == 5 * 4


@pytest.mark.parametrize(("epochs", "grace", "reduction"), [(8, 1, 2), (9, 1, 3), (20, 2, 2), (3, 5, 2)])
def test_halving_goes_on_as_long_as_optunas_does(epochs: int, grace: int, reduction: int) -> None:
    """Of equal chances for all trials; the study decides as they come, so that the first go on more often."""
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=grace, reduction_factor=reduction),
    )
    trained = 0
    for _ in range(400):
        trial = study.ask()
        value = trial.suggest_float("x", 0, 1)
        for epoch in range(1, epochs + 1):
            trained += 1
            trial.report(value, epoch)
            if epoch < epochs and trial.should_prune():
                break
        study.tell(trial, value)
    assert trained / 400 == pytest.approx(halved_epochs(epochs, grace, reduction), rel=0.2)


@pytest.mark.parametrize(("preset", "kinds"), [("smoke", ("pose", "reid")), ("san_smoke", ("textures", "reid"))])
def test_an_ablation_trains_what_its_plan_trains(preset: str, kinds: tuple[str, ...], stores: dict[str, Path]) -> None:
    config = config_of("ablation.seeds=2", preset=preset)
    datasets: dict[str, Dataset] = {kind: open_dataset(stores[kind]) for kind in kinds}

    def shown(config: RunConfig, phase: str) -> int:
        return epoch_images(config, phase, datasets[stage_of(config, phase).data.name])

    plan, work = plan_ablation(config, datasets), work_of(config, "ablation", shown)
    counted = Counter(training.phase for training in plan.trainings)
    assert {phase: each.trainings for phase, each in work.items()} == {phase: counted[phase] for phase in config.phases}
    epochs = Counter[str]()
    for training in plan.trainings:
        epochs[training.phase] += training.config.phases[training.phase].epochs
    assert {phase: each.epochs for phase, each in work.items()} == {phase: epochs[phase] for phase in config.phases}
    assert work[next(iter(config.phases))].trainings < len(plan.last) * config.ablation.seeds, "rows share it"
