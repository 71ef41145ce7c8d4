"""How fast each phase of a preset trains on one device, as a Markdown table.

    python benchmarks/phases.py
    python benchmarks/phases.py --device cpu --batch 4 --mode eager

Whole steps of `reid.training` (forward, losses, backward, Adam) on random images that lie on the device, from
scratch, at the preset's sizes, precision and memory format. A rate is the median over windows of several steps. "Of
the peak" is model FLOP utilisation: the floating-point operations of convolutions and matrix products, forward and
backward, by torch's own count, per second, over what the device could do in dense bf16. Needs neither Ray nor MLflow.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

try:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from reid.config import PRESETS, Manifest, RunConfig, load_config, load_manifest
    from reid.stages import STAGES, rehearse
    from reid.training import resolve_precision
except ModuleNotFoundError as missing:
    sys.exit(f"error: the package '{missing.name}' is missing: install it (for reid: PYTHONPATH=platform)")

Mode = Literal["eager", "compiled"]
"""As the platform trains, or with the model through torch.compile."""
NUM_IDENTITIES = 751  # Market-1501's
PEAK_TFLOPS = {
    "NVIDIA A100 80GB PCIe": 312,
    "NVIDIA A100-SXM4-40GB": 312,
    "NVIDIA A100-SXM4-80GB": 312,
    "NVIDIA H100 80GB HBM3": 989,
    "NVIDIA H100 NVL": 835,
    "NVIDIA H100 PCIe": 756,
    "NVIDIA H200": 989,
    "NVIDIA L4": 121,
    "NVIDIA L40S": 362,
}
"""Dense bf16 by the maker's data sheets, by the name that torch gives the device."""

Step = Callable[[], dict[str, torch.Tensor]]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One phase in one mode."""

    phase: str
    mode: Mode
    images_per_second: float
    operations: float
    """Floating-point operations for each image."""
    memory: int | None
    """Largest number of bytes allocated on the device; None on a CPU."""

    def utilisation(self, peak: float | None) -> float | None:
        """Args: peak: floating-point operations per second, None where unknown."""
        return None if peak is None else self.operations * self.images_per_second / peak


def measure(
    preset: str,
    *,
    device: str,
    batch: int | None = None,
    modes: Sequence[Mode] = get_args(Mode),
    phases: Sequence[str] | None = None,
    windows: int = 5,
    steps: int = 10,
    warmup: int = 3,
) -> list[Speed]:
    """Times every phase in every mode.

    Args:
        batch: images in a step; None is the preset's.
        phases: by name; None is all.
        windows: timed spans, of which the median counts.
        steps: in a window.
        warmup: steps beforehand, which compile.
    """
    config, manifest = from_scratch(preset)
    where = torch.device(device)
    speeds = []
    for phase in phases or config.phases:
        images = batch or config.phases[phase].batch_size
        step = training_step(config, phase, manifest, batch=images, device=where)
        with FlopCounterMode(display=False) as counter:
            step()
        for mode in modes:
            step = training_step(config, phase, manifest, batch=images, device=where, mode=mode)
            for _ in range(warmup):
                step()
            if where.type == "cuda":
                torch.cuda.reset_peak_memory_stats(where)
            seconds = statistics.median(_seconds(step, steps, where) for _ in range(windows))
            speeds.append(
                Speed(
                    phase=phase,
                    mode=mode,
                    images_per_second=images / seconds,
                    operations=counter.get_total_flops() / images,
                    memory=torch.cuda.max_memory_allocated(where) if where.type == "cuda" else None,
                )
            )
            torch.compiler.reset()
    return speeds


def from_scratch(preset: str) -> tuple[RunConfig, Manifest]:
    """A preset without pre-trained weights, and its dataset."""
    config = load_config(preset=preset, overrides=["model.weights=null", "model.pose_net.weights=null"])
    return config, load_manifest(config.data.name)


def training_step(
    config: RunConfig,
    phase: str,
    manifest: Manifest,
    *,
    batch: int,
    device: torch.device,
    mode: Mode = "eager",
    known_maps: bool = True,
) -> Step:
    """A function that takes one training step after another on one and the same random batch.

    Args:
        known_maps: whether maps that the phase does not change are computed beforehand, as the platform does.
    """
    attributes = {attribute.name: attribute for attribute in manifest.attributes}
    model, step = rehearse(
        config,
        phase,
        num_identities=NUM_IDENTITIES,
        attributes=attributes,
        batch=batch,
        device=device,
        known_maps=known_maps,
    )
    if mode == "compiled":
        model.compile()
    return step


def table(speeds: Sequence[Speed], peak: float | None) -> str:
    """Markdown.

    Args:
        peak: floating-point operations per second of the device, None where unknown.
    """
    lines = ["| phase | model | images/s | GFLOP/image | memory, GiB | of the peak |", "|---|---|---:|---:|---:|---:|"]
    for speed in speeds:
        utilisation = speed.utilisation(peak)
        cells = (
            speed.phase,
            speed.mode,
            f"{speed.images_per_second:,.1f}",
            f"{speed.operations / 1e9:.1f}",
            "–" if speed.memory is None else f"{speed.memory / 2**30:.2f}",
            "–" if utilisation is None else f"{utilisation:.1%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(step: Step, steps: int, device: torch.device) -> float:
    """Of one step, on average over a window."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return (time.perf_counter() - start) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="images in a step; the preset's unless given")
    parser.add_argument("--phase", choices=list(STAGES), action="append", help="repeatable; all unless given")
    parser.add_argument("--mode", choices=get_args(Mode), action="append", help="repeatable; both unless given")
    parser.add_argument("--windows", type=int, default=5, help="timed spans, of which the median counts")
    parser.add_argument("--steps", type=int, default=10, help="training steps in a window")
    parser.add_argument("--peak", type=float, metavar="TFLOPS", help="dense bf16 of the device, where we don't know it")
    return parser


def main() -> None:
    given = _parser().parse_args()
    device = torch.device(given.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peak = given.peak or PEAK_TFLOPS.get(name)
    speeds = measure(
        given.preset,
        device=given.device,
        batch=given.batch,
        modes=given.mode or get_args(Mode),
        phases=given.phase,
        windows=given.windows,
        steps=given.steps,
    )
    config, _ = from_scratch(given.preset)
    dtype = str(resolve_precision(config, device)).removeprefix("torch.")
    memory = "channels-last" if config.channels_last else "contiguous"
    shown = "unknown" if peak is None else f"{peak:g} TFLOP/s"
    print(f"{name}, torch {torch.__version__}, preset {given.preset}, {dtype}, {memory}, peak {shown}\n")
    print(table(speeds, peak and peak * 1e12))


if __name__ == "__main__":
    main()
