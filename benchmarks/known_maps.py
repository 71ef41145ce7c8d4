"""A step of the phase `final` with pose maps that were computed once, against running the frozen net in every step.

    python benchmarks/known_maps.py --preset paper --batch 4

Both train the same model with the same frozen pose resolve net on the same random images. `equal`: in evaluation mode
the descriptors differ by 1e-5 at most, in the precision of the training. Needs neither Ray nor MLflow.
"""

import argparse
from typing import Any

import phases
import torch
from comparison import Row, main, medians

from reid.config import RunConfig
from reid.models import FGSAM
from reid.training import autocast, resolve_precision

PHASE = "final"
TOLERANCE = 1e-5
QUICK: dict[str, Any] = {"presets": ["smoke"], "batch": 4, "repeats": 1}


def run(presets: list[str] | None = None, batch: int = 8, repeats: int = 3, device: str | None = None) -> list[Row]:
    """Times whole steps, with as many threads as torch takes.

    Args:
        presets: whose sizes; none = `demo` and `paper`.
        batch: images in a step.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rows = []
    for preset in presets or ["demo", "paper"]:
        config, manifest = phases.from_scratch(preset)
        with_maps, live = (
            phases.training_step(config, PHASE, manifest, batch=batch, device=where, known_maps=known)
            for known in (True, False)
        )
        ours, theirs = medians(with_maps, live, repeats=repeats)
        rows.append(
            Row(
                name=f"step of {PHASE}, {preset} on {where.type}, maps computed once against the net in every step",
                ours=batch / ours,
                theirs=batch / theirs,
                unit="images/s",
                aim=None,
                equal=_equal_descriptors(config, where),
            )
        )
    return rows


@torch.no_grad()
def _equal_descriptors(config: RunConfig, device: torch.device) -> bool:
    model = FGSAM(config.model, stage=PHASE, num_identities=2, attributes={}, seed=config.seed).to(device).eval()
    generator = torch.Generator().manual_seed(config.seed)
    images_BCHW = torch.randn(2, 3, config.data.height, config.data.width, generator=generator).to(device)
    with autocast(device, resolve_precision(config, device)):
        maps_BJhw = model.pose_net.unparsed(images_BCHW).float()
        live, known = model(images_BCHW).descriptor_BD, model(images_BCHW, maps_BJhw).descriptor_BD
    return bool((live - known).abs().max() <= TOLERANCE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", dest="presets", action="append", help="repeatable; demo and paper unless given")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", help="cuda where there is one, else cpu")
    return parser


if __name__ == "__main__":
    main(run, _parser(), QUICK)
