"""What holds for every loss; the value of each is held to a loop in a file of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

import reid.losses
from reid.config import LossConfig
from reid.losses import (
    FocalTripletLoss,
    OneRank,
    attribute_cross_entropies,
    identity_cross_entropy,
    map_triplets,
    masked_squared_error,
    reconstruction_error,
)

NO_LOSSES = {
    "IMAGES_PER_IDENTITY",
    "MapTriplets",
    "OneRank",
    "Ranks",
    "focal_triplet",
    "global_mean",
    "pose_targets",
}
"""Public names besides."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    compute: Callable[[Tensor, Tensor], Tensor]
    """The loss of a batch, from what is learnt (samples first) and its labels."""
    shape: tuple[int, ...]
    """Of what is learnt."""
    labels: Tensor
    nothing: tuple[Tensor, ...] = ()
    """Labels by which nothing counts."""
    ordered: bool = False
    """Whether the order of the samples says what belongs together."""


def _identity(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    return identity_cross_entropy(logits_BK, labels_B, OneRank(), label_smoothing=0.1)


def _attributes(logits: Tensor, labels_BA: Tensor) -> Tensor:
    named = {"hat": logits[:, :2], "colour": logits[:, 2:]}
    return torch.stack(list(attribute_cross_entropies(named, labels_BA, tuple(named), OneRank()).values())).sum()


def _pose(maps_BChw: Tensor, known_Bhw: Tensor) -> Tensor:
    target = torch.full_like(maps_BChw, 0.5, dtype=torch.promote_types(maps_BChw.dtype, torch.float32))
    return masked_squared_error([maps_BChw, 2 * maps_BChw], target, known_Bhw, OneRank())


def _map_triplets(maps_BCHW: Tensor, labels_B: Tensor) -> Tensor:
    return map_triplets([maps_BCHW, 2 * maps_BCHW, maps_BCHW, maps_BCHW[..., :1]], OneRank(), margin=0.3).loss


def _triplets(mining: Any, kind: Any, averaging: Any) -> Loss:
    return Loss(
        compute=FocalTripletLoss(mining=mining, kind=kind, averaging=averaging),
        shape=(7, 4),
        labels=torch.tensor([3, 1, 3, 2, 3, 1, 5]),
        nothing=(torch.arange(7), torch.zeros(7, dtype=torch.long)),
    )


def _choices(field: str) -> tuple[str, ...]:
    return get_args(LossConfig.model_fields[field].annotation)


LOSSES = {
    "identity_cross_entropy": Loss(compute=_identity, shape=(5, 4), labels=torch.tensor([0, 3, 3, 1, 2])),
    "attribute_cross_entropies": Loss(
        compute=_attributes,
        shape=(4, 5),
        labels=torch.tensor([[0, 2], [1, -1], [-1, 0], [0, 1]]),
        nothing=(torch.full((4, 2), -1),),
    ),
    "masked_squared_error": Loss(
        compute=_pose,
        shape=(3, 2, 2, 3),
        labels=torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(1)) > 0.4,
        nothing=(torch.zeros(3, 2, 3, dtype=torch.bool),),
    ),
    "reconstruction_error": Loss(
        compute=lambda x, target: reconstruction_error(x, target, OneRank()),
        shape=(3, 3, 2, 2),
        labels=torch.rand(3, 3, 2, 2, generator=torch.Generator().manual_seed(1)),
    ),
    "map_triplets": Loss(compute=_map_triplets, shape=(12, 2, 3, 2), labels=torch.arange(12), ordered=True),
    **{
        f"FocalTripletLoss-{mining}-{kind}-{averaging}": _triplets(mining, kind, averaging)
        for mining in _choices("mining")
        for kind in _choices("triplet")
        for averaging in _choices("averaging")
    },
}


def learnt(loss: Loss, dtype: torch.dtype) -> Tensor:
    values = torch.randn(loss.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return values.to(dtype).requires_grad_()


def test_every_loss_is_tested() -> None:
    assert {name.partition("-")[0] for name in LOSSES} == set(reid.losses.__all__) - NO_LOSSES


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
class TestEveryLoss:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
    def test_is_computed_in_fp32_at_least(self, loss: Loss, dtype: torch.dtype) -> None:
        x = learnt(loss, dtype)
        value = loss.compute(x, loss.labels)
        assert value.shape == ()
        assert value.dtype == torch.promote_types(dtype, torch.float32)
        assert value.item() == pytest.approx(loss.compute(x.double(), loss.labels).item(), rel=1e-5)
        assert value.item() > 0
        (gradient,) = torch.autograd.grad(value, x)
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()
        assert gradient.any()

    def test_autocast_does_not_reach_it(self, loss: Loss) -> None:
        x = learnt(loss, torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            inside = loss.compute(x, loss.labels)
        assert torch.equal(inside, loss.compute(x, loss.labels))

    def test_has_the_gradient_of_its_value(self, loss: Loss) -> None:
        assert torch.autograd.gradcheck(lambda x: loss.compute(x, loss.labels), learnt(loss, torch.float64))

    def test_draws_nothing(self, loss: Loss) -> None:
        x = learnt(loss, torch.float32)
        state = torch.get_rng_state()
        first = loss.compute(x, loss.labels)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(loss.compute(x, loss.labels), first)

    def test_depends_on_the_order_of_the_samples_only_where_that_says_what_belongs_together(self, loss: Loss) -> None:
        x = learnt(loss, torch.float64)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
        reordered, value = loss.compute(x[order], loss.labels[order]), loss.compute(x, loss.labels)
        assert torch.allclose(reordered, value, rtol=1e-7, atol=1e-7) != loss.ordered

    def test_is_an_attached_zero_where_nothing_counts(self, loss: Loss) -> None:
        for labels in loss.nothing:
            x = learnt(loss, torch.float32)
            value = loss.compute(x, labels)
            assert value.item() == 0
            (gradient,) = torch.autograd.grad(value, x)
            assert torch.equal(gradient, torch.zeros_like(x))
