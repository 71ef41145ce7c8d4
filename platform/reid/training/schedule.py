"""Schedules: pure functions of the step."""

from reid.config import PhaseConfig


def learning_rate(phase: PhaseConfig, step: int, steps_per_epoch: int) -> float:
    """Adam's learning rate at a step of a phase, counted from 0.

    It is halved every `halve_every` epochs (section IV-B) after a linear warm-up of `warmup` epochs, if any.
    """
    rate = phase.learning_rate * 0.5 ** (step // (phase.halve_every * steps_per_epoch))
    warmup_steps = phase.warmup * steps_per_epoch
    return rate * min(1.0, (step + 1) / warmup_steps) if warmup_steps else rate
