import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reid.config import RunConfig, load_config
from reid.data import ReIDBatch
from reid.training import StageLoss
from reid.training.distributed import ProcessGroupRanks
from reid.training.step import NonFiniteLossError, train_step

CONFIG = load_config(preset="smoke")


def batch(images_BCHW: Tensor) -> ReIDBatch:
    return ReIDBatch(
        images_BCHW=images_BCHW,
        labels_B=torch.tensor([0, 1, 1, 0]),
        attributes_BA=torch.zeros(4, 0, dtype=torch.int64),
        attribute_names=(),
    )


def loss(output: Tensor, given: ReIDBatch, config: RunConfig, ranks: object) -> dict[str, Tensor]:
    return {"identity": nn.functional.cross_entropy(output, given.labels_B), "size": output.square().mean()}


def step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images_BCHW: Tensor,
    clip_gradient: float | None = None,
    terms_of: StageLoss = loss,
) -> dict[str, Tensor]:
    return train_step(
        model,
        batch(images_BCHW),
        loss=terms_of,
        config=CONFIG,
        optimizer=optimizer,
        ranks=ProcessGroupRanks([4]),
        dtype=torch.float32,
        place="phase final, epoch 3, step 7",
        clip_gradient=clip_gradient,
    )


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_non_finite_loss_names_every_term_and_moves_nothing(images: Tensor, bad: float) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer, images)
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    with pytest.raises(NonFiniteLossError, match=r"phase final, epoch 3, step 7: identity = .*, size = .*lower the"):
        step(model, optimizer, images.index_fill(0, torch.tensor(1), bad))
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(state["state"][key][name], after[key][name]) for key in after for name in after[key])


def test_the_terms_are_those_before_the_update(images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    expected = {name: term.item() for name, term in loss(model(images), batch(images), CONFIG, 0).items()}
    first = step(model, optimizer := torch.optim.Adam(model.parameters(), lr=1e-2), images)
    assert {name: value.item() for name, value in first.items()} == pytest.approx(
        expected | {"total": sum(expected.values())}
    )
    assert not any(value.requires_grad for value in first.values())
    assert step(model, optimizer, images)["total"] < first["total"]


def test_a_term_without_gradient_is_recorded_and_no_part_of_the_loss(images: Tensor) -> None:
    def observed(*args: Any) -> dict[str, Tensor]:
        return loss(*args) | {"share": torch.tensor(0.25)}

    plain, watched = (nn.Sequential(nn.Flatten(), nn.Linear(12, 2)) for _ in range(2))
    watched.load_state_dict(plain.state_dict())
    first = step(plain, torch.optim.Adam(plain.parameters(), lr=1e-2), images)
    second = step(watched, torch.optim.Adam(watched.parameters(), lr=1e-2), images, terms_of=observed)
    assert second == first | {"share": torch.tensor(0.25)}
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))


@pytest.mark.parametrize("share", [0.25, 1.5])
def test_the_gradient_of_all_weights_together_is_clipped_where_it_is_longer(images: Tensor, share: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Linear(6, 2))
    optimizer = torch.optim.SGD([{"params": model[1].parameters()}, {"params": model[2].parameters()}], lr=1.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    total = torch.stack([*loss(model(images), batch(images), CONFIG, 0).values()]).sum()
    gradients = torch.autograd.grad(total, [*model.parameters()])
    length = sum(gradient.square().sum().item() for gradient in gradients) ** 0.5
    step(model, optimizer, images, clip_gradient=share * length)
    for parameter, start, gradient in zip(model.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(start - parameter, min(share, 1.0) * gradient, rtol=1e-4, atol=1e-7)
