import math

import pytest

from reid.config import PhaseConfig
from reid.training.schedule import learning_rate


def phase(**settings: object) -> PhaseConfig:
    return PhaseConfig.model_validate(
        {"stage": "baseline", "epochs": 150, "learning_rate": 1e-3, "halve_every": 50} | settings
    )


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 1e-3), (49, 1e-3), (50, 5e-4), (99, 5e-4), (100, 2.5e-4), (149, 2.5e-4)]
)
def test_it_is_halved_every_fifty_epochs(epoch: int, expected: float) -> None:
    assert learning_rate(phase(), epoch * 7, 7) == learning_rate(phase(), epoch * 7 + 6, 7) == expected


def test_half_a_cosine_leads_from_the_rate_to_next_to_nothing() -> None:
    rates = [learning_rate(phase(decay="cosine"), step, 7) for step in range(150 * 7)]
    assert rates[0] == 1e-3
    assert rates[75 * 7] == pytest.approx(5e-4)
    assert rates[50 * 7] == pytest.approx(1e-3 * (1 + math.cos(math.pi / 3)) / 2)
    assert 0 < rates[-1] < 1e-8
    assert rates == sorted(set(rates), reverse=True)


@pytest.mark.parametrize("decay", ["halve", "cosine"])
def test_it_depends_on_the_step_alone(decay: str) -> None:
    steps = list(range(0, 1000, 13))
    forwards = {step: learning_rate(phase(warmup=3, decay=decay), step, 7) for step in steps}
    assert forwards == {step: learning_rate(phase(warmup=3, decay=decay), step, 7) for step in reversed(steps)}


@pytest.mark.parametrize("decay", ["halve", "cosine"])
def test_warm_up_rises_linearly_to_the_rate_without_it(decay: str) -> None:
    full = [learning_rate(phase(decay=decay), step, 5) for step in range(12)]
    rates = [learning_rate(phase(decay=decay, warmup=2), step, 5) for step in range(12)]
    assert rates[:10] == pytest.approx([rate * (step + 1) / 10 for step, rate in enumerate(full[:10])])
    assert rates[10:] == full[10:]
    assert full[11] == pytest.approx(1e-3, rel=1e-3)


SAN = phase(
    stage="san", epochs=320, learning_rate=8e-4, halve_every=40, warmup=20,
    warmup_curve="exponential", decay_from="warmup",
)  # fmt: skip


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 8e-6), (19, 8e-6 * 1.259**19), (20, 8e-4), (59, 8e-4), (60, 4e-4), (299, 8e-4 / 64), (319, 8e-4 / 128)],
)
def test_san_warms_up_by_equal_factors_and_is_halved_from_there_on(epoch: int, expected: float) -> None:
    for step in (0, 6):
        assert learning_rate(SAN, 7 * epoch + step, 7) == pytest.approx(expected, rel=2e-3)


def test_a_cosine_from_the_warm_up_on_begins_at_the_rate() -> None:
    cosine = phase(epochs=30, decay="cosine", warmup=10, decay_from="warmup")
    assert learning_rate(cosine, 10 * 7, 7) == 1e-3
    assert learning_rate(cosine, 20 * 7, 7) == pytest.approx(5e-4)
    assert learning_rate(cosine, 30 * 7 - 1, 7) < 1e-6
