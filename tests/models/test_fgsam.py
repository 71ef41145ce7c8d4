from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reid.config import LAYOUTS, Layout, ModelConfig, Part
from reid.config.manifests import Attribute
from reid.models import FGSAM, Output, count_parameters
from reid.models.alignment import PartFusion
from reid.models.fgsam import FORMS
from reid.models.pooling import bilinear_product
from reid.models.pose_net import PoseMaps

Build = Callable[..., FGSAM]
CASES: list[dict[str, Any]] = [
    {"stage": "pose"},
    {"stage": "pose", "parse_blocks": False},
    {"stage": "baseline"},
    {"stage": "strong_baseline", "pooling": "gem", "neck": "bnneck"},
    {"stage": "intermediate"},
    {"stage": "intermediate", "pose": False},
    *({"stage": "final", "layout": layout} for layout in LAYOUTS),
    {"stage": "final", "pose": False},
    {"stage": "final", "parse_blocks": False, "trunk_stages": 3, "last_stride": 1},
]


def _images(batch: int = 4) -> Tensor:
    return torch.randn(batch, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def _tensors(output: Output) -> dict[str, Tensor]:
    """What objectives see."""
    tensors = {f"attributes/{name}": logits for name, logits in output.attribute_logits.items()}
    tensors |= {f"embeddings/{branch}": embedding for branch, embedding in output.embeddings.items()}
    if output.identity_logits_BK is not None:
        tensors["identity"] = output.identity_logits_BK
    return tensors or {f"pose/{index}": maps.channels() for index, maps in enumerate(output.pose)}


def _loss(output: Output) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    weighted = [(x.float() * torch.randn(x.shape, generator=generator)).sum() for x in _tensors(output).values()]
    return torch.stack(weighted).sum()


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_parameter_gets_a_finite_gradient(build: Build, case: dict[str, Any], precision: str) -> None:
    model = build(**case)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        output = model(_images())
    torch.autograd.backward(_loss(output))
    for name, parameter in model.named_parameters():
        if name == "baseline.neck.bias":
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("case", [case for case in CASES if case["stage"] != "pose"], ids=str)
def test_descriptors_have_unit_length(build: Build, case: dict[str, Any]) -> None:
    output = build(**case).eval()(_images())
    assert output.descriptor_BD is not None
    assert output.descriptor_BD.dtype == torch.float32
    torch.testing.assert_close(output.descriptor_BD.norm(dim=1), torch.ones(4))


def test_what_each_stage_says(build: Build) -> None:
    images = _images()
    pose, baseline, strong_baseline, intermediate, final = (build(stage)(images) for stage in FORMS)

    assert len(pose.pose) == 2
    assert pose.identity_logits_BK is pose.descriptor_BD is None
    assert not pose.attribute_logits

    assert baseline.identity_logits_BK.shape == (4, 5)
    assert baseline.descriptor_BD.shape == (4, 512)
    assert not baseline.pose
    assert not baseline.attribute_logits

    for output in (intermediate, final):
        assert output.identity_logits_BK.shape == (4, 5)
        assert len(output.pose) == 2
        classes = {name: logits.shape[1] for name, logits in output.attribute_logits.items()}
        assert classes == {"hat": 2, "upper_colour": 3, "shoes": 2}
    assert torch.equal(intermediate.descriptor_BD, intermediate.embeddings["plenary"])
    assert intermediate.descriptor_BD.shape == (4, 12)
    assert not intermediate.triplet_branches

    assert strong_baseline.triplet_branches == ("pooled",)
    assert strong_baseline.embeddings["pooled"].shape == strong_baseline.descriptor_BD.shape == (4, 512)

    assert {branch: x.shape[1] for branch, x in final.embeddings.items()} == {
        "head": 8, "upper": 8, "lower": 8, "plenary": 12,
    }  # fmt: skip
    assert final.triplet_branches == ("head", "upper", "lower", "plenary")
    together = torch.cat(list(final.embeddings.values()), dim=1)
    torch.testing.assert_close(final.descriptor_BD, together / 2)


def test_a_part_is_a_1x1_conv_then_pooling() -> None:
    torch.manual_seed(0)
    fusion = PartFusion([1, 4, 5], trunk_channels=6, sketch_dim=32, seed=0).double()
    trunk, pose = torch.randn(2, 6, 4, 2).double(), torch.randn(2, 9, 4, 2).double()
    mixed = F.conv2d(pose[:, [1, 4, 5]], fusion.mix.weight[:, :, None, None], fusion.mix.bias)
    fused = fusion(trunk.sum(dim=(2, 3)), bilinear_product(trunk, pose))
    torch.testing.assert_close(fused, fusion.pooling(trunk, mixed))


def test_a_part_sees_its_own_channels_alone(build: Build) -> None:
    """The same trunk map with other arm channels moves every branch but the head's and the legs'."""
    model = build("final").eval()
    product = torch.randn(2, 512, 57)
    total = torch.randn(2, 512)
    before = model.alignment(total, product).embeddings
    product[:, :, LAYOUTS["three_parts"].parts[1].channels()] += 1
    after = model.alignment(total, product).embeddings
    moved = {branch for branch in before if not torch.equal(before[branch], after[branch])}
    assert moved == {"upper", "plenary"}


def test_without_pose_there_is_no_pose_net(build: Build) -> None:
    for stage in ("intermediate", "final"):
        model = build(stage, pose=False)
        assert "pose_net" not in dict(model.named_children())
        assert model(_images()).pose == ()


def test_branches_without_triplet_loss() -> None:
    head = LAYOUTS["six_parts"].parts[0].model_copy(update={"triplet": False})
    layout = Layout(parts=(head,), plenary_triplet=False)
    config = ModelConfig(trunk="resnet18", weights=None, sketch_dim=64, layout=layout, pose=False)
    with pytest.raises(ValueError, match="part 'head' has neither a triplet loss nor an attribute"):
        FGSAM(config, stage="final", num_identities=3, attributes={})
    hat = Attribute(name="hat", classes=("no", "yes"), region="head", fields=("hat",))
    model = FGSAM(config, stage="final", num_identities=3, attributes={"hat": hat})
    assert model(_images()).triplet_branches == ()


def test_unknown_stages_list_the_known(build: Build) -> None:
    with pytest.raises(
        ValueError, match="invalid stage 'last', expected one of pose, baseline, strong_baseline, intermediate, final"
    ):
        build("last")


def test_unknown_attributes_of_a_part_are_named() -> None:
    layout = Layout(parts=(Part(name="face", joints=("nose",), attributes=("beard",)),))
    config = ModelConfig(trunk="resnet18", weights=None, layout=layout)
    with pytest.raises(ValueError, match="part 'face': invalid attribute 'beard', the dataset has none"):
        FGSAM(config, stage="final", num_identities=3, attributes={})


@pytest.mark.parametrize("stage", FORMS)
def test_the_seed_alone_decides_the_weights(build: Build, stage: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = build(stage, seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = build(stage, seed=1).state_dict(), build(stage, seed=2).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    weights = [name for name in first if name.endswith("weight") and first[name].ndim > 1]
    assert weights
    assert not any(torch.equal(first[name], other[name]) for name in weights)


@pytest.mark.parametrize("batch_norm", ["local", "frozen"])
def test_frozen_batch_norms_keep_their_statistics(build: Build, batch_norm: str) -> None:
    model = build("intermediate", batch_norm=batch_norm).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}
    model(_images())
    kept = [torch.equal(before[name], buffer) for name, buffer in model.named_buffers() if "running" in name]
    assert all(kept) if batch_norm == "frozen" else not any(kept)


def test_parameters_at_the_papers_size() -> None:
    with torch.device("meta"):
        model = FGSAM(ModelConfig(), stage="final", num_identities=751, attributes={}, pretrained=False)
    counts = count_parameters(model)
    assert counts["trunk"] == 25_557_032 - (2048 * 1000 + 1000)  # torchvision's ResNet-50 without its classifier
    assert counts["trunk_norm"] == 2 * 2048
    parts = [len(part.channels()) for part in model.config.resolved_layout().parts] + [57]
    mixing = sum(channels * channels + channels for channels in parts)
    projecting = 8193 * (6 * 256 + 512)
    assert counts["alignment"] == mixing + projecting + 513 * 751
    assert sum(counts.values()) == sum(parameter.numel() for parameter in model.parameters())


def test_a_part_looks_where_its_own_channels_are_strong(build: Build) -> None:
    model = build("final").eval()
    channels = torch.zeros(2, 57, 8, 4)
    head, upper, _ = LAYOUTS["three_parts"].parts
    channels[0, head.channels()[0], 5, 1] = 100
    channels[1, upper.channels()[-1], 2, 3] = -100
    maps = model.part_maps(PoseMaps(confidence_BJhw=channels[:, :19], affinity_BLhw=channels[:, 19:]))
    assert list(maps) == ["head", "upper", "lower", "plenary"]
    places = {name: map_Bhw.flatten(1).argmax(dim=1).tolist() for name, map_Bhw in maps.items()}
    assert maps["plenary"].shape == (2, 8, 4)
    assert places["plenary"] == [5 * 4 + 1, 2 * 4 + 3]
    assert places["head"][0] == 5 * 4 + 1
    assert places["upper"][1] == 2 * 4 + 3
    for flat in (maps["head"][1], maps["upper"][0], maps["lower"][0], maps["lower"][1]):
        assert (flat == flat[0, 0]).all()


def test_part_maps_are_the_strength_of_what_is_pooled(build: Build) -> None:
    model = build("final").eval()
    pose = model(_images()).pose[-1]
    normed = torch.cat([model.confidence_norm(pose.confidence_BJhw), model.affinity_norm(pose.affinity_BLhw)], dim=1)
    maps = model.part_maps(pose)
    for part in LAYOUTS["three_parts"].parts:
        fusion = model.alignment.fusions[part.name]
        assert isinstance(fusion, PartFusion)
        mix = fusion.mix
        mixed = F.conv2d(normed[:, part.channels()], mix.weight[:, :, None, None], mix.bias)
        torch.testing.assert_close(maps[part.name], mixed.abs().mean(dim=1))
