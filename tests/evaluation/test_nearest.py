import pytest
import torch

from reid.evaluation.nearest import nearest

DESCRIPTORS_ND = torch.nn.functional.normalize(
    torch.randn(57, 8, generator=torch.Generator().manual_seed(0)).index_fill(0, torch.tensor([30, 41]), 1.0), dim=1
)


@pytest.mark.parametrize("block", [1, 7, 57, 100])
@pytest.mark.parametrize("count", [1, 10, 56, 80])
@pytest.mark.parametrize("without", [None, 12])
def test_the_same_rows_as_by_sorting_all(block: int, count: int, without: int | None) -> None:
    query_D = DESCRIPTORS_ND[12]
    found = nearest(query_D, DESCRIPTORS_ND.split(block), count, without=without)
    distances = [(float((row - query_D).double().norm()), index) for index, row in enumerate(DESCRIPTORS_ND)]
    expected = sorted((distance, index) for distance, index in distances if index != without)[:count]
    assert found.rows_K == [index for _, index in expected]
    torch.testing.assert_close(found.distances_K, [distance for distance, _ in expected], rtol=0, atol=1e-6)


@pytest.mark.parametrize("block", [1, 11, 12, 57])
def test_equal_rows_come_in_their_order(block: int) -> None:
    blocks = torch.ones(57, 8).split(block)
    assert nearest(DESCRIPTORS_ND[0], blocks, 5, without=2).rows_K == [0, 1, 3, 4, 5]


def test_what_does_not_fit_together() -> None:
    with pytest.raises(ValueError, match="0 nearest were asked for: ask for at least 1"):
        nearest(DESCRIPTORS_ND[0], [DESCRIPTORS_ND], 0)
    with pytest.raises(ValueError, match="has length 4 and the others have 8: describe both with the same model"):
        nearest(DESCRIPTORS_ND[0, :4], [DESCRIPTORS_ND], 1)
