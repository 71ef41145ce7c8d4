"""What the training step needs of other ranks, over torch.distributed; each helper is the identity on one rank.

Legend: B rows of this rank, G rows of all ranks, R ranks.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of ranks; (0, 1) outside a process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


class ProcessGroupRanks:
    """`reid.losses.Ranks` over the default process group, for batches whose rows per rank are known beforehand.

    Args:
        rows_R: rows of the global batch that each rank holds, in rank order.
    """

    def __init__(self, rows_R: Sequence[int]) -> None:
        self._rows_R = tuple(rows_R)
        self.rank, self.world_size = rank_and_world()[0], len(self._rows_R)

    def gather(self, local: Tensor) -> Tensor:
        """Rows of all ranks in rank order, with gradients to every rank: (B, ...) → (G, ...)."""
        if self.world_size == 1:
            return local
        gathered: Tensor = _GatherRows.apply(local, self._rows_R)
        return gathered

    def gather_one(self, local: Tensor) -> Tensor:
        """One tensor of each rank in rank order, with gradients to every rank: (...) → (R, ...)."""
        if self.world_size == 1:
            return local[None]
        gathered: Tensor = _GatherRows.apply(local[None], (1,) * self.world_size)
        return gathered

    def total(self, count: Tensor) -> Tensor:
        """Sum of a count over all ranks, without gradient."""
        count = count.detach().clone()
        if self.world_size > 1:
            dist.all_reduce(count)
        return count


class _GatherRows(torch.autograd.Function):
    """`gather_rows` whose backward gives each rank the sum of all ranks' gradients for its rows."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, rows_R: tuple[int, ...]) -> Tensor:
        ctx.rows_R = rows_R
        return gather_rows(local, rows_R)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return torch.split(gradient, ctx.rows_R)[dist.get_rank()], None


def gather_rows(local: Tensor, rows_R: Sequence[int]) -> Tensor:
    """Rows of all ranks in rank order, without gradient: (B, ...) → (G, ...)."""
    if len(rows_R) == 1:
        return local
    padded = _pad_rows(local, max(rows_R)).contiguous()
    gathered = [torch.empty_like(padded) for _ in rows_R]
    dist.all_gather(gathered, padded)
    return torch.cat([rows[:n] for rows, n in zip(gathered, rows_R, strict=True)])


def mean_over_ranks(values: Tensor) -> Tensor:
    """Elementwise mean over the ranks."""
    _, world = rank_and_world()
    if world == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / world


@torch.no_grad()
def average_buffers(model: nn.Module) -> None:
    """Replace every floating-point buffer (batch norm's running statistics) by its mean over the ranks.

    Parameters are equal on all ranks already; after this the whole model is, so one rank's checkpoint is everyone's.
    """
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    _, world = rank_and_world()
    if world == 1 or not buffers:
        return
    flat = mean_over_ranks(torch.cat([buffer.flatten() for buffer in buffers]))
    means = torch.split(flat, [buffer.numel() for buffer in buffers])
    for buffer, mean in zip(buffers, means, strict=True):
        buffer.copy_(mean.view_as(buffer))


def _pad_rows(local: Tensor, rows: int) -> Tensor:
    missing = rows - local.shape[0]
    return torch.cat([local, local.new_zeros(missing, *local.shape[1:])]) if missing else local
