"""What a loss must know of the other ranks, so that the number of workers does not change the mathematics.

Every term is made such that the mean over ranks of its value is the value for the global batch, and the mean over ranks
of its gradient, which is what DDP takes, is the global gradient.
"""

from typing import Protocol

from torch import Tensor


class Ranks(Protocol):
    """The ranks that share a global batch."""

    @property
    def rank(self) -> int:
        """This process's own, from 0."""

    @property
    def world_size(self) -> int:
        """Number of ranks."""

    def gather(self, tensor: Tensor) -> Tensor:
        """Concatenates every rank's tensor along the first axis, in the order of ranks; lengths may differ.

        Differentiable: a rank's gradient is the sum, over all ranks, of the gradients for its slice.
        """

    def gather_one(self, tensor: Tensor) -> Tensor:
        """Stacks every rank's tensor, all of one shape, along a new first axis; differentiable as `gather`."""

    def total(self, count: Tensor) -> Tensor:
        """Sums a tensor of counts over the ranks; not differentiable."""


class OneRank:
    """A single process holding the whole batch."""

    rank = 0
    world_size = 1

    def gather(self, tensor: Tensor) -> Tensor:
        return tensor

    def gather_one(self, tensor: Tensor) -> Tensor:
        return tensor[None]

    def total(self, count: Tensor) -> Tensor:
        return count


def global_mean(local_sum: Tensor, local_count: Tensor, ranks: Ranks) -> Tensor:
    """Mean over the global batch, as this rank's share: 0 where nothing counts on any rank.

    Args:
        local_sum: sums over this rank's samples.
        local_count: how many samples each sum is over; same shape.
        ranks: the ranks that hold the rest.
    """
    return local_sum * ranks.world_size / ranks.total(local_count).clamp(min=1)
