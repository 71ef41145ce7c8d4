"""One Adam, in groups whose rates are multiples of the phase's."""

from typing import Any

import pytest
import torch
from torch import nn

from reid.config import PhaseConfig
from reid.training.optimizer import make_optimizer, set_learning_rate


def phase(**settings: Any) -> PhaseConfig:
    return PhaseConfig(stage="baseline", epochs=1, learning_rate=1e-2, halve_every=1, **settings)


def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"trunk": nn.Linear(3, 4), "decoder": nn.Linear(4, 2)})


def step(net: nn.ModuleDict, optimizer: torch.optim.Optimizer, rate: float = 1e-2) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(net["decoder"](net["trunk"](torch.ones(2, 3))).square().sum())
    set_learning_rate(optimizer, rate)
    optimizer.step()


def test_without_rates_it_is_plain_adam_to_the_last_bit() -> None:
    ours, plain = model(), model()
    optimizer, reference = make_optimizer(ours, phase()), torch.optim.Adam(plain.parameters(), lr=1e-2, fused=True)
    assert len(optimizer.param_groups) == 1
    for _ in range(3):
        step(ours, optimizer)
        reference.zero_grad()
        torch.autograd.backward(plain["decoder"](plain["trunk"](torch.ones(2, 3))).square().sum())
        reference.step()
    for found, expected in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("rates", [{"decoder": 0.1}, {"decoder": 0.1, "trunk": 3.0}])
def test_a_module_is_trained_at_its_multiple_of_the_rate(rates: dict[str, float]) -> None:
    ours, whole = model(), model()
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    step(ours, make_optimizer(ours, phase(rates=rates)))
    step(whole, make_optimizer(whole, phase()))
    for name, found in ours.state_dict().items():
        moved, usual = found - before[name], whole.state_dict()[name] - before[name]
        torch.testing.assert_close(moved, usual * rates.get(name.split(".")[0], 1.0), rtol=1e-4, atol=1e-7)


def test_a_rate_of_zero_moves_nothing() -> None:
    net = model()
    before = net["decoder"].weight.clone()
    optimizer = make_optimizer(net, phase(rates={"decoder": 0}))
    for _ in range(3):
        step(net, optimizer)
    assert torch.equal(net["decoder"].weight, before)


def test_every_parameter_is_in_one_group() -> None:
    net = model()
    optimizer = make_optimizer(net, phase(rates={"trunk": 0.5, "decoder": 2}))
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(net.parameters()))


def test_weight_decay_and_amsgrad_are_adams() -> None:
    optimizer = make_optimizer(model(), phase(weight_decay=0.1, amsgrad=True))
    assert [(group["weight_decay"], group["amsgrad"]) for group in optimizer.param_groups] == [(0.1, True)]


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="rates: the model has no module 'decodre', expected some of trunk, decoder"):
        make_optimizer(model(), phase(rates={"decodre": 0.1}))
