"""Descriptors of any images, in shares that each worker can compute by itself.

Legend: N images of a share, B images of a batch, D descriptor.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.config import RunConfig
from reid.data import (
    Dataset,
    ReIDBatches,
    UnreadableImageError,
    image_place,
    load_image,
    normalise,
    open_dataset,
    open_store,
    resized,
    rows_of,
)
from reid.stages import load_describer
from reid.training import autocast, resolve_precision

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


def shares_of(images: str, storage: str, names: Sequence[str] | None) -> list[Share]:
    """All images as tasks, in the order of the table, whatever the number of workers.

    Args:
        images: a store, or the folder that `names` are in.
        storage: root of the run's storage.
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
        self._config, self._images, self._device = config, images, device
        self._size = (config.data.height, config.data.width)
        self._model = load_describer(checkpoint, config, device).model
        self._dtype = resolve_precision(config, device)

    def __call__(self, share: Share) -> Described:
        return self._of_folder(share) if share.split is None else self._of_store(share, share.split)

    def describe(self, images_BHWC: Tensor) -> Tensor:
        """uint8 images, of any number and one size, → their descriptors (N, D) in fp32, on the CPU."""
        return self._in_batches(
            len(images_BHWC), lambda rows: normalise(images_BHWC[rows].to(self._device), self._size)
        )

    @cached_property
    def _dataset(self) -> Dataset:
        return open_store(self._images, self._config.storage)

    def _of_store(self, share: Share, split: str) -> Described:
        batches = ReIDBatches(self._dataset, split, self._config.data, device=self._device)
        share_N = np.arange(share.start, share.stop)
        descriptors_ND = self._in_batches(len(share_N), lambda rows: batches.inference(share_N[rows]))
        rows = rows_of(
            descriptors_ND.numpy(),
            batches.split.names[share.start : share.stop],
            split=split,
            pids_R=batches.split.pids_N[share_N],
            camids_R=batches.split.camids_N[share_N],
        )
        return Described(rows=rows, unreadable=())

    def _of_folder(self, share: Share) -> Described:
        with ThreadPoolExecutor(max(1, int(self._config.scaling.cpus_per_worker))) as threads:
            decoded = dict(zip(share.names, threads.map(self._decode, share.names), strict=True))
        images = {name: image for name, image in decoded.items() if not isinstance(image, str)}
        if not images:
            return Described(rows=None, unreadable=tuple(map(str, decoded.values())))
        descriptors_ND = self.describe(torch.from_numpy(np.stack(list(images.values()))))
        return Described(
            rows=rows_of(descriptors_ND.numpy(), list(images)),
            unreadable=tuple(image for image in decoded.values() if isinstance(image, str)),
        )

    def _decode(self, name: str) -> NDArray[np.uint8] | str:
        """The image at the model's size, or why there is none."""
        try:
            return np.asarray(resized(load_image(image_place(Path(self._images), name)), self._size))
        except UnreadableImageError as error:
            return str(error)

    @torch.inference_mode()
    def _in_batches(self, count: int, images: Callable[[slice], Tensor]) -> Tensor:
        memory = torch.channels_last if self._config.channels_last else torch.contiguous_format
        descriptors = []
        for start in range(0, max(count, 1), self._config.evaluation.batch_size):  # of none, an empty table
            rows = slice(start, min(start + self._config.evaluation.batch_size, count))
            with autocast(self._device, self._dtype):
                output = self._model(images(rows).contiguous(memory_format=memory))
            descriptors.append(output.descriptor_BD.float().cpu())
        return torch.cat(descriptors)
