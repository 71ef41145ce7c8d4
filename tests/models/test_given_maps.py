"""FGSAM on pose maps that were computed before: those of its own net, or what stands in for them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from reid.config import Attribute, Layout, ModelConfig
from reid.config.body import LAYOUTS
from reid.models import FGSAM, Output, carry_over
from reid.models.alignment import PartFusion

Build = Callable[..., FGSAM]
SHOES = Attribute(name="shoes", classes=("dark", "light"), region="lower_leg", fields=("shoes",))


def _images() -> Tensor:
    return torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def _maps(seed: int = 0) -> Tensor:
    return torch.rand(4, 57, 8, 4, generator=torch.Generator().manual_seed(seed))


def _descriptors(output: Output) -> Tensor:
    assert output.descriptor_BD is not None
    return output.descriptor_BD


def _with_stages(stage: str, stages: int) -> FGSAM:
    layout = Layout(parts=tuple(part.model_copy(update={"dim": 8}) for part in LAYOUTS["three_parts"].parts))
    config = ModelConfig.model_validate(
        {"trunk": "resnet18", "weights": None, "sketch_dim": 64, "pose_net": {"width": 1 / 16, "stages": stages}}
    )
    config = config.model_copy(update={"layout": layout})
    return FGSAM(config, stage=stage, num_identities=5, attributes={"shoes": SHOES}).eval()


@pytest.mark.parametrize("stage", ["intermediate", "final"])
@pytest.mark.parametrize("stages", [1, 2])
@torch.no_grad()
def test_kept_maps_give_what_fresh_ones_do(stage: str, stages: int) -> None:
    model, images = _with_stages(stage, stages), _images()
    fresh = model(images)
    kept_BJhw = model.pose_net.unparsed(images)
    given = model(images, kept_BJhw)
    assert (len(fresh.pose), len(given.pose)) == (stages, 1)
    torch.testing.assert_close(given.pose[-1].channels(), fresh.pose[-1].channels())
    torch.testing.assert_close(_descriptors(given), _descriptors(fresh), rtol=0, atol=1e-5)
    others = model(images, kept_BJhw + _maps())
    assert not torch.allclose(_descriptors(others), _descriptors(fresh), atol=1e-3), "the given maps are seen"


@torch.no_grad()
def test_kept_maps_give_what_fresh_ones_do_in_low_precision() -> None:
    model, images = _with_stages("final", 1), _images()
    with torch.autocast("cpu", torch.bfloat16):
        fresh = model(images)
        given = model(images, model.pose_net.unparsed(images).float())
    torch.testing.assert_close(_descriptors(given), _descriptors(fresh), rtol=0, atol=1e-5)


def test_the_last_parse_block_goes_on_learning_on_kept_maps() -> None:
    model = _with_stages("intermediate", 2)
    images = _images()
    with torch.no_grad():
        kept_BJhw = model.pose_net.unparsed(images)
    descriptors_BD = _descriptors(model(images, kept_BJhw))
    torch.autograd.backward((descriptors_BD * torch.randn_like(descriptors_BD)).sum())
    learning = {name for name, parameter in model.pose_net.named_parameters() if parameter.grad is not None}
    assert learning == {name for name, _ in model.pose_net.named_parameters() if name.startswith("stages.1.parse.")}


@pytest.mark.parametrize("maps", ["mean", "joints"])
@pytest.mark.parametrize("stage", ["intermediate", "final"])
@torch.no_grad()
def test_maps_that_stand_in_are_fused_as_they_are(build: Build, stage: str, maps: str) -> None:
    model = build(stage, maps=maps).eval()
    assert "pose_net" not in dict(model.named_children())
    with pytest.raises(ValueError, match=rf"model\.maps: {maps} needs maps made from a dataset's joints"):
        model(_images())
    output = model(_images(), _maps())
    assert len(output.pose) == 1
    assert torch.equal(output.pose[0].channels(), _maps())
    assert not torch.allclose(_descriptors(model(_images(), _maps(1))), _descriptors(output), atol=1e-3)

    ours = build(stage, parse_blocks=False).eval()
    assert not carry_over(ours, [model.state_dict()]).dropped
    torch.testing.assert_close(_descriptors(ours(_images(), _maps())), _descriptors(output))


def test_without_pose_no_maps_are_needed(build: Build) -> None:
    assert build("final", pose=False, maps="joints")(_images()).pose == ()


@torch.no_grad()
def test_the_plenary_branch_is_the_same_in_both_stages(build: Build) -> None:
    intermediate, final = build("intermediate", seed=3).eval(), build("final", seed=3).eval()
    ours, theirs = intermediate.alignment.fusions["plenary"], final.alignment.fusions["plenary"]
    assert isinstance(ours, PartFusion)
    assert isinstance(theirs, PartFusion)
    hashes = dict(ours.pooling.named_buffers())
    assert hashes.keys() == {"bins_a", "bins_b", "signs_a", "signs_b"}
    assert all(torch.equal(hashes[name], buffer) for name, buffer in theirs.pooling.named_buffers())

    carry_over(final, [intermediate.state_dict()])
    before, after = intermediate(_images()), final(_images())
    torch.testing.assert_close(after.embeddings["plenary"], before.embeddings["plenary"])
    torch.testing.assert_close(after.identity_logits_BK, before.identity_logits_BK)
