import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reid.models import CompactBilinearPooling
from reid.models.pooling import align, align_by_products, bilinear_product, signed_sqrt

GRIDS = [((4, 2), (4, 2)), ((4, 2), (8, 4)), ((4, 2), (16, 8)), ((8, 4), (4, 2)), ((3, 2), (5, 3))]


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _sketch_by_fft(pooling: CompactBilinearPooling, trunk: Tensor, pose: Tensor) -> Tensor:
    """The definition: at every position, convolve the two count sketches by FFT; sum over positions."""
    pose = F.interpolate(pose, size=trunk.shape[-2:], mode="bilinear", align_corners=False, antialias=True)
    sketches = torch.zeros(len(trunk), pooling.sketch_dim, dtype=trunk.dtype)
    for row in range(trunk.shape[2]):
        for column in range(trunk.shape[3]):
            spectra = []
            for maps, bins, signs in (
                (trunk, pooling.bins_a, pooling.signs_a),
                (pose, pooling.bins_b, pooling.signs_b),
            ):
                to_bins = F.one_hot(bins, pooling.sketch_dim).to(maps.dtype) * signs[:, None]
                spectra.append(torch.fft.fft(maps[:, :, row, column] @ to_bins))
            sketches = sketches + torch.fft.ifft(spectra[0] * spectra[1]).real
    return sketches


@pytest.mark.parametrize(("grid_a", "grid_b"), GRIDS)
def test_equals_the_fft_form_and_its_gradients(grid_a: tuple[int, int], grid_b: tuple[int, int]) -> None:
    pooling = CompactBilinearPooling(11, 7, 32, seed=3)
    trunk = _random(3, 11, *grid_a, seed=1).requires_grad_()
    pose = _random(3, 7, *grid_b, seed=2).requires_grad_()
    weights = _random(3, 32, seed=4)

    fused = pooling(trunk, pose)
    expected = F.normalize(signed_sqrt(_sketch_by_fft(pooling, trunk, pose)), dim=1)

    torch.testing.assert_close(fused, expected, rtol=1e-9, atol=1e-8)  # √ of what FFTs leave in empty bins
    gradients = torch.autograd.grad((fused * weights).sum(), (trunk, pose))
    expected_gradients = torch.autograd.grad((expected * weights).sum(), (trunk, pose))
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-7, atol=1e-8)


def test_single_precision_is_close_to_the_fft_form_at_the_papers_size() -> None:
    pooling = CompactBilinearPooling(2048, 57, 8192, seed=0)
    trunk = _random(1, 2048, 4, 2, dtype=torch.float32)
    pose = _random(1, 57, 8, 4, seed=1, dtype=torch.float32)
    aligned = F.interpolate(pose.double(), size=(4, 2), mode="bilinear", align_corners=False, antialias=True)

    spectrum = 0
    for position in range(8):
        counts = [
            torch.zeros(8192, dtype=torch.float64).index_add(0, bins, maps.flatten(2)[0, :, position] * signs)
            for maps, bins, signs in (
                (trunk.double(), pooling.bins_a, pooling.signs_a),
                (aligned, pooling.bins_b, pooling.signs_b),
            )
        ]
        spectrum = spectrum + torch.fft.fft(counts[0]) * torch.fft.fft(counts[1])
    expected = torch.fft.ifft(spectrum).real

    sketch = pooling.sketch(bilinear_product(trunk, pose))[0]
    assert (sketch - expected).abs().max() < 1e-6 * expected.abs().max()


def test_sketches_preserve_inner_products_on_average() -> None:
    a, b, c, d = (_random(1, channels, 1, 1, seed=seed) for seed, channels in enumerate((6, 5, 6, 5)))
    exact = (bilinear_product(a, b) * bilinear_product(c, d)).sum()
    estimates = []
    for seed in range(400):
        pooling = CompactBilinearPooling(6, 5, 64, seed)
        estimates.append((pooling.sketch(bilinear_product(a, b)) * pooling.sketch(bilinear_product(c, d))).sum())
    error = torch.stack(estimates).std() / 400**0.5
    assert (torch.stack(estimates).mean() - exact).abs() < 4 * error


