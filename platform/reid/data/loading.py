"""From indices to batches on the device.

Legend: G images of the global batch, B those of this rank, H × W input pixels.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from reid.config import DataConfig, DataError
from reid.data.batch import PoseBatch, ReIDBatch
from reid.data.dataset import Dataset, Split
from reid.data.transforms import (
    Draws,
    augment,
    augment_pose,
    draw,
    mirror_textures,
    move_maps,
    normalise,
    texture_target,
)
from reid.models import POSE_STRIDE


class _Batches:
    """What re-ID and pose batches have in common."""

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        config: DataConfig,
        *,
        device: torch.device | str,
        channels_last: bool = True,
    ) -> None:
        """
        Args:
            dataset: an open dataset.
            split: one of its splits.
            config: size of the model's input, and augmentation.
            device: where batches are wanted.
            channels_last: memory format of the images.

        Raises:
            DataError: the dataset has no such split, or nothing of the kind wanted.
        """
        if split not in dataset.splits:
            raise DataError(f"invalid split '{split}', expected one of {', '.join(dataset.splits)} of {dataset.name}")
        self._dataset = dataset
        self.split: Split = dataset.splits[split]
        self._augmentation = config.augmentation
        self._size = (config.height, config.width)
        self._device = torch.device(device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def __len__(self) -> int:
        return len(self.split)

    @property
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the pose maps of the model's input, cells."""
        height, width = self._size
        return height // POSE_STRIDE, width // POSE_STRIDE

    def inference(self, indices: ArrayLike) -> Tensor:
        """float32 images B × 3 × H × W, normalised and not augmented."""
        images_BHWC = self._to_device(self.split.gather(indices))
        return normalise(images_BHWC, self._size).contiguous(memory_format=self._format)

    def inputs(self, indices: ArrayLike) -> tuple[Tensor, ...]:
        """What a model is called with to describe images: they, not augmented, and their maps if there are any."""
        maps_BJhw = self.maps(indices)
        return (self.inference(indices),) if maps_BJhw is None else (self.inference(indices), maps_BJhw)

    def maps(self, indices: ArrayLike) -> Tensor | None:
        """float32 pose maps B × J × h × w that are attached to the split, on the device; none = there are none."""
        return None if self.split.maps is None else self._to_device(self.split.maps.gather(indices))

    def keypoints(self, indices: ArrayLike) -> Tensor:
        """float32 joints B × 1 × J × 3 as (x, y, v), in pixels of the model's input.

        Raises:
            DataError: the dataset has none.
        """
        if not self._dataset.has_keypoints:
            raise DataError(f"{self._dataset.name} has no joints of its people: name a file of them as `keypoints`")
        keypoints_BMJ3 = self._to_device(self.split.keypoints(indices))
        (height, width), (stored_height, stored_width) = self._size, self._dataset.image_size
        scale_2 = keypoints_BMJ3.new_tensor([width / stored_width, height / stored_height])
        xy_BMJ2 = (keypoints_BMJ3[..., :2] + 0.5) * scale_2 - 0.5
        return torch.cat((xy_BMJ2, keypoints_BMJ3[..., 2:]), dim=-1) * (keypoints_BMJ3[..., 2:] > 0)

    def _draws(self, count: int, rows: slice, seed: int, epoch: int, step: int) -> Draws:
        draws = draw(self._augmentation, count, self._size, seed=seed, epoch=epoch, step=step)
        return draws[rows].to(self._device)

    def _augmented(self, indices: ArrayLike, draws: Draws) -> Tensor:
        images_BHWC = self._to_device(self.split.gather(indices))
        return augment(images_BHWC, draws, self._augmentation, self._size).contiguous(memory_format=self._format)

    def _to_device(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)


