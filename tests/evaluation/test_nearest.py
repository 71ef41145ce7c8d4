import numpy as np
import pytest
import torch

from reid.evaluation.nearest import nearest, rank

DESCRIPTORS_ND = torch.nn.functional.normalize(
    torch.randn(57, 8, generator=torch.Generator().manual_seed(0)).index_fill(0, torch.tensor([30, 41]), 1.0), dim=1
)


@pytest.mark.parametrize("block", [1, 7, 57, 100])
@pytest.mark.parametrize("count", [1, 10, 56, 80])
@pytest.mark.parametrize("without", [None, 12])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_the_same_rows_as_by_sorting_all(block: int, count: int, without: int | None, shift: float) -> None:
    gallery_GD = DESCRIPTORS_ND + shift
    query_QD = torch.cat((gallery_GD[12:13], gallery_GD[::5] + 0.01))
    found = nearest(query_QD, gallery_GD.split(block), count, without=without)
    for query_D, rows_K, distances_K in zip(query_QD, found.rows_QK, found.distances_QK, strict=True):
        distances = [(float((row.double() - query_D.double()).norm()), index) for index, row in enumerate(gallery_GD)]
        expected = sorted((distance, index) for distance, index in distances if index != without)[:count]
        assert rows_K.tolist() == [index for _, index in expected]
        np.testing.assert_allclose(distances_K, [distance for distance, _ in expected], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("block", [1, 11, 12, 57])
def test_equal_rows_come_in_their_order(block: int) -> None:
    blocks = torch.ones(57, 8).split(block)
    assert nearest(DESCRIPTORS_ND[:1], blocks, 5, without=2).rows_QK.tolist() == [[0, 1, 3, 4, 5]]


def test_blocks_are_gone_through_once_for_all_queries() -> None:
    blocks = iter(DESCRIPTORS_ND.split(10))
    query_QD = DESCRIPTORS_ND.repeat(10, 1)
    assert nearest(query_QD, blocks, 1).rows_QK[:, 0].tolist() == [*range(41), 30, *range(42, 57)] * 10  # two are equal
    assert list(blocks) == []


def test_what_does_not_fit_together() -> None:
    with pytest.raises(ValueError, match="0 nearest were asked for: ask for at least 1"):
        nearest(DESCRIPTORS_ND[:1], [DESCRIPTORS_ND], 0)
    with pytest.raises(ValueError, match="have 4 dimensions and gallery_features 8; extract both with the same model"):
        nearest(DESCRIPTORS_ND[:1, :4], [DESCRIPTORS_ND], 1)
    for wrong in (torch.nan, torch.inf):
        for row in (0, 30, 56):
            damaged_GD = DESCRIPTORS_ND.index_fill(0, torch.tensor([row]), wrong)
            with pytest.raises(ValueError, match="gallery_features contain NaN or infinity"):
                nearest(DESCRIPTORS_ND[:1], damaged_GD.split(10), 3)


@pytest.mark.parametrize("blocks", [(1, 1), (7, 5), (256, 4096)])
@pytest.mark.parametrize("top", [1, 10, 57, 80])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_ranks_are_those_of_sorting_all(blocks: tuple[int, int], top: int, shift: float) -> None:
    gallery_GD = DESCRIPTORS_ND + shift  # far from the origin, float32 products tell little apart
    query_QD = torch.cat((gallery_GD[::4], gallery_GD[10:12] + 0.01))
    ranking = rank(query_QD.numpy(), gallery_GD.numpy(), top=top, query_block=blocks[0], gallery_block=blocks[1])
    distances_QG = torch.cdist(query_QD.double(), gallery_GD.double(), compute_mode="donot_use_mm_for_euclid_dist")
    for distances_G, indices_K, similarities_K in zip(distances_QG, *ranking, strict=True):
        assert indices_K.tolist() == distances_G.argsort(stable=True)[:top].tolist()
        np.testing.assert_allclose(similarities_K, 1 - distances_G[indices_K].square() / 2, rtol=0, atol=1e-9)


def test_a_similarity_of_unit_vectors_is_their_cosine() -> None:
    indices_QK, similarities_QK = rank(DESCRIPTORS_ND[:9], DESCRIPTORS_ND)
    cosines_QG = (DESCRIPTORS_ND[:9].double() @ DESCRIPTORS_ND.double().T).numpy()
    np.testing.assert_allclose(similarities_QK, np.take_along_axis(cosines_QG, indices_QK, axis=1), atol=1e-6)
    assert (similarities_QK[:, 0] == 1).all()


@pytest.mark.parametrize("block", [1, 5, 4096])
def test_equal_descriptors_are_ranked_in_their_order(block: int) -> None:
    gallery_GD = torch.cat((DESCRIPTORS_ND[:3], DESCRIPTORS_ND[:3], DESCRIPTORS_ND[:3]))
    found = rank(DESCRIPTORS_ND[1:2], gallery_GD, top=4, gallery_block=block)
    assert found.indices_QK[0, :3].tolist() == [1, 4, 7]
    found = rank(DESCRIPTORS_ND[5:6], DESCRIPTORS_ND[:1].expand(9, -1), top=5, gallery_block=block)
    assert found.indices_QK.tolist() == [[0, 1, 2, 3, 4]]


def test_ranking_none_and_what_does_not_fit() -> None:
    assert rank(DESCRIPTORS_ND[:0], DESCRIPTORS_ND).indices_QK.shape == (0, 10)
    assert rank(DESCRIPTORS_ND, DESCRIPTORS_ND[:0]).similarities_QK.shape == (57, 0)
    with pytest.raises(ValueError, match="top is 0: ask for at least 1"):
        rank(DESCRIPTORS_ND, DESCRIPTORS_ND, top=0)
    with pytest.raises(ValueError, match="gallery_block is 0: ask for at least 1"):
        rank(DESCRIPTORS_ND, DESCRIPTORS_ND, gallery_block=0)
    with pytest.raises(ValueError, match="have 4 dimensions and gallery_features 8; extract both with the same model"):
        rank(DESCRIPTORS_ND[:, :4], DESCRIPTORS_ND)
    with pytest.raises(ValueError, match=r"query_features are torch.float32 \(8,\); give floats \(items, dimensions\)"):
        rank(DESCRIPTORS_ND[0], DESCRIPTORS_ND)
    with pytest.raises(ValueError, match="gallery_features contain NaN or infinity"):
        rank(DESCRIPTORS_ND, torch.full((2, 8), torch.nan))
