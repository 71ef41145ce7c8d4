import itertools
import math
from typing import Literal, get_args

import pytest
import torch
from torch import Tensor

from reid.losses import FocalTripletLoss, focal_triplet

Mining = Literal["batch_all", "batch_hard"]
Kind = Literal["focal", "plain"]
Average = Literal["valid", "active"]
MINING: tuple[Mining, ...] = get_args(Mining)
KINDS: tuple[Kind, ...] = get_args(Kind)
AVERAGES: tuple[Average, ...] = get_args(Average)
LABELS = {
    "balanced": [0, 0, 0, 1, 1, 1],
    "uneven": [3, 1, 3, 2, 3, 1],
    "one_pair": [0, 1, 2, 2, 4, 5],
}
WITHOUT_TRIPLET = {"no_positive": [0, 1, 2, 3], "no_negative": [7, 7, 7, 7], "single": [0], "nobody": []}


def _embeddings(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _one_triplet(d_ap: float, d_an: float, alpha: float, beta: float, gamma: float, kind: str) -> float:
    hinge = max(d_ap - d_an + alpha, 0.0)
    if kind == "plain":
        return hinge
    return float(max(d_ap - d_an + 1, 1.0) ** gamma * hinge + max(d_ap - beta, 0.0))


def _by_loops(
    embeddings: Tensor,
    labels: list[int],
    mining: str,
    kind: str,
    alpha: float = 0.5,
    beta: float = 0.01,
    gamma: float = 2,
    averaging: str = "valid",
    distance: str = "unit",
) -> float:
    unit = [[x / (math.hypot(*row) if distance == "unit" else 1) for x in row] for row in embeddings.tolist()]
    losses = []
    everyone = range(len(labels))
    for a in everyone:
        positives = [math.dist(unit[a], unit[p]) for p in everyone if p != a and labels[p] == labels[a]]
        negatives = [math.dist(unit[a], unit[n]) for n in everyone if labels[n] != labels[a]]
        if mining == "batch_hard" and positives and negatives:
            positives, negatives = [max(positives)], [min(negatives)]
        losses += [_one_triplet(ap, an, alpha, beta, gamma, kind) for ap in positives for an in negatives]
    if averaging == "active":
        losses = [loss for loss in losses if loss > 0]
    return sum(losses) / max(len(losses), 1)


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-6)]
)
def test_equals_the_loops(mining: Mining, kind: Kind, labels: list[int], dtype: torch.dtype, tolerance: float) -> None:
    embeddings = _embeddings(len(labels), 8, dtype=torch.float64).to(dtype)
    loss = FocalTripletLoss(0.5, 0.01, 2.0, mining, kind)(embeddings, torch.tensor(labels))
    assert loss.shape == ()
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    assert loss.item() == pytest.approx(_by_loops(embeddings.double(), labels, mining, kind), abs=tolerance)


