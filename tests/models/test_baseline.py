"""The head of the baselines, and the baselines as they compare images."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.models import FGSAM
from reid.models.baseline import SMALLEST, BaselineHead, GeneralisedMean

Build = Callable[..., FGSAM]


def _map(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _gem(power: float) -> GeneralisedMean:
    pool = GeneralisedMean().double()
    nn.init.constant_(pool.power, power)
    return pool


@pytest.mark.parametrize("power", [1.0, 2.5, 3.0, 8.0])
def test_the_generalised_mean_against_a_loop(power: float) -> None:
    features = _map(2, 3, 4, 5)
    pooled = _gem(power)(features)
    assert pooled.shape == (2, 3)
    for image, channels in zip(features.tolist(), pooled.tolist(), strict=True):
        for rows, value in zip(image, channels, strict=True):
            cells = [max(x, SMALLEST) ** power for row in rows for x in row]
            assert value == pytest.approx((sum(cells) / len(cells)) ** (1 / power), rel=1e-12)


def test_the_exponent_leads_from_the_mean_to_the_maximum() -> None:
    features = _map(2, 3, 4, 5).abs()
    torch.testing.assert_close(_gem(1)(features), features.mean(dim=(2, 3)))
    torch.testing.assert_close(_gem(500)(features), features.amax(dim=(2, 3)), rtol=0.01, atol=0)
    assert GeneralisedMean().power.item() == 3


def test_the_exponent_is_learnt() -> None:
    features = _map(2, 3, 2, 2).abs().requires_grad_()
    pool = _gem(3)
    assert torch.autograd.gradcheck(
        lambda x, power: torch.func.functional_call(pool, {"power": power}, x), (features, pool.power)
    )


def test_the_generalised_mean_is_computed_in_fp32_at_least() -> None:
    features = _map(2, 3, 4, 5, dtype=torch.bfloat16).abs() * 1000
    with torch.autocast("cpu", torch.bfloat16):
        pooled = GeneralisedMean()(features)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled.double(), _gem(3)(features.double()), rtol=1e-5, atol=0)


def test_without_switches_the_head_is_a_linear_classifier_of_the_mean() -> None:
    head = BaselineHead(6, 4, pooling="average", neck="none").double()
    features = _map(3, 6, 4, 2)
    pooled, necked, logits = head(features)
    torch.testing.assert_close(pooled, features.mean(dim=(2, 3)))
    assert torch.equal(necked, pooled)
    torch.testing.assert_close(logits, pooled @ head.identity.weight.T + head.identity.bias)


def test_the_neck_normalises_over_the_batch_for_a_classifier_without_bias() -> None:
    head = BaselineHead(6, 4, pooling="average", neck="bnneck").double()
    pooled, necked, logits = head(_map(5, 6, 4, 2) + 3)
    torch.testing.assert_close(pooled, (_map(5, 6, 4, 2) + 3).mean(dim=(2, 3)))
    variance = pooled.var(dim=0, unbiased=False)
    torch.testing.assert_close(necked, (pooled - pooled.mean(dim=0)) / (variance + 1e-5).sqrt())
    assert head.identity.bias is None
    torch.testing.assert_close(logits, necked @ head.identity.weight.T)
    (F.cross_entropy(logits, torch.tensor([0, 1, 2, 3, 0])) + pooled.sum()).backward()
    trained = {name for name, parameter in head.named_parameters() if parameter.grad is not None}
    assert trained == {"neck.weight", "identity.weight"}, "the neck's bias stays zero"


@pytest.mark.parametrize("stage", ["baseline", "strong_baseline"])
@pytest.mark.parametrize("pooling", ["average", "gem"])
@pytest.mark.parametrize("neck", ["none", "bnneck"])
def test_images_are_compared_behind_the_neck(build: Build, stage: str, pooling: str, neck: str) -> None:
    model = build(stage, pooling=pooling, neck=neck).eval()
    images = _map(4, 3, 64, 32, dtype=torch.float32)
    features = model.trunk(images)
    expected = features.mean(dim=(2, 3)) if pooling == "average" else GeneralisedMean()(features)
    output_before = model(images)
    norm = model.baseline.neck
    assert (norm is not None) == (neck == "bnneck")
    if norm is not None:
        norm.running_mean, norm.running_var = _map(512, seed=1).float(), _map(512, seed=2).float().abs() + 0.1
    output = model(images)
    if stage == "strong_baseline":
        torch.testing.assert_close(output.embeddings["pooled"], expected)
        assert torch.equal(output.embeddings["pooled"], output_before.embeddings["pooled"]), "in front of the neck"
    else:
        assert not output.embeddings
    assert output.triplet_branches == tuple(output.embeddings)
    if norm is not None:
        expected = F.batch_norm(expected, norm.running_mean, norm.running_var)
    torch.testing.assert_close(output.descriptor_BD, F.normalize(expected, dim=1))
    assert torch.equal(output.identity_logits_BK, model.baseline.identity(expected))
