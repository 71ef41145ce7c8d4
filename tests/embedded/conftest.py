from pathlib import Path

import pytest

from reid.data.parallel import map_in_process
from reid.embedded import SIZES, render_coco, render_market1501


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("embedded") / "market1501"
    render_market1501(root, size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    return root


@pytest.fixture(scope="session")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("embedded") / "coco"
    render_coco(root, size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    return root
