"""What a descriptor costs."""

import statistics
import time
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from reid.config import RunConfig
from reid.stages import load_describer
from reid.storage import Place

BATCH, REPEATS = 32, 5


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of describing one image, by the model as it is used."""

    gflop: float
    """Floating-point operations of one image, 10⁹; a multiplication and an addition are two."""
    images_per_second: float
    """In fp32 on this process's CPU threads, in batches of 32; the median of five."""
    mb: float
    """Weights, 10⁶ bytes."""


@torch.inference_mode()
def descriptor_cost(checkpoint: Place, config: RunConfig) -> Cost:
    """Measure the model in a checkpoint, on random images.

    Args:
        config: that of its training.

    Raises:
        CheckpointError: see `load_describer`.
    """
    model = load_describer(checkpoint, config, torch.device("cpu")).model
    images_BCHW = torch.rand(BATCH, 3, config.data.height, config.data.width)
    with FlopCounterMode(display=False) as counter:
        model(images_BCHW[:1])
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        model(images_BCHW)
        seconds.append(time.perf_counter() - started)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return Cost(
        gflop=counter.get_total_flops() / 1e9, images_per_second=BATCH / statistics.median(seconds), mb=weights / 1e6
    )
