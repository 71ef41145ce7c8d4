"""One Adam, in groups whose rates are multiples of the phase's; a rate of 0 freezes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reid.config import PhaseConfig
from reid.training.optimizer import make_optimizer, set_learning_rate, train_mode

INPUT = torch.arange(12.0).view(4, 3).sin()


class Small(nn.Module):
    """Modules within modules, and one whose name begins like another's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.trunk_neck = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.decoder = nn.Linear(4, 2)

    def forward(self, x_B3: Tensor) -> Tensor:
        decoded_B2: Tensor = self.decoder(self.trunk_neck(self.trunk(x_B3)))
        return decoded_B2


def phase(**settings: Any) -> PhaseConfig:
    return PhaseConfig(stage="baseline", epochs=1, learning_rate=1e-2, halve_every=1, **settings)


def step(net: nn.Module, optimizer: torch.optim.Optimizer, rate: float = 1e-2) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(net(INPUT).square().sum())
    set_learning_rate(optimizer, rate)
    optimizer.step()


def copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def test_without_rates_it_is_plain_adam_to_the_last_bit() -> None:
    ours, plain = Small(), Small()
    optimizer, reference = make_optimizer(ours, phase()), torch.optim.Adam(plain.parameters(), lr=1e-2, fused=True)
    assert len(optimizer.param_groups) == 1
    for _ in range(3):
        step(ours, optimizer)
        reference.zero_grad()
        torch.autograd.backward(plain(INPUT).square().sum())
        reference.step()
    for found, expected in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"decoder": 0.1}, {"decoder": 0.1}),
        ({"decoder": 0.1, "trunk": 3.0}, {"decoder": 0.1, "trunk.0": 3.0, "trunk.1": 3.0}),
        ({"trunk.0": 0.5, "trunk": 3.0}, {"trunk.0": 0.5, "trunk.1": 3.0}),
        ({"trunk": 0.0, "trunk.1": 2.0}, {"trunk.0": 0.0, "trunk.1": 2.0}),
        ({"trunk": 2.0, "trunk.1": 0.0}, {"trunk.0": 2.0, "trunk.1": 0.0}),
    ],
)
def test_a_module_is_trained_at_the_multiple_of_the_innermost_that_is_named(
    rates: dict[str, float], expected: dict[str, float]
) -> None:
    ours, whole = Small(), Small()
    before = copied(ours)
    step(ours, make_optimizer(ours, phase(rates=rates)))
    step(whole, make_optimizer(whole, phase()))
    usual = dict(whole.named_parameters())
    for name, found in ours.named_parameters():
        multiple = expected.get(name.rpartition(".")[0], 1.0)
        moved = found - before[name]
        torch.testing.assert_close(moved, (usual[name] - before[name]) * multiple, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("rates", "frozen"),
    [
        ({"trunk": 0}, ["trunk.0", "trunk.1"]),
        ({"trunk": 0, "trunk.0": 1}, ["trunk.1"]),
        ({"trunk": 0, "trunk.1": 1}, ["trunk.0"]),
        ({"trunk": 1, "trunk.1": 0, "decoder": 0}, ["trunk.1", "decoder"]),
    ],
)
def test_what_is_frozen_stays_to_the_last_bit_and_keeps_no_gradient(rates: dict[str, float], frozen: list[str]) -> None:
    net = Small()
    before = copied(net)
    optimizer = make_optimizer(net, phase(rates=rates, weight_decay=0.1))
    net.eval()
    train_mode(net, rates)
    for _ in range(3):
        step(net, optimizer)
    for name, found in net.state_dict().items():
        assert torch.equal(found, before[name]) == (name.rpartition(".")[0] in frozen), name
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None) == (name.rpartition(".")[0] not in frozen), name


def test_every_parameter_that_is_not_frozen_is_in_one_group() -> None:
    net = Small()
    optimizer = make_optimizer(net, phase(rates={"trunk": 0.5, "decoder": 2, "trunk_neck.0": 0}))
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(net.parameters())) - 2


def test_rates_that_are_given_take_the_place_of_the_phases() -> None:
    net = Small()
    optimizer = make_optimizer(net, phase(rates={"decoder": 0}), {"decoder": 0.5})
    assert {group["multiple"] for group in optimizer.param_groups} == {0.5, 1.0}


def test_weight_decay_and_amsgrad_are_adams() -> None:
    optimizer = make_optimizer(Small(), phase(weight_decay=0.1, amsgrad=True))
    assert [(group["weight_decay"], group["amsgrad"]) for group in optimizer.param_groups] == [(0.1, True)]


@pytest.mark.parametrize("name", ["decodre", "trunk.2", "trunk.0.weight"])
def test_a_module_that_is_not_there_is_named(name: str) -> None:
    complaint = f"rates: the model has no module '{name}', expected trunk, trunk_neck, decoder, or a module of these"
    with pytest.raises(ValueError, match=complaint):
        make_optimizer(Small(), phase(rates={name: 0.1}))


def test_a_model_that_is_frozen_as_a_whole_is_an_error() -> None:
    with pytest.raises(ValueError, match="rates: every module is frozen: leave one to train"):
        make_optimizer(Small(), phase(rates={"trunk": 0, "trunk_neck": 0, "decoder": 0}))
