"""Compact bilinear pooling, forward and backward: one scatter of the summed product against FFTs.

    python benchmarks/pooling.py --channels 2048 --pose-channels 57 --sketch 8192 --grid 16x8 --batch 8

Peers sketch both maps at every position, multiply their spectra, transform back and sum ("FFT per position"). Summing
the spectra before one inverse transform is the cheaper arrangement of the same idea ("FFT, one inverse").
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.models import CompactBilinearPooling
from reid.models.pooling import signed_sqrt


class Row(NamedTuple):
    """One comparison; times in seconds per forward and backward pass."""

    name: str
    ours: float
    theirs: float
    ratio: float
    equal: bool


def run(
    channels: int = 2048,
    pose_channels: int = 57,
    sketch: int = 8192,
    grids: tuple[tuple[int, int], ...] = ((8, 4), (16, 8)),
    batch: int = 8,
    repeats: int = 3,
) -> list[Row]:
    """Times the two in fp32, on the same hashes; `equal` compares values and both gradients in fp64."""
    pooling = CompactBilinearPooling(channels, pose_channels, sketch, seed=0)
    rows = []
    for height, width in grids:
        generator = torch.Generator().manual_seed(0)
        trunk = torch.randn(batch, channels, height, width, generator=generator).requires_grad_()
        pose = torch.randn(batch, pose_channels, height, width, generator=generator).requires_grad_()
        weights = torch.randn(batch, sketch, generator=generator)
        ours = _time(pooling, trunk, pose, weights, repeats)
        expected = _pass(pooling, trunk.double(), pose.double(), weights)
        for name, fft in _PEERS.items():
            peer = partial(fft, pooling)
            theirs = _time(peer, trunk, pose, weights, repeats)
            result = _pass(peer, trunk.double(), pose.double(), weights)
            equal = all(torch.allclose(*pair, rtol=1e-6, atol=1e-9) for pair in zip(result, expected, strict=True))
            rows.append(Row(f"pooling, {height}×{width} map, against {name}", ours, theirs, theirs / ours, equal))
    return rows


def _fft_per_position(pooling: CompactBilinearPooling, trunk: Tensor, pose: Tensor) -> Tensor:
    sketches = torch.fft.irfft(_spectra(pooling, trunk, pose), n=pooling.sketch_dim)
    return F.normalize(signed_sqrt(sketches.sum(dim=1)), dim=1)


def _fft_one_inverse(pooling: CompactBilinearPooling, trunk: Tensor, pose: Tensor) -> Tensor:
    sketch = torch.fft.irfft(_spectra(pooling, trunk, pose).sum(dim=1), n=pooling.sketch_dim)
    return F.normalize(signed_sqrt(sketch), dim=1)


def _spectra(pooling: CompactBilinearPooling, trunk: Tensor, pose: Tensor) -> Tensor:
    """Products of the spectra of both count sketches, one per position."""
    hashed = ((trunk, pooling.bins_a, pooling.signs_a), (pose, pooling.bins_b, pooling.signs_b))
    spectra: list[Tensor] = []
    for maps, bins, signs in hashed:
        values = maps.flatten(2).mT * signs  # batch × positions × channels
        counts = values.new_zeros(*values.shape[:2], pooling.sketch_dim).index_add(2, bins, values)
        spectra.append(torch.fft.rfft(counts))
    return spectra[0] * spectra[1]


_PEERS: dict[str, Callable[[CompactBilinearPooling, Tensor, Tensor], Tensor]] = {
    "FFT per position": _fft_per_position,
    "FFT, one inverse": _fft_one_inverse,
}


Pool = Callable[[Tensor, Tensor], Tensor]


def _pass(pool: Pool, trunk: Tensor, pose: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """The fused vectors and the gradients of both maps."""
    fused = pool(trunk, pose)
    return (fused, *torch.autograd.grad((fused * weights).sum(), (trunk, pose)))


def _time(pool: Pool, trunk: Tensor, pose: Tensor, weights: Tensor, repeats: int) -> float:
    """Seconds of the fastest of `repeats` passes, after one to warm up."""
    best = float("inf")
    _pass(pool, trunk, pose, weights)
    for _ in range(repeats):
        start = time.perf_counter()
        _pass(pool, trunk, pose, weights)
        best = min(best, time.perf_counter() - start)
    return best


def _grid(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=2048, help="channels of the trunk's map")
    parser.add_argument("--pose-channels", type=int, default=57, help="channels of the pose maps")
    parser.add_argument("--sketch", type=int, default=8192, help="length of the sketch")
    parser.add_argument("--grid", type=_grid, action="append", help="HEIGHTxWIDTH of the maps; may be repeated")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    grids = tuple(given.grid) if given.grid else ((8, 4), (16, 8))
    for row in run(given.channels, given.pose_channels, given.sketch, grids, given.batch, given.repeats):
        print(
            f"{row.name}: {row.ours * 1e3:.1f} ms, theirs {row.theirs * 1e3:.1f} ms, "
            f"{row.ratio:.1f} times, {'equal' if row.equal else 'NOT EQUAL'}"
        )


if __name__ == "__main__":
    main()