ACTIVE_CASES = {
    "some triplets cost nothing": (0.3, 0.9),
    "only the margin": (0.2, 2.0),
    "only the distance of the pair": (-2.0, 0.5),
    "none": (-2.0, 2.0),
}
"""α and β."""


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("case", ACTIVE_CASES)
def test_easy_triplets_do_not_shrink_the_active_average(
    mining: Mining, kind: Kind, labels: list[int], case: str
) -> None:
    (alpha, beta), embeddings = ACTIVE_CASES[case], _embeddings(len(labels), 8)
    arguments = (embeddings, labels, mining, kind, alpha, beta, 2.0)
    valid, active = (_by_loops(*arguments, averaging) for averaging in AVERAGES)
    loss = FocalTripletLoss(alpha, beta, 2.0, mining, kind, "active")
    assert loss(embeddings, torch.tensor(labels)).item() == pytest.approx(active, abs=1e-12)
    assert active >= valid


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("averaging", AVERAGES)
def test_gradients_are_those_of_the_loops(mining: Mining, kind: Kind, averaging: Average) -> None:
    embeddings, labels, step = _embeddings(6, 4), LABELS["uneven"], 1e-5
    loss = FocalTripletLoss(0.3, 0.9, 2.0, mining, kind, averaging)
    (gradient,) = torch.autograd.grad(loss(embeddings.requires_grad_(), torch.tensor(labels)), embeddings)
    assert gradient.any()
    for row, column in itertools.product(range(6), range(4)):
        moved = [embeddings.detach().clone() for _ in range(2)]
        for value, sign in zip(moved, (1, -1), strict=True):
            value[row, column] += sign * step
        above, below = (_by_loops(value, labels, mining, kind, 0.3, 0.9, 2.0, averaging) for value in moved)
        assert gradient[row, column].item() == pytest.approx((above - below) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("kind", KINDS)
def test_both_averages_are_one_where_every_triplet_costs(mining: Mining, kind: Kind) -> None:
    embeddings, labels = _embeddings(2, 6, 4), torch.tensor(LABELS["uneven"])
    valid, active = (FocalTripletLoss(2.5, 0.0, 2.0, mining, kind, average)(embeddings, labels) for average in AVERAGES)
    torch.testing.assert_close(active, valid)


@pytest.mark.parametrize(("alpha", "beta", "gamma"), [(0.0, 0.0, 0.0), (0.3, 0.02, 0.5), (1.5, 1.0, 4.0)])
def test_equals_the_loops_at_other_settings(alpha: float, beta: float, gamma: float) -> None:
    embeddings, labels = _embeddings(6, 4), LABELS["uneven"]
    loss = FocalTripletLoss(alpha, beta, gamma)(embeddings, torch.tensor(labels))
    assert loss.item() == pytest.approx(_by_loops(embeddings, labels, "batch_all", "focal", alpha, beta, gamma))


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("averaging", AVERAGES)
def test_branches_are_computed_as_each_alone(mining: Mining, averaging: Average) -> None:
    labels = torch.tensor(LABELS["uneven"])
    short, long = _embeddings(6, 3), _embeddings(6, 5) + 1
    loss = FocalTripletLoss(0.1, 0.9, mining=mining, averaging=averaging)
    together = loss(torch.stack((torch.nn.functional.pad(short, (0, 2)), long)), labels)
    torch.testing.assert_close(together, torch.stack((loss(short, labels), loss(long, labels))))


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients(mining: Mining, kind: Kind) -> None:
    loss = FocalTripletLoss(mining=mining, kind=kind)
    labels = torch.tensor(LABELS["uneven"])
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), _embeddings(2, 6, 4).requires_grad_())


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("averaging", AVERAGES)
@pytest.mark.parametrize("labels", WITHOUT_TRIPLET.values(), ids=WITHOUT_TRIPLET)
def test_without_a_triplet_it_is_an_attached_zero(mining: Mining, averaging: Average, labels: list[int]) -> None:
    embeddings = _embeddings(2, len(labels), 4).requires_grad_()
    loss = FocalTripletLoss(mining=mining, averaging=averaging)(embeddings, torch.tensor(labels, dtype=torch.long))
    assert loss.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(loss.sum(), embeddings)
    assert torch.equal(gradient, torch.zeros_like(embeddings))


@pytest.mark.parametrize("mining", MINING)
def test_identical_embeddings_have_a_finite_gradient(mining: Mining) -> None:
    embeddings = torch.ones(4, 3, requires_grad=True)
    loss = FocalTripletLoss(mining=mining)(embeddings, torch.tensor([0, 0, 1, 1]))
    assert loss.item() == 0.5
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert torch.equal(gradient, torch.zeros(4, 3))


def test_per_triplet_values_by_hand() -> None:
    d_ap, d_an = torch.tensor([0.2, 1.0, 0.005]), torch.tensor([1.0, 0.6, 0.3])
    expected = [0 + 0.19, 1.4**2 * 0.9 + 0.99, 1 * (0.005 - 0.3 + 0.5) + 0]
    torch.testing.assert_close(focal_triplet(d_ap, d_an, 0.5, 0.01, 2.0), torch.tensor(expected))


def test_the_focal_weight_is_part_of_the_graph() -> None:
    d_ap = torch.tensor(1.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(focal_triplet(d_ap, torch.tensor(0.6), 0.5, 0.01, 2.0), d_ap)
    assert gradient.item() == pytest.approx(2 * 1.4 * 0.9 + 1.4**2 + 1)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ValueError, match="invalid mining 'semi_hard', expected one of batch_all, batch_hard"):
        FocalTripletLoss(mining="semi_hard")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid kind 'soft', expected one of focal, plain"):
        FocalTripletLoss(kind="soft")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid averaging 'all', expected one of valid, active"):
        FocalTripletLoss(averaging="all")  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_raw_distances_are_of_embeddings_as_they_are(labels: list[int]) -> None:
    embeddings = _embeddings(len(labels), 4)
    loss = FocalTripletLoss(alpha=0.3, kind="plain", mining="batch_hard", distance="raw")
    expected = _by_loops(embeddings, labels, "batch_hard", "plain", alpha=0.3, distance="raw")
    assert loss(embeddings, torch.tensor(labels)).item() == pytest.approx(expected)
    longer = loss(3 * embeddings, torch.tensor(labels)).item()
    assert longer == pytest.approx(_by_loops(3 * embeddings, labels, "batch_hard", "plain", alpha=0.3, distance="raw"))
    assert longer != pytest.approx(expected)
