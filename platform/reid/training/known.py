"""What a phase does not change of an image: computed once for each, by all ranks together."""

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from reid.config import RunConfig
from reid.data import Dataset, MapStore, ReIDBatches, map_stores
from reid.progress import track
from reid.storage import Storage
from reid.training.device import autocast
from reid.training.distributed import rank_and_world
from reid.training.stage import Known


def attach_known(dataset: Dataset, known: Known, config: RunConfig, device: torch.device, dtype: torch.dtype) -> None:
    """Attach what is known to the splits of a dataset, textures to that of training alone; what is missing is computed
    first, each rank its share."""
    storage = Storage.of(config)
    rank, world = rank_and_world()
    whole = dataset.whole
    size = f"{config.data.height}x{config.data.width}"
    stores = map_stores(whole, f"{known.key}/{size}/{dtype}", storage)
    if known.kind == "textures":
        stores = {"train": stores["train"]}
    for split, store in stores.items():
        batches = ReIDBatches(whole, split, config.data, device=device, channels_last=config.channels_last)
        _complete(store, known, batches, config, storage, (rank, world), device, dtype)
    if world > 1:
        dist.barrier()
    for store in stores.values():
        store.fetch(storage)
    storage.cache.make_room()
    for split, store in stores.items():
        if known.kind == "textures":
            whole.splits[split].attach(textures=store, texture_layout=known.layout)
        else:
            whole.splits[split].attach(store)


@torch.no_grad()
def _complete(
    store: MapStore,
    known: Known,
    batches: ReIDBatches,
    config: RunConfig,
    storage: Storage,
    share: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    def compute(indices: NDArray[np.int64]) -> Tensor:
        count = max(1, -(-len(indices) // config.evaluation.batch_size))
        with autocast(device, dtype):
            computed = torch.cat([known.compute(batches, part) for part in np.array_split(indices, count)])
        advance(len(indices))
        return computed

    _, world = share
    with track(f"{known.kind} of {store.split}", -(-store.rows // world), "images") as advance:
        store.complete(compute, storage, share=share)
