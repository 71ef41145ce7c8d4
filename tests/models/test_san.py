from itertools import pairwise

import pytest
import torch

from reid.config import SANConfig
from reid.models import SAN, carry_over, count_parameters

SMALL = SANConfig(trunk="resnet18", weights=None, embedding_dim=16, decoder_widths=(16, 12, 8, 8, 4))
IMAGES = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def san(stage: str = "san", config: SANConfig = SMALL) -> SAN:
    return SAN(config, stage=stage, num_identities=7, seed=1)


def test_sizes_are_the_authors() -> None:
    model = san(config=SANConfig(weights=None))
    assert count_parameters(model)["decoder"] == 9_071_075
    with torch.no_grad():
        output = model(torch.randn(2, 3, 256, 128))
    assert [tuple(m.shape[1:]) for m in output.decoded] == [(256, 32, 16), (64, 64, 32), (32, 128, 64), (16, 256, 128)]
    assert output.texture_BCSS is not None
    assert output.texture_BCSS.shape == (2, 3, 256, 256)
    assert output.vector_BD is not None
    assert output.vector_BD.shape == (2, 512)


def test_weights_of_the_decoder_are_drawn_as_the_authors_draw_them() -> None:
    decoder = san(config=SANConfig(weights=None)).decoder
    assert decoder is not None
    conv = decoder.up[0].residual[0]  # type: ignore[union-attr, index]
    assert conv.weight.std().item() == pytest.approx(0.02 * (2 / (9 * 512 + 9 * 512)) ** 0.5, rel=0.01)
    assert not decoder.up[0].narrow[1].bias.any()  # type: ignore[union-attr, index]
    norm = decoder.up[0].residual[1]  # type: ignore[union-attr, index]
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.003)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize(("dim", "expected"), [(16, 16), (None, 512)])
def test_the_embedding_can_be_left_out(dim: int | None, expected: int) -> None:
    output = san(config=SMALL.model_copy(update={"embedding_dim": dim}))(IMAGES)
    assert output.vector_BD is not None
    assert output.descriptor_BD is not None
    assert output.vector_BD.shape == output.descriptor_BD.shape == (4, expected)
    torch.testing.assert_close(output.descriptor_BD.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(output.vector_BD / output.vector_BD.norm(dim=1, keepdim=True), output.descriptor_BD)
    lengths = output.vector_BD.norm(dim=1)
    assert (lengths - lengths[0]).abs().max() > 1e-3, "vectors for the triplet loss are not normalised"


def test_the_decoder_works_in_training_alone_and_descriptors_do_without_it() -> None:
    model = san().eval()
    with torch.no_grad():
        whole = model(IMAGES)
        model.decoder = None
        without = model(IMAGES)
    assert whole.texture_BCSS is None
    assert whole.decoded == ()
    assert torch.equal(whole.descriptor_BD, without.descriptor_BD)


def test_stages_begin_with_the_same_weights_and_have_what_they_need() -> None:
    whole, baseline, generator = (san(stage) for stage in ("san", "san_baseline", "texture_generator"))
    assert baseline.decoder is None
    assert generator.head is None
    for part in (baseline, generator):
        shared = {k: v for k, v in part.state_dict().items() if k.startswith(("trunk.", "head."))}
        assert shared
        assert all(torch.equal(v, whole.state_dict()[k]) for k, v in shared.items())
    assert generator(IMAGES).descriptor_BD is None


def test_a_classifier_of_other_identities_is_new_and_all_else_carries_over() -> None:
    other = SAN(SMALL, stage="san", num_identities=9, seed=2)
    carried = carry_over(other, [san().state_dict()])
    assert carried.new == ("head.identity.bias", "head.identity.weight")


def test_initial_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = san().state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert all(torch.equal(one[name], tensor) for name, tensor in san().state_dict().items())


@pytest.mark.parametrize("skips", [True, False])
def test_reconstruction_reaches_the_last_stage_and_earlier_ones_directly_only_by_skips(skips: bool) -> None:
    model = san(config=SMALL.model_copy(update={"skips": skips}))
    stages = [m.detach().requires_grad_() for m in model.trunk.stage_maps(IMAGES)]
    assert model.decoder is not None
    texture_BCSS, _ = model.decoder(stages)
    gradients = torch.autograd.grad(texture_BCSS.abs().sum(), stages, materialize_grads=True)
    assert gradients[-1].abs().max() > 0
    assert [bool(gradient.any()) for gradient in gradients[:-1]] == [skips] * 3


def test_the_last_map_of_the_stages_is_the_trunk_s() -> None:
    trunk = san().trunk.eval()
    with torch.no_grad():
        maps = trunk.stage_maps(IMAGES)
        assert torch.equal(maps[-1], trunk(IMAGES))
    heights = [m.shape[2] for m in maps]
    assert heights == [16, 8, 4, 4]
    assert all(b in (a, a // 2) for a, b in pairwise(heights))


def test_a_trunk_without_stages_is_refused() -> None:
    with pytest.raises(ValueError, match=r"models\.san\.trunk: the texture decoder needs a ResNet"):
        san(config=SANConfig(trunk="vgg11", weights=None, last_stride=2))


def test_textures_are_within_their_range() -> None:
    model = san("texture_generator").eval()
    with torch.no_grad():
        texture_BCSS = model.reconstruct(100 * IMAGES)
    assert texture_BCSS.shape == (4, 3, 64, 64)
    assert texture_BCSS.abs().max() <= 1