class ReIDBatches(_Batches):
    """Batches of a re-ID split. `labels_N` are the identity labels: positions in the sorted identities `pids`."""

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        config: DataConfig,
        *,
        device: torch.device | str,
        channels_last: bool = True,
        textures: bool = False,
    ) -> None:
        """See `_Batches`.

        Args:
            textures: training batches bring the textures along.
        """
        super().__init__(dataset, split, config, device=device, channels_last=channels_last)
        self.attribute_names = tuple(dataset.attributes)
        self.pids: NDArray[np.int64]
        self.labels_N: NDArray[np.int64]
        self.pids, self.labels_N = np.unique(self.split.pids_N, return_inverse=True)
        self._textured = textures
        self._attributes_NA = self.split.attributes_NA.astype(np.int64)

    def training(self, indices_G: NDArray[np.int64], rows: slice, *, seed: int, epoch: int, step: int) -> ReIDBatch:
        """The rows of a global batch that belong to this rank.

        Args:
            indices_G: the global batch, from `shuffled_batches` or `balanced_batches`.
            rows: this rank's part, from `rank_slice`.
            seed, epoch, step: position of the batch in the run; the augmentation depends on nothing else.
        """
        indices_B = indices_G[rows]
        draws = self._draws(len(indices_G), rows, seed, epoch, step)
        maps_BJhw = self.maps(indices_B)
        return ReIDBatch(
            images_BCHW=self._augmented(indices_B, draws),
            labels_B=self._to_device(torch.from_numpy(self.labels_N[indices_B])),
            attributes_BA=self._to_device(torch.from_numpy(self._attributes_NA[indices_B])),
            attribute_names=self.attribute_names,
            maps_BJhw=None if maps_BJhw is None else move_maps(maps_BJhw, draws, self._augmentation, self._size),
            textures_BCHW=self._target(indices_B, draws) if self._textured else None,
        )

    def textures(self, indices: ArrayLike) -> Tensor:
        """float32 textures B × 3 × H × H in [−1, 1] of images that are not flipped; H is the height of the input.

        Raises:
            DataError: there are none, or an image has none.
        """
        if not (self._dataset.has_textures or self.split.has_textures):
            raise DataError(f"{self._dataset.name} has no textures of its people: name a folder of them as `textures`")
        return self._target(indices)

    def _target(self, indices: ArrayLike, draws: Draws | None = None) -> Tensor:
        textures_BHWC = self._to_device(self.split.textures(indices))
        if draws is not None and self.split.texture_layout is not None:
            textures_BHWC = mirror_textures(textures_BHWC, draws, self._augmentation)
        return texture_target(textures_BHWC, self._size[0])


class PoseBatches(_Batches):
    """Batches of a keypoint split."""

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        config: DataConfig,
        *,
        device: torch.device | str,
        channels_last: bool = True,
    ) -> None:
        super().__init__(dataset, split, config, device=device, channels_last=channels_last)
        if not dataset.has_keypoints:
            raise DataError(f"{dataset.name} has no keypoints: set data.pose_source to a folder of COCO and prepare it")
        if dataset.image_size != self._size:
            raise DataError(
                f"{dataset.path} holds images of {dataset.image_size} pixels, not {self._size} (height, width): "
                "prepare it at data.height and data.width"
            )

    def training(self, indices_G: NDArray[np.int64], rows: slice, *, seed: int, epoch: int, step: int) -> PoseBatch:
        """The rows of a global batch that belong to this rank; arguments as `ReIDBatches.training`."""
        indices_B = indices_G[rows]
        draws = self._draws(len(indices_G), rows, seed, epoch, step)
        keypoints_BMJ3, ignore_BHW = augment_pose(
            self._to_device(self.split.keypoints(indices_B)),
            self._to_device(self.split.ignore(indices_B)),
            draws,
            self._augmentation,
            self._size,
        )
        return PoseBatch(
            images_BCHW=self._augmented(indices_B, draws), keypoints_BMJ3=keypoints_BMJ3, ignore_BHW=ignore_BHW
        )

    def validation(self, indices: ArrayLike) -> PoseBatch:
        """Any images, not augmented."""
        return PoseBatch(
            images_BCHW=self.inference(indices),
            keypoints_BMJ3=self._to_device(self.split.keypoints(indices)),
            ignore_BHW=self._to_device(self.split.ignore(indices)),
        )
