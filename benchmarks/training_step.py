"""One training step of the baseline: bf16 autocast and channels-last, as `precision=auto` chooses, against plain fp32.

    python benchmarks/training_step.py --batch 16

Peers train a ResNet in fp32 and NCHW memory. Both take the same step of `reid.training.step` with the same initial
weights, images and optimiser. `equal`: the first step's loss in bf16 is within 2 % of the fp32 loss (bf16 keeps 8 bits
of a number; the tolerance is `LOSS_TOLERANCE`). Needs neither Ray nor MLflow.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from comparison import Row, main, medians

from reid.config import RunConfig, load_config
from reid.data import ReIDBatch
from reid.models import FGSAM
from reid.stages import STAGES
from reid.training import ProcessGroupRanks, resolve_precision, train_step

QUICK: dict[str, Any] = {"batch": 4, "height": 32, "width": 16, "trunk": "resnet18", "device": "cpu", "repeats": 1}
AIM = 2.0
LOSS_TOLERANCE = 0.02
NUM_IDENTITIES = 751  # Market-1501's
PEERS = ("precision=fp32", "channels_last=false")


def run(
    batch: int = 16,
    height: int = 256,
    width: int = 128,
    trunk: str = "resnet50",
    device: str | None = None,
    repeats: int = 5,
) -> list[Row]:
    """Times whole steps of the `paper` preset's baseline phase, from scratch, with as many threads as torch takes."""
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    common = [f"data.height={height}", f"data.width={width}", f"model.trunk={trunk}", "model.weights=null"]
    settings = [load_config(preset="paper", overrides=[*common, *extra]) for extra in ((), PEERS)]
    steps = [_steps(config, batch, where) for config in settings]
    first = [step() for step in steps]
    ours, theirs = medians(*steps, repeats=repeats)
    dtype = str(resolve_precision(settings[0], where)).removeprefix("torch.")
    return [
        Row(
            name=f"training step, {trunk} on {where.type}, {dtype} and channels-last against plain fp32",
            ours=batch / ours,
            theirs=batch / theirs,
            unit="images/s",
            aim=AIM,
            equal=abs(first[0] / first[1] - 1) <= LOSS_TOLERANCE,
        )
    ]


def _steps(config: RunConfig, batch: int, device: torch.device) -> Callable[[], float]:
    """A function that takes one step after another on one and the same batch, and returns the loss before each."""
    memory = torch.channels_last if config.channels_last else torch.contiguous_format
    model = FGSAM(config.model, stage="baseline", num_identities=NUM_IDENTITIES, attributes={}, seed=config.seed)
    model = model.to(device).to(memory_format=memory).train()
    generator = torch.Generator().manual_seed(config.seed)
    images_BCHW = torch.randn(batch, 3, config.data.height, config.data.width, generator=generator)
    sample = ReIDBatch(
        images_BCHW=images_BCHW.to(device, memory_format=memory),
        labels_B=torch.arange(batch, device=device) % NUM_IDENTITIES,
        attributes_BA=torch.empty(batch, 0, dtype=torch.int64, device=device),
        attribute_names=(),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=config.phases["baseline"].learning_rate, fused=True)

    def step() -> float:
        terms = train_step(
            model,
            sample,
            loss=STAGES["baseline"].loss,
            config=config,
            optimizer=optimizer,
            ranks=ProcessGroupRanks([batch]),
            dtype=resolve_precision(config, device),
            place="the benchmark",
        )
        return sum(value.item() for value in terms.values())  # waits for the device

    return step


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--height", type=int, default=256, help="of the images, pixels")
    parser.add_argument("--width", type=int, default=128, help="likewise")
    parser.add_argument("--trunk", default="resnet50", help="a torchvision model")
    parser.add_argument("--device", help="cuda where there is one, else cpu")
    parser.add_argument("--repeats", type=int, default=5)
    return parser


if __name__ == "__main__":
    main(run, _parser(), QUICK)