def test_coarser_grids_average_and_lose_nothing() -> None:
    pose = torch.zeros(1, 1, 16, 8, dtype=torch.float64)
    pose[0, 0, 5, 3] = 1
    trunk = torch.ones(1, 1, 4, 2, dtype=torch.float64)
    assert bilinear_product(trunk, pose).item() > 0  # a lone peak between the sampled points still counts


@pytest.mark.parametrize(("size", "new_size"), [(8, 2), (4, 1), (8, 4), (5, 3), (16, 5), (4, 8), (12, 16), (3, 7)])
def test_resampling_by_products_is_the_same(size: int, new_size: int) -> None:
    maps = _random(2, 3, size, 2 * size)
    expected = align(maps, new_size, new_size + 1)
    torch.testing.assert_close(align_by_products(maps, new_size, new_size + 1), expected, rtol=0, atol=1e-14)


def test_vectors_have_unit_length_and_full_precision_under_autocast() -> None:
    pooling = CompactBilinearPooling(8, 4, 16, seed=0)
    trunk, pose = _random(2, 8, 4, 2, dtype=torch.float32), _random(2, 4, 4, 2, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        fused = pooling(trunk, pose)
        from_half = pooling(trunk.bfloat16(), pose.bfloat16())
    assert fused.dtype == from_half.dtype == torch.float32
    torch.testing.assert_close(fused, pooling(trunk, pose), rtol=0, atol=0)
    torch.testing.assert_close(fused.norm(dim=1), torch.ones(2))


def test_gradients_of_the_sketch() -> None:
    pooling = CompactBilinearPooling(4, 3, 8, seed=0)
    maps = _random(2, 4, 2, 2).requires_grad_(), _random(2, 3, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda trunk, pose: pooling.sketch(bilinear_product(trunk, pose)), maps)


def test_the_signed_root_is_exact_and_its_slope_too_but_near_zero() -> None:
    x = torch.tensor([[-4.0, 1.0, 0.25, 0.01, -1e-8, 0.0]], dtype=torch.float64, requires_grad=True)
    root = signed_sqrt(x)
    assert root.tolist() == [[-2.0, 1.0, 0.5, 0.1, -1e-4, 0.0]]
    (slope,) = torch.autograd.grad(root.sum(), x)
    bound = 0.5 / (0.1 * x.detach().abs().mean()).sqrt()
    torch.testing.assert_close(slope[0, :3], 0.5 / x.detach()[0, :3].abs().sqrt())
    torch.testing.assert_close(slope[0, 3:], bound.expand(3))


def test_rounding_of_a_sketch_moves_its_gradient_no_further() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 4096, generator=generator)
    nudged = x + 1e-7 * torch.randn(x.shape, generator=generator)
    slopes = []
    for values in (x, nudged):
        values = values.requires_grad_()
        slopes.append(torch.autograd.grad(signed_sqrt(values).sum(), values)[0])
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-5, atol=0)


def test_empty_maps_have_a_finite_gradient() -> None:
    pooling = CompactBilinearPooling(4, 3, 8, seed=0)
    trunk = torch.zeros(1, 4, 2, 2, requires_grad=True)
    pooling(trunk, torch.ones(1, 3, 2, 2)).sum().backward()
    assert trunk.grad is not None
    assert trunk.grad.isfinite().all()


def test_hashes_follow_the_seed_and_are_part_of_the_state() -> None:
    first, again, other = (CompactBilinearPooling(64, 32, 1024, seed).state_dict() for seed in (1, 1, 2))
    assert set(first) == {"bins_a", "bins_b", "signs_a", "signs_b"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    assert set(first["signs_a"].tolist()) == {-1, 1}
