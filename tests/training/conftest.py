from pathlib import Path

import pytest

from reid.config import RunConfig, load_config
from reid.data import map_in_process, prepare
from reid.data.embedded import SIZES, render_coco, render_market1501

HEIGHT, WIDTH = 32, 16


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Arrow stores of the embedded benchmark at its smallest: `reid` and `pose`."""
    root = tmp_path_factory.mktemp("stores")
    render_market1501(root / "market1501", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    render_coco(root / "coco", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    return {
        kind: prepare(name, root / source, root / kind, height=HEIGHT, width=WIDTH).path
        for kind, name, source in (("reid", "embedded", "market1501"), ("pose", "coco", "coco"))
    }


@pytest.fixture
def config(storage: Path) -> RunConfig:
    """The smoke preset, smaller still, on one rank in this process."""
    return load_config(
        preset="smoke",
        overrides=[f"data.height={HEIGHT}", f"data.width={WIDTH}", "scaling.num_workers=0", "precision=fp32"],
    )
