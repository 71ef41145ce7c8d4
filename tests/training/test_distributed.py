"""The helpers over a real gloo process group of three ranks with 3, 1 and 2 rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from reid.training.distributed import ProcessGroupRanks, average_buffers, mean_over_ranks, rank_and_world

ROWS = (3, 1, 2)
CHILD = """
import json, sys
import torch
import torch.distributed as dist
from torch import nn
from reid.training.distributed import ProcessGroupRanks, average_buffers, mean_over_ranks, rank_and_world

rank, folder, rows = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=len(rows))
assert rank_and_world() == (rank, len(rows))
ranks = ProcessGroupRanks(rows)
x = torch.load(f"{folder}/x.pt", weights_only=True).split(rows)[rank].requires_grad_()
gathered = ranks.gather(x)
loss = (gathered @ gathered.T).exp().sum() * (rank + 1)
loss.backward()
norm = nn.BatchNorm1d(2)
norm.running_mean.fill_(float(rank))
norm.num_batches_tracked.fill_(rank)
average_buffers(norm)
total = ranks.total(torch.tensor([rank, 1]))
print(json.dumps({
    "gathered": gathered.tolist(),
    "gradient": x.grad.tolist(),
    "labels": ranks.gather(torch.full((rows[rank],), rank)).tolist(),
    "total": total.tolist(),
    "mean": mean_over_ranks(torch.tensor([rank, 10.0])).tolist(),
    "running_mean": norm.running_mean.tolist(),
    "tracked": norm.num_batches_tracked.item(),
}))
dist.destroy_process_group()
"""


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(sum(ROWS), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 4


@pytest.fixture(scope="module")
def outcome(x: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("group")
    torch.save(x, folder / "x.pt")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "platform")}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(rank), folder, json.dumps(ROWS)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(len(ROWS))
    ]
    try:
        return [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()


def test_rows_are_gathered_in_the_order_of_ranks(x: torch.Tensor, outcome: list[dict[str, object]]) -> None:
    for rank in outcome:
        assert rank["gathered"] == x.tolist()
        assert rank["labels"] == [0, 0, 0, 1, 2, 2]


def test_gradients_are_those_of_one_process(x: torch.Tensor, outcome: list[dict[str, object]]) -> None:
    whole = x.clone().requires_grad_()
    loss = (whole @ whole.T).exp().sum() * (1 + 2 + 3)  # rank r weighs its copy of the loss by r + 1
    loss.backward()
    assert whole.grad is not None
    for rank, expected in zip(outcome, whole.grad.split(ROWS), strict=True):
        torch.testing.assert_close(torch.tensor(rank["gradient"], dtype=torch.float64), expected)


def test_counts_and_means(outcome: list[dict[str, object]]) -> None:
    for rank in outcome:
        assert rank["total"] == [3, 3]
        assert rank["mean"] == [1.0, 10.0]
        assert rank["running_mean"] == [1.0, 1.0]
    assert [rank["tracked"] for rank in outcome] == [0, 1, 2]  # whole numbers are left alone


def test_alone_every_helper_is_the_identity(x: torch.Tensor) -> None:
    assert rank_and_world() == (0, 1)
    assert ProcessGroupRanks([len(x)]).gather(x) is x
    assert mean_over_ranks(x) is x
    assert ProcessGroupRanks([6]).total(torch.tensor(4)) == 4
    norm = nn.BatchNorm1d(2)
    average_buffers(norm)
    assert norm.running_var is not None
    assert norm.running_var.tolist() == [1.0, 1.0]
