import pytest

from reid.config import PhaseConfig
from reid.training.schedule import learning_rate


def phase(**settings: int) -> PhaseConfig:
    return PhaseConfig.model_validate(
        {"stage": "baseline", "epochs": 150, "learning_rate": 1e-3, "halve_every": 50} | settings
    )


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 1e-3), (49, 1e-3), (50, 5e-4), (99, 5e-4), (100, 2.5e-4), (149, 2.5e-4)]
)
def test_it_is_halved_every_fifty_epochs(epoch: int, expected: float) -> None:
    assert learning_rate(phase(), epoch * 7, 7) == learning_rate(phase(), epoch * 7 + 6, 7) == expected


def test_it_depends_on_the_step_alone() -> None:
    steps = list(range(0, 1200, 13))
    forwards = {step: learning_rate(phase(warmup=3), step, 7) for step in steps}
    assert forwards == {step: learning_rate(phase(warmup=3), step, 7) for step in reversed(steps)}


def test_warm_up_rises_linearly_to_the_full_rate() -> None:
    rates = [learning_rate(phase(warmup=2), step, 5) for step in range(12)]
    assert rates[:10] == pytest.approx([1e-3 * (step + 1) / 10 for step in range(10)])
    assert rates[10:] == [1e-3, 1e-3]
