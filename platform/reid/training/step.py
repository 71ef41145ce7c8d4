"""One training step."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from reid.config import RunConfig
from reid.data import PoseBatch, ReIDBatch
from reid.training.device import autocast
from reid.training.distributed import ProcessGroupRanks, mean_over_ranks
from reid.training.stage import StageLoss


class NonFiniteLossError(ArithmeticError):
    """A loss term became infinite or not a number; the optimiser has not moved."""

    def __init__(self, terms: Mapping[str, float], place: str) -> None:
        shown = ", ".join(f"{name} = {value:g}" for name, value in terms.items())
        super().__init__(f"the loss is not finite at {place}: {shown}; lower the learning rate or use precision=fp32")


def train_step(
    model: nn.Module,
    batch: ReIDBatch | PoseBatch,
    *,
    loss: StageLoss,
    config: RunConfig,
    optimizer: torch.optim.Optimizer,
    ranks: ProcessGroupRanks,
    dtype: torch.dtype,
    place: str,
    clip_gradient: float | None = None,
) -> dict[str, Tensor]:
    """Forward, backward and update; returns every term as the whole global batch has it, and the `total` of the loss.

    Args:
        place: where in the run this step is, for error messages.
        clip_gradient: largest norm of the gradient of all weights together; none = not clipped.

    Raises:
        NonFiniteLossError: on every rank at once, before the optimiser moves.
    """
    device = batch.images_BCHW.device
    with autocast(device, dtype):
        output = model(*batch.inputs)
        terms = loss(output, batch, config, ranks)
    minimised = [name for name, term in terms.items() if term.requires_grad]
    values = mean_over_ranks(torch.stack([term.detach().float() for term in terms.values()]))
    if not torch.isfinite(values).all():
        raise NonFiniteLossError(dict(zip(terms, values.tolist(), strict=True)), place)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(torch.stack([terms[name] for name in minimised]).sum())
    if clip_gradient is not None:  # every rank has the gradient of the global batch
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip_gradient)
    optimizer.step()
    recorded = dict(zip(terms, values, strict=True))
    return recorded | {"total": torch.stack([recorded[name] for name in minimised]).sum()}
