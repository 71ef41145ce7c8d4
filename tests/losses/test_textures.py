from collections.abc import Callable, Sequence
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from reid.losses import OneRank, Ranks, map_triplets, reconstruction_error

SHAPES = ((5, 4, 2), (4, 8, 4), (3, 16, 8), (2, 32, 16))
TABLE = {0: (0, 1, 4), 1: (1, 2, 5), 2: (2, 3, 6), 3: (3, 0, 4)}
"""Places of anchor, positive and negative from an identity's first sample on, by map."""


def maps_of(identities: int, *, scale: float = 1.0, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (scale * torch.randn(4 * identities, *shape, generator=generator, dtype=torch.float64)).requires_grad_()
        for shape in SHAPES
    ]


def by_loops(maps: Sequence[Tensor], margin: float, distance: str) -> tuple[Tensor, list[tuple[float, float]]]:
    """The loss, and the distances of all triplets."""
    total = torch.zeros((), dtype=torch.float64)
    distances = []
    for number, (anchor, positive, negative) in TABLE.items():
        for i in range(0, len(maps[number]) - 4, 4):
            a, p, n = (maps[number][i + place] for place in (anchor, positive, negative))
            if distance == "unit":
                a, p, n = (x / x.norm() for x in (a, p, n))
                ap, an = ((a - p) ** 2).sum(), ((a - n) ** 2).sum()
            else:
                ap, an = ((a - p) ** 2).mean(), ((a - n) ** 2).mean()
            distances.append((ap.item(), an.item()))
            if (hinge := ap - an + margin) > 0:
                total = total + hinge
    return total, distances


@pytest.mark.parametrize("distance", ["raw", "unit"])
@pytest.mark.parametrize("identities", [2, 3, 5])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_map_triplets_are_those_of_the_table(identities: int, margin: float, distance: str) -> None:
    maps = maps_of(identities)
    found = map_triplets(maps, OneRank(), margin=margin, distance=distance)  # type: ignore[arg-type]
    expected, distances = by_loops(maps, margin, distance)
    assert found.loss.item() == pytest.approx(expected.item())
    assert found.active.item() == pytest.approx(sum(ap - an + margin > 0 for ap, an in distances) / len(distances))
    assert found.positive_distance.item() == pytest.approx(sum(ap for ap, _ in distances) / len(distances))
    assert found.negative_distance.item() == pytest.approx(sum(an for _, an in distances) / len(distances))
    if expected.requires_grad:
        gradients = (torch.autograd.grad(loss, maps, materialize_grads=True) for loss in (found.loss, expected))
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)


def test_they_are_summed_not_averaged() -> None:
    few, many = (map_triplets(maps_of(p, scale=1e-6), OneRank(), margin=0.3).loss.item() for p in (2, 6))
    assert few == pytest.approx(4 * 0.3)
    assert many == pytest.approx(5 * 4 * 0.3)


def test_at_the_start_of_training_every_hinge_is_its_margin_and_all_are_active() -> None:
    found = map_triplets(maps_of(4, scale=1e-2), OneRank(), margin=0.3)
    assert found.active.item() == 1
    assert found.loss.item() == pytest.approx(3 * 4 * 0.3, rel=1e-2)


def test_larger_maps_alone_satisfy_raw_distances_but_not_those_of_unit_maps() -> None:
    """Anchors and positives alike to a share, negatives less so: scaled up, every margin is kept."""
    generator = torch.Generator().manual_seed(1)
    maps = []
    for shape in SHAPES:
        people = torch.randn(3, 1, *shape, generator=generator)
        maps.append((people + 0.5 * torch.randn(3, 4, *shape, generator=generator)).flatten(0, 1))
    small, large = (
        {distance: map_triplets([scale * m for m in maps], OneRank(), margin=0.3, distance=distance).loss.item()  # type: ignore[arg-type]
         for distance in ("raw", "unit")}
        for scale in (0.05, 50.0)
    )  # fmt: skip
    assert small["raw"] > 2
    assert large["raw"] == 0
    assert large["unit"] == pytest.approx(small["unit"])


def found_of(maps: Sequence[Tensor], ranks: Ranks) -> dict[str, Tensor]:
    found = map_triplets(maps, ranks, margin=0.3)
    return {field.name: getattr(found, field.name) for field in fields(found)}


@pytest.mark.parametrize("shares", [(1, 1), (2, 1), (1, 3, 2)])
def test_several_ranks_are_one(shares: tuple[int, ...], mean_over_ranks: Callable[..., dict[str, Tensor]]) -> None:
    maps = maps_of(sum(shares))
    alone = found_of(maps, OneRank())
    shards = list(zip(*(one.split([4 * share for share in shares]) for one in maps), strict=True))
    together = mean_over_ranks(found_of, shards)
    assert together.keys() == alone.keys()
    for name, expected in alone.items():
        torch.testing.assert_close(together[name], expected)
    gradients = (torch.autograd.grad(found["loss"], maps) for found in (together, alone))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("maps", [maps_of(2)[:3], [one[:6] for one in maps_of(2)]], ids=["three maps", "six samples"])
def test_another_batch_is_refused(maps: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="4 maps of P x 4 samples"):
        map_triplets(maps, OneRank(), margin=0.3)


def test_reconstruction_is_the_mean_absolute_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    texture, target = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    texture.requires_grad_()
    expected = sum(abs(x - y) for x, y in zip(texture.flatten().tolist(), target.flatten().tolist(), strict=True)) / 96
    found = reconstruction_error(texture, target, OneRank())
    assert found.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(found, texture)
    torch.testing.assert_close(gradient, (texture - target).detach().sign() / 96)
