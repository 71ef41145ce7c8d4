from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.config import Attribute, load_manifest


@dataclass(frozen=True)
class Labels:
    """All that trying a space needs of a split: 40 identities of 12 images."""

    pids_N: NDArray[np.int64] = field(default_factory=lambda: np.repeat(np.arange(40), 12))  # noqa: N815

    def __len__(self) -> int:
        return len(self.pids_N)


@dataclass(frozen=True)
class Labelled:
    """All that trying a space needs of a dataset."""

    attributes: dict[str, Attribute]
    texture_layout: str | None = None
    splits: dict[str, Labels] = field(default_factory=lambda: {"train": Labels()})


@pytest.fixture(scope="session")
def dataset() -> Labelled:
    return Labelled({attribute.name: attribute for attribute in load_manifest("embedded").attributes})
