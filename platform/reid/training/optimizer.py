"""The one optimiser: Adam, with a rate of its own for each module that the phase names."""

import torch
from torch import nn

from reid.config import PhaseConfig

MULTIPLE = "multiple"
"""Key of a parameter group: its learning rate as a multiple of the phase's."""


def make_optimizer(model: nn.Module, settings: PhaseConfig) -> torch.optim.Adam:
    """Adam over all parameters, in groups by `settings.rates`.

    Raises:
        ValueError: the model has no such module.
    """
    modules = dict(model.named_children())
    if unknown := [name for name in settings.rates if name not in modules]:
        raise ValueError(f"rates: the model has no module '{unknown[0]}', expected some of {', '.join(modules)}")
    named = {parameter for name in settings.rates for parameter in modules[name].parameters()}
    groups = [{"params": list(modules[name].parameters()), MULTIPLE: rate} for name, rate in settings.rates.items()]
    groups.append({"params": [p for p in model.parameters() if p not in named], MULTIPLE: 1.0})
    return torch.optim.Adam(
        [group for group in groups if group["params"]],
        fused=True,
        weight_decay=settings.weight_decay,
        amsgrad=settings.amsgrad,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its multiple of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group[MULTIPLE] * rate
