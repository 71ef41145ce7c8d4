"""What exact ranks rest on: a margin that covers float32's rounding, and distances that depend on the pair alone."""

import pytest
import torch

from reid.evaluation.ranking import Pairs, centre, pair_distances, rounding_margin


def make_features(kind: str, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(dim)
    query, gallery = (torch.randn(count, dim, generator=generator) for count in (128, 256))
    if kind == "relu":
        return query.relu(), gallery.relu()
    if kind == "opposed":
        gallery[:128] -= 20
        return query + 20, gallery + 10
    if kind == "outliers":
        gallery[:5] *= 1000
    return query, gallery


@pytest.mark.parametrize("kind", ["normal", "relu", "opposed", "outliers"])
@pytest.mark.parametrize("dim", [1, 3, 64, 2048])
def test_margin_is_twice_the_rounding_error_or_more(kind: str, dim: int) -> None:
    query_QD, gallery_GD = make_features(kind, dim)
    offset_D = gallery_GD.mean(0)
    centred_QD, centred_GD = centre(query_QD, offset_D), centre(gallery_GD, offset_D)
    norms_G = torch.linalg.vector_norm(centred_GD, dim=1)
    scores_QG = torch.addmm(norms_G.square() / -2, centred_QD, centred_GD.T)

    exact_QD, exact_GD = query_QD.double() - offset_D, gallery_GD.double() - offset_D
    exact_QG = exact_QD @ exact_GD.T - exact_GD.square().sum(1) / 2
    margin_Q = rounding_margin(torch.linalg.vector_norm(exact_QD, dim=1) + norms_G.max(), dim)
    assert ((scores_QG - exact_QG).abs().amax(1) < margin_Q / 2).all()


@pytest.mark.parametrize("dim", [1, 2, 7, 96, 2048])
def test_pair_distances_are_bitwise_those_of_the_pair_alone(dim: int) -> None:
    generator = torch.Generator().manual_seed(dim)
    query, gallery = torch.randn(9, dim, generator=generator), torch.randn(11, dim, generator=generator)
    pairs = Pairs(
        rows_N=torch.randint(9, (600,), generator=generator), columns_N=torch.randint(11, (600,), generator=generator)
    )
    together = pair_distances(query, gallery, pairs)
    expected = (query[pairs.rows_N].double() - gallery[pairs.columns_N].double()).square().sum(1)
    torch.testing.assert_close(together, expected, rtol=1e-13, atol=0)
    for index in (0, 255, 256, 599):
        alone = Pairs(rows_N=pairs.rows_N[index, None], columns_N=pairs.columns_N[index, None])
        assert torch.equal(pair_distances(query, gallery, alone)[0], together[index])
