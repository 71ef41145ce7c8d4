"""Maps that a phase leaves as they are: computed once for each image, and the same for whoever reads them."""

import os
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from reid.config import RunConfig, with_settings
from reid.data import Dataset, HoldOut, ReIDBatches, hold_out, open_dataset
from reid.training import Known
from reid.training.known import attach_known

CPU = torch.device("cpu")
SPLITS = ("gallery", "query", "train")


class Shrunk:
    """Maps that are the images themselves, made small; counts what it computes."""

    def __init__(self, key: str = "shrunk") -> None:
        self.known = Known(key=key, compute=self)
        self.computed: Counter[bytes] = Counter()

    def __call__(self, batches: ReIDBatches, indices: NDArray[np.int64]) -> Tensor:
        maps = shrunk(batches, indices)
        self.computed.update(row.numpy().tobytes() for row in maps)
        return maps

    def attach(self, dataset: Dataset, config: RunConfig, dtype: torch.dtype = torch.float32) -> int:
        """How many maps it had to compute."""
        before = self.computed.total()
        attach_known(dataset, self.known, config, CPU, dtype)
        return self.computed.total() - before


def shrunk(batches: ReIDBatches, indices: NDArray[np.int64]) -> Tensor:
    return F.adaptive_avg_pool2d(batches.inference(indices), (4, 2))


def maps_of(dataset: Dataset, split: str) -> Tensor:
    maps = dataset.splits[split].maps
    assert maps is not None
    return maps.gather(np.arange(len(dataset.splits[split])))


def expected(dataset: Dataset, split: str, config: RunConfig) -> Tensor:
    batches = ReIDBatches(dataset, split, config.data, device="cpu")
    return shrunk(batches, np.arange(len(batches)))


@pytest.fixture(autouse=True)
def _short_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid.data.map_store.CHUNK_ROWS", 16)


def test_they_are_computed_once_whoever_asks_again(config: RunConfig, stores: dict[str, Path]) -> None:
    maps, dataset = Shrunk(), open_dataset(stores["reid"])
    assert maps.attach(dataset, config) == sum(len(split) for split in dataset.splits.values())
    files = {file: file.stat().st_mtime_ns for file in Path(config.storage, "maps").rglob("*.arrow")}
    again = open_dataset(stores["reid"])
    assert Shrunk().attach(again, config) == 0
    assert {file: file.stat().st_mtime_ns for file in Path(config.storage, "maps").rglob("*.arrow")} == files
    for split in SPLITS:
        for opened in (dataset, again):
            assert torch.equal(maps_of(opened, split), expected(dataset, split, config)), split


def test_what_is_kept_stays_within_the_bound(
    config: RunConfig, stores: dict[str, Path], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid.storage.cache._held", held := {})
    config = config.model_copy(update={"cache_gb": 0.0})
    for key in ("first", "second"):
        dataset = open_dataset(stores["reid"])
        Shrunk(key).attach(dataset, config)
        assert torch.equal(maps_of(dataset, "query"), expected(dataset, "query", config))
        assert len(list((storage / "maps").glob("[!.]*"))) == 1
        for descriptor in held.values():
            os.close(descriptor)
        held.clear()


def test_others_of_the_same_images_are_computed_anew(config: RunConfig, stores: dict[str, Path]) -> None:
    dataset = open_dataset(stores["reid"])
    images = sum(len(split) for split in dataset.splits.values())
    Shrunk().attach(dataset, config)
    assert Shrunk("of another net").attach(dataset, config) == images
    assert Shrunk().attach(dataset, config, torch.bfloat16) == images
    larger = with_settings(config, {"data.height": 64})
    assert Shrunk().attach(dataset, larger) == images
    assert torch.equal(maps_of(dataset, "query"), expected(dataset, "query", larger))


@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_file_that_was_cut_off_is_made_anew(config: RunConfig, stores: dict[str, Path], kept: float) -> None:
    dataset = open_dataset(stores["reid"])
    Shrunk().attach(dataset, config)
    (first,) = Path(config.storage, "maps").rglob("train-00001.arrow")
    first.write_bytes(first.read_bytes()[: int(kept * first.stat().st_size)])
    assert Shrunk().attach(dataset, config) == 16
    assert torch.equal(maps_of(dataset, "train"), expected(dataset, "train", config))


def test_whom_a_view_holds_out_has_the_maps_of_its_own_images(config: RunConfig, stores: dict[str, Path]) -> None:
    """Query and gallery stay closed, and what was computed serves the whole dataset too."""
    train = open_dataset(stores["reid"], splits=("train",))
    view = hold_out(train, HoldOut(fraction=0.3, seed=0))
    assert Shrunk().attach(view, config) == len(train.splits["train"])
    for split in SPLITS:
        assert torch.equal(maps_of(view, split), expected(view, split, config)), split
    whole = open_dataset(stores["reid"])
    others = len(whole.splits["query"]) + len(whole.splits["gallery"])
    assert Shrunk().attach(whole, config) == others


def test_ranks_share_the_work_and_see_the_same_maps(
    config: RunConfig, stores: dict[str, Path], tmp_path: Path, on_two_ranks: Callable[..., None]
) -> None:

    def as_rank(rank: int) -> None:
        maps, dataset = Shrunk(), open_dataset(stores["reid"])
        maps.attach(dataset, config)
        seen = {split: maps_of(dataset, split) for split in SPLITS}
        (tmp_path / f"{rank}.pickle").write_bytes(pickle.dumps((maps.computed, seen)))

    on_two_ranks(as_rank)
    alone, dataset = Shrunk(), open_dataset(stores["reid"])
    alone.attach(dataset, with_settings(config, {"storage": str(tmp_path / "alone")}))
    together: Counter[bytes] = Counter()
    for rank in range(2):
        computed, seen = pickle.loads((tmp_path / f"{rank}.pickle").read_bytes())  # noqa: S301 - written above
        assert computed.total() > 0
        together += computed
        for split in SPLITS:
            assert torch.equal(seen[split], maps_of(dataset, split))
    assert together == alone.computed
