"""The input pipeline on one thread: batches from the Arrow store against the peers' one image at a time.

    python benchmarks/input_pipeline.py --batch 64 --height 256 --width 128

Peers open each JPEG with PIL, resize, flip, convert and normalise it, then stack the batch. We gather uint8 pixels by
index; resizing, flipping and normalising happen on the device, for the whole batch. The first row is what each costs a
CPU core until the copy to the device; the second adds our work on the device, here the same core.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison import Row, main, medians
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import transforms

from reid.config import AugmentationConfig, DataConfig
from reid.data import Dataset, ReIDBatches, map_in_process, prepare
from reid.embedded import SIZES, render_market1501
from reid.models import IMAGENET_MEAN, IMAGENET_STD

QUICK: dict[str, Any] = {"batch": 16, "height": 64, "width": 32, "size": "smoke", "repeats": 1}
GREY_LEVEL = 1 / 255 / min(IMAGENET_STD)
"""One step of an 8-bit pixel after normalisation: two libraries may round a resized pixel differently."""


def run(batch: int = 64, height: int = 256, width: int = 128, size: str = "demo", repeats: int = 3) -> list[Row]:
    """Render a benchmark, prepare it, and time both ways over the same shuffled batches of its train split."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "market1501"
        render_market1501(source, size=SIZES[size], seed=0, map_tasks=map_in_process)
        dataset = prepare("embedded", source, Path(folder) / "store", height=height, width=width)
        return _compare(dataset, source / "bounding_box_train", batch, (height, width), repeats)


def _compare(dataset: Dataset, folder: Path, batch: int, image_size: tuple[int, int], repeats: int) -> list[Row]:
    train = dataset.splits["train"]
    files = [folder / name for name in train.names]
    rng = np.random.default_rng(0)
    batches = [rng.permutation(len(train))[:batch] for _ in range(8)]
    flipped = DataConfig(height=image_size[0], width=image_size[1], augmentation=AugmentationConfig(flip=0.5))
    loader = ReIDBatches(dataset, "train", flipped, device="cpu")

    def whole(indices: NDArray[np.int64]) -> Tensor:
        return loader.training(indices, slice(0, len(indices)), seed=0, epoch=0, step=0).images_BCHW

    def all_by(produce: Callable[[NDArray[np.int64]], Tensor]) -> None:
        for indices in batches:
            produce(indices)

    peer = partial(_one_by_one, files, _peer(image_size, flip=0.5))
    seconds = medians(
        partial(all_by, train.gather), partial(all_by, whole), partial(all_by, peer),
        repeats=repeats, clock=time.process_time,
    )  # fmt: skip
    gathered, ready, theirs = (sum(map(len, batches)) / s for s in seconds)
    return [
        Row(name=f"input pipeline, {name}", ours=ours, theirs=theirs, unit="images/s", aim=aim, equal=equal)
        for name, ours, aim, equal in (
            ("until the device copy", gathered, 10, _same_pixels(dataset, files)),
            ("with the device's work", ready, None, _same_input(loader, files, image_size)),
        )
    ]


def _peer(image_size: tuple[int, int], flip: float) -> Callable[[Image.Image], Tensor]:
    steps = [transforms.Resize(image_size), transforms.RandomHorizontalFlip(flip), transforms.ToTensor()]
    pipeline: Callable[[Image.Image], Tensor] = transforms.Compose(
        [*steps, transforms.Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD)]
    )
    return pipeline


def _one_by_one(files: list[Path], pipeline: Callable[[Image.Image], Tensor], indices: NDArray[np.int64]) -> Tensor:
    return torch.stack([pipeline(Image.open(files[index]).convert("RGB")) for index in indices])


def _same_pixels(dataset: Dataset, files: list[Path]) -> bool:
    """Whether the store holds exactly what PIL decodes."""
    gathered = dataset.splits["train"].gather(np.arange(len(files)))
    pairs = zip(gathered.numpy(), files, strict=True)
    return all(np.array_equal(image, np.asarray(Image.open(file).convert("RGB"))) for image, file in pairs)


def _same_input(loader: ReIDBatches, files: list[Path], image_size: tuple[int, int]) -> bool:
    """Whether the model sees the same, without a flip and up to the rounding of a resized pixel."""
    indices = np.arange(min(len(files), 256))
    theirs = _one_by_one(files, _peer(image_size, flip=0), indices)
    return bool((loader.inference(indices) - theirs).abs().max() <= 1.01 * GREY_LEVEL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="images per batch")
    parser.add_argument("--height", type=int, default=256, help="of the model's input, pixels")
    parser.add_argument("--width", type=int, default=128, help="likewise")
    parser.add_argument("--size", choices=SIZES, default="demo", help="of the embedded benchmark")
    parser.add_argument("--repeats", type=int, default=3)
    return parser


if __name__ == "__main__":
    main(run, _parser(), QUICK)
