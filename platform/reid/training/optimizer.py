"""The one optimiser: Adam, with a rate of its own for each module that is named."""

from collections.abc import Mapping

import torch
from torch import nn

from reid.config import PhaseConfig

MULTIPLE = "multiple"
"""Key of a parameter group: its learning rate as a multiple of the phase's."""

Rates = Mapping[str, float]
"""Multiples of the phase's learning rate by dotted name of a module; of those that hold a weight the innermost counts,
where none does it is 1, and 0 is frozen."""


def make_optimizer(model: nn.Module, settings: PhaseConfig, rates: Rates | None = None) -> torch.optim.Adam:
    """Adam over all parameters that are not frozen, in groups by rate; frozen ones need no gradient from here on.

    Args:
        rates: none = the phase's own, and no stage's.

    Raises:
        ValueError: the model has no such module, or nothing is left to train.
    """
    rates = settings.rates if rates is None else rates
    modules = dict(model.named_modules())
    if unknown := [name for name in rates if name not in modules]:
        children = ", ".join(name for name, _ in model.named_children())
        raise ValueError(f"rates: the model has no module '{unknown[0]}', expected {children}, or a module of these")
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        multiple = _multiple(name, rates)
        if multiple == 0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault(multiple, []).append(parameter)
    if not groups:
        raise ValueError("rates: every module is frozen: leave one to train")
    return torch.optim.Adam(
        [{"params": parameters, MULTIPLE: multiple} for multiple, parameters in groups.items()],
        fused=True,
        weight_decay=settings.weight_decay,
        amsgrad=settings.amsgrad,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its multiple of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group[MULTIPLE] * rate


def train_mode(model: nn.Module, rates: Rates) -> None:
    """Put a model into training mode, but what is frozen: its statistics too stay as they are."""
    model.train()
    for name, module in model.named_modules():
        if name and _multiple(f"{name}.", rates) == 0:
            module.training = False  # not eval(), which reaches what is trained within it


def _multiple(name: str, rates: Rates) -> float:
    holding = [module for module in rates if name.startswith(f"{module}.")]
    return rates[max(holding, key=len)] if holding else 1.0
