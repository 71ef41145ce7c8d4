"""Descriptors of any images, in shares that each worker can compute by itself.

Legend: N images of a share, D descriptor.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from reid.config import RunConfig
from reid.data import Dataset, UnreadableImageError, image_place, open_dataset, open_store, pixels_of, rows_of
from reid.inference import load_checkpoint
from reid.storage import Storage

SHARE_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class Share:
    """Images that one task describes: of a split of a store by position, or of a folder by name."""

    split: str | None
    start: int
    stop: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a task hands back."""

    rows: pa.RecordBatch | None
    """None when no image could be read."""
    unreadable: tuple[str, ...]
    """A complaint for each image that is not among the rows."""


def shares_of(images: str, storage: Storage, names: Sequence[str] | None) -> list[Share]:
    """All images as tasks, in the order of the table, whatever the number of workers.

    Args:
        images: a store, or the folder that `names` are in.
        storage: the run's.
        names: of the images; none = `images` is a store, and all of its splits are meant.

    Raises:
        DataError: the store is damaged; it is read and verified here, once for all workers.
    """
    if names is not None:
        return [
            Share(split=None, start=start, stop=start + len(some), names=tuple(some))
            for start in range(0, len(names), SHARE_ROWS)
            for some in [names[start : start + SHARE_ROWS]]
        ]
    return [
        Share(split=name, start=start, stop=min(start + SHARE_ROWS, len(split)))
        for name, split in open_dataset(open_store(images, storage).path).splits.items()
        for start in range(0, len(split), SHARE_ROWS)
    ]


class Extractor:
    """A model, loaded once, that describes one share after another.

    Args:
        checkpoint: a checkpoint of the configured model.
        images: folder of images, or place of a prepared store.
        device: where the model computes.
    """

    def __init__(self, config: RunConfig, checkpoint: str, images: str, device: torch.device) -> None:
        self._config, self._images = config, images
        self._model = load_checkpoint(checkpoint, config, device)

    def __call__(self, share: Share) -> Described:
        return self._of_folder(share) if share.split is None else self._of_store(share, share.split)

    @cached_property
    def _dataset(self) -> Dataset:
        return open_store(self._images, Storage.of(self._config))

    def _of_store(self, share: Share, name: str) -> Described:
        split, rows = self._dataset.splits[name], slice(share.start, share.stop)
        descriptors_ND = self._model.describe_pixels(split.gather(range(share.start, share.stop)))
        described = rows_of(
            descriptors_ND.numpy(),
            split.names[rows],
            split=name,
            pids_R=split.pids_N[rows],
            camids_R=split.camids_N[rows],
        )
        return Described(rows=described, unreadable=())

    def _of_folder(self, share: Share) -> Described:
        with ThreadPoolExecutor(max(1, int(self._config.scaling.cpus_per_worker))) as threads:
            decoded = dict(zip(share.names, threads.map(self._decode, share.names), strict=True))
        images = {name: image for name, image in decoded.items() if not isinstance(image, str)}
        if not images:
            return Described(rows=None, unreadable=tuple(map(str, decoded.values())))
        descriptors_ND = self._model.describe_pixels(torch.from_numpy(np.stack(list(images.values()))))
        return Described(
            rows=rows_of(descriptors_ND.numpy(), list(images)),
            unreadable=tuple(image for image in decoded.values() if isinstance(image, str)),
        )

    def _decode(self, name: str) -> NDArray[np.uint8] | str:
        """The image at the model's size, or why there is none."""
        try:
            return pixels_of(image_place(Path(self._images), name), self._model.image_size)
        except UnreadableImageError as error:
            return str(error)
