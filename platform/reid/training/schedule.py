"""Schedules: pure functions of the step."""

import math

from reid.config import PhaseConfig


def learning_rate(phase: PhaseConfig, step: int, steps_per_epoch: int) -> float:
    """Adam's learning rate at a step of a phase, counted from 0.

    It is halved every `halve_every` epochs (section IV-B), or falls along half a cosine, after a linear warm-up of
    `warmup` epochs, if any.
    """
    if phase.decay == "cosine":
        factor = (1 + math.cos(math.pi * step / (phase.epochs * steps_per_epoch))) / 2
    else:
        factor = 0.5 ** (step // (phase.halve_every * steps_per_epoch))
    warmup_steps = phase.warmup * steps_per_epoch
    return phase.learning_rate * factor * (min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0)
