"""Compact bilinear pooling, forward and backward: one scatter of the summed product against FFTs.

    python benchmarks/pooling.py --channels 2048 --pose-channels 57 --sketch 8192

Peers sketch both maps at every position, multiply the complex spectra, transform every position back and sum. Two
public PyTorch implementations are followed:

- "dense sketches": each count sketch is a product with a dense C × D matrix of zeros and signs
  (DeepInsight-PCALab/CompactBilinearPooling-Pytorch, whose product of the spectra is written out wrongly; here it is
  the complex product that it means);
- "scattered sketches": each count sketch is a scatter (gdlg/pytorch_compact_bilinear_pooling).

Both use the full complex transform. "one inverse" is no published form but the best arrangement of the FFT that we
know: real transforms, spectra summed over positions before a single inverse.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from comparison import Row, main, medians
from torch import Tensor
from torch.nn import functional as F

from reid.models import CompactBilinearPooling, signed_sqrt

QUICK: dict[str, Any] = {"channels": 64, "pose_channels": 7, "sketch": 256, "positions": 256, "repeats": 1}
GRIDS = ((8, 4), (16, 8))
"""Maps of a ResNet at 256×128 pixels with a last stride of 2 and of 1."""
CHECKED_IMAGES = 2

Pool = Callable[[Tensor, Tensor], Tensor]


def run(
    channels: int = 2048, pose_channels: int = 57, sketch: int = 8192, positions: int = 2048, repeats: int = 3
) -> list[Row]:
    """Times all in fp32, on the same hashes; `equal` compares values and both gradients in fp64.

    Args:
        positions: of all images of a batch together, so that both grids take the same memory: 64 images of 8×4.
    """
    pooling = CompactBilinearPooling(channels, pose_channels, sketch, seed=0)
    peers: dict[str, tuple[Pool, float | None]] = {name: (peer(pooling), aim) for name, (peer, aim) in _PEERS.items()}
    rows = []
    for height, width in GRIDS:
        generator = torch.Generator().manual_seed(0)
        shape = (positions // (height * width), -1, height, width)
        trunk, pose = (
            torch.randn(positions * count, generator=generator).view(shape).requires_grad_()
            for count in (channels, pose_channels)
        )
        weights = torch.randn(len(trunk), sketch, generator=generator)
        pools: list[Pool] = [pooling, *(pool for pool, _ in peers.values())]
        functions = [partial(_pass, pool, trunk, pose, weights) for pool in pools]
        ours, *theirs = medians(*functions, repeats=repeats)
        few = (trunk[:CHECKED_IMAGES].double(), pose[:CHECKED_IMAGES].double(), weights[:CHECKED_IMAGES].double())
        expected = _pass(pooling, *few)
        for (name, (pool, aim)), seconds in zip(peers.items(), theirs, strict=True):
            pairs = zip(_pass(pool, *few), expected, strict=True)
            rows.append(
                Row(
                    name=f"pooling, {height}×{width} map, against {name}",
                    ours=1e3 * ours,
                    theirs=1e3 * seconds,
                    unit="ms",
                    aim=aim,
                    equal=all(torch.allclose(*pair, rtol=1e-6, atol=1e-7) for pair in pairs),  # √ of FFTs' rounding
                )
            )
    return rows


def _pass(pool: Pool, trunk: Tensor, pose: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """The fused vectors and the gradients of both maps."""
    fused = pool(trunk, pose)
    return (fused, *torch.autograd.grad((fused * weights).sum(), (trunk, pose)))


def _dense_sketches(pooling: CompactBilinearPooling) -> Pool:
    matrices = [
        F.one_hot(bins, pooling.sketch_dim).float() * signs[:, None]
        for bins, signs in ((pooling.bins_a, pooling.signs_a), (pooling.bins_b, pooling.signs_b))
    ]

    def pool(*maps: Tensor) -> Tensor:
        counts = [_rows(map_BCHW) @ matrix.to(map_BCHW.dtype) for map_BCHW, matrix in zip(maps, matrices, strict=True)]
        return _fft_per_position(counts, batch=len(maps[0]))

    return pool


def _scattered_sketches(pooling: CompactBilinearPooling) -> Pool:
    def pool(*maps: Tensor) -> Tensor:
        return _fft_per_position(_scatter(pooling, maps), batch=len(maps[0]))

    return pool


def _one_inverse(pooling: CompactBilinearPooling) -> Pool:
    def pool(*maps: Tensor) -> Tensor:
        spectra = [torch.fft.rfft(counts) for counts in _scatter(pooling, maps)]
        summed = (spectra[0] * spectra[1]).view(len(maps[0]), -1, spectra[0].shape[1]).sum(dim=1)
        return F.normalize(signed_sqrt(torch.fft.irfft(summed, n=pooling.sketch_dim)), dim=1)

    return pool


_PEERS: dict[str, tuple[Callable[[CompactBilinearPooling], Pool], float | None]] = {
    "dense sketches": (_dense_sketches, 20.0),
    "scattered sketches": (_scattered_sketches, 20.0),
    "one inverse": (_one_inverse, None),
}


def _fft_per_position(counts: Sequence[Tensor], batch: int) -> Tensor:
    sketches = torch.fft.ifft(torch.fft.fft(counts[0]) * torch.fft.fft(counts[1])).real
    return F.normalize(signed_sqrt(sketches.view(batch, -1, sketches.shape[1]).sum(dim=1)), dim=1)


def _scatter(pooling: CompactBilinearPooling, maps: tuple[Tensor, ...]) -> list[Tensor]:
    """Both count sketches, a row for every position of every image."""
    hashes = ((pooling.bins_a, pooling.signs_a), (pooling.bins_b, pooling.signs_b))
    return [
        rows.new_zeros(len(rows), pooling.sketch_dim).scatter_add(1, bins.expand_as(rows), rows * signs)
        for rows, (bins, signs) in zip(map(_rows, maps), hashes, strict=True)
    ]


def _rows(map_BCHW: Tensor) -> Tensor:
    return map_BCHW.permute(0, 2, 3, 1).flatten(0, 2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=2048, help="channels of the trunk's map")
    parser.add_argument("--pose-channels", type=int, default=57, help="channels of the pose maps")
    parser.add_argument("--sketch", type=int, default=8192, help="length of the sketch")
    parser.add_argument("--positions", type=int, default=2048, help="of all maps of a batch, a multiple of 128")
    parser.add_argument("--repeats", type=int, default=3)
    return parser


if __name__ == "__main__":
    main(run, _parser(), QUICK)
