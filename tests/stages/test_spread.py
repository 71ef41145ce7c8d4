import numpy as np
import pytest
import torch

from reid.stages import spread
from reid.stages.spread import evenly_spread, mean_of


@pytest.mark.parametrize(("images", "most", "expected"), [(5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (1, 8, [0])])
def test_images_are_evenly_spread_from_the_first_to_the_last(images: int, most: int, expected: list[int]) -> None:
    assert evenly_spread(images, most).tolist() == expected


def test_a_mean_in_pieces_is_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "_AT_ONCE", 3)
    values_N2 = torch.randn(11, 2, generator=torch.Generator().manual_seed(0))
    asked: list[int] = []

    def values(indices: np.ndarray) -> torch.Tensor:
        asked.append(len(indices))
        return values_N2[indices]

    torch.testing.assert_close(mean_of(values, 11), values_N2.mean(dim=0))
    assert sum(asked) == 11
    assert max(asked) <= 3
