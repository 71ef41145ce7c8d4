"""Schedules: pure functions of the step."""

import math

from reid.config import PhaseConfig

EXPONENTIAL_START = 0.01
"""Share of the learning rate that an exponential warm-up begins with."""


def learning_rate(phase: PhaseConfig, step: int, steps_per_epoch: int) -> float:
    """Adam's learning rate at a step of a phase, counted from 0.

    It is halved every `halve_every` epochs (section IV-B), or falls along half a cosine, after a warm-up of `warmup`
    epochs, if any.
    """
    warmup_steps = phase.warmup * steps_per_epoch
    offset = warmup_steps if phase.decay_from == "warmup" else 0
    return (
        phase.learning_rate
        * _decay(phase, max(0, step - offset), steps_per_epoch, offset)
        * _warmup(phase, step, steps_per_epoch)
    )


def _decay(phase: PhaseConfig, step: int, steps_per_epoch: int, offset: int) -> float:
    if phase.decay == "cosine":
        return (1 + math.cos(math.pi * step / max(1, phase.epochs * steps_per_epoch - offset))) / 2
    return float(0.5 ** (step // (phase.halve_every * steps_per_epoch)))


def _warmup(phase: PhaseConfig, step: int, steps_per_epoch: int) -> float:
    warmup_steps = phase.warmup * steps_per_epoch
    if step >= warmup_steps:
        return 1.0
    if phase.warmup_curve == "linear":
        return (step + 1) / warmup_steps
    return float(EXPONENTIAL_START ** (1 - (step // steps_per_epoch) / phase.warmup))
