"""Several ranks in one process."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor


class SimulatedRank:
    """One of several ranks whose collectives are resolved between two passes.

    In the first pass every rank records what it contributes, in the order of its calls; in the second, each gets what
    all have contributed, with the graph, so gradients flow between the ranks as through a real gather.
    """

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.recorded: list[Tensor] = []
        self.peers: Sequence[SimulatedRank] = ()
        self.calls = 0

    def _exchange(self, tensor: Tensor) -> list[Tensor]:
        if not self.peers:
            self.recorded.append(tensor)
            return [tensor] * self.world_size
        self.calls += 1
        return [peer.recorded[self.calls - 1] for peer in self.peers]

    def gather(self, tensor: Tensor) -> Tensor:
        return torch.cat(self._exchange(tensor))

    def total(self, count: Tensor) -> Tensor:
        return torch.stack(self._exchange(count)).sum(dim=0).detach()


@pytest.fixture
def mean_over_ranks() -> Callable[..., Any]:
    """Evaluates `loss(shard, ranks)` on every rank and averages: a tensor, or a dict of them, per rank."""

    def mean(loss: Callable[[Any, SimulatedRank], dict[str, Tensor]], shards: Sequence[Any]) -> dict[str, Tensor]:
        ranks = [SimulatedRank(len(shards)) for _ in shards]
        for rank, shard in zip(ranks, shards, strict=True):
            loss(shard, rank)
        for rank in ranks:
            rank.peers = ranks
        results = [loss(shard, rank) for rank, shard in zip(ranks, shards, strict=True)]
        return {name: torch.stack([result[name] for result in results]).mean(dim=0) for name in results[0]}

    return mean
