import math

import pytest
import torch
from torch import Tensor

from reid.losses import OneRank, attribute_cross_entropies, identity_cross_entropy


def _logits(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _by_loops(logits: Tensor, labels: list[int], smoothing: float = 0.0) -> float:
    losses = []
    for row, label in zip(logits.tolist(), labels, strict=True):
        if label == -1:
            continue
        log_sum = math.log(sum(math.exp(x) for x in row))
        wanted = [(1 - smoothing) * (k == label) + smoothing / len(row) for k in range(len(row))]
        losses.append(-sum(q * (x - log_sum) for q, x in zip(wanted, row, strict=True)))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-5)]
)
def test_identity_equals_the_loops(smoothing: float, dtype: torch.dtype, tolerance: float) -> None:
    logits, labels = _logits(5, 4).to(dtype), [0, 3, 3, 1, 2]
    loss = identity_cross_entropy(logits, torch.tensor(labels), OneRank(), smoothing)
    assert loss.item() == pytest.approx(_by_loops(logits.double(), labels, smoothing), rel=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_attributes_equal_the_loops(dtype: torch.dtype, tolerance: float) -> None:
    logits = {"hat": _logits(4, 2, dtype=dtype), "colour": _logits(4, 5, dtype=dtype)}
    labels = {"age": [0, 1, 2, 3], "colour": [4, -1, 0, 2], "hat": [-1, -1, 1, -1]}
    losses = attribute_cross_entropies(logits, torch.tensor(list(labels.values())).T, tuple(labels), OneRank())
    assert list(losses) == ["hat", "colour"]
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(_by_loops(logits[name].double(), labels[name]), rel=tolerance)


def test_without_attributes_there_are_no_terms() -> None:
    assert attribute_cross_entropies({}, torch.zeros(3, 0), (), OneRank()) == {}


def test_attributes_must_have_a_column() -> None:
    with pytest.raises(ValueError, match="the batch has no attribute 'hat', only age"):
        attribute_cross_entropies({"hat": _logits(3, 2)}, torch.zeros(3, 1), ("age",), OneRank())
