"""What holds for every branch layout, from its channels to its gradients."""

import pytest
import torch

from reid.config import LAYOUTS, Layout
from reid.config.body import POSE_CHANNELS
from reid.config.manifests import Attribute
from reid.models.alignment import PLENARY, LocallyReinforcedAlignment, PartFusion

BATCH, TRUNK_CHANNELS, IDENTITIES = 3, 6, 5
REGIONS = ("head", "upper_body", "upper_arm", "lower_arm", "upper_leg", "lower_leg")
ATTRIBUTES = {
    f"{region}_{kind}": Attribute(name=f"{region}_{kind}", classes=classes, region=region, fields=("any",))
    for region in REGIONS
    for kind, classes in (("worn", ("no", "yes")), ("colour", ("red", "green", "blue")))
}


def align(name: str, sketch_dim: int | None) -> LocallyReinforcedAlignment:
    torch.manual_seed(0)
    alignment = LocallyReinforcedAlignment(
        LAYOUTS[name],
        trunk_channels=TRUNK_CHANNELS,
        sketch_dim=sketch_dim,
        num_identities=IDENTITIES,
        attributes=ATTRIBUTES,
        seed=0,
    )
    return alignment.double()


@pytest.mark.parametrize("name", LAYOUTS)
class TestEveryLayout:
    def test_every_branch_sees_the_channels_of_its_part(self, name: str) -> None:
        fusions = align(name, 16).fusions
        assert list(fusions) == [*(part.name for part in LAYOUTS[name].parts), PLENARY]
        for part in LAYOUTS[name].parts:
            fusion = fusions[part.name]
            assert isinstance(fusion, PartFusion)
            assert fusion.pose_channels.tolist() == part.channels()
        plenary = fusions[PLENARY]
        assert isinstance(plenary, PartFusion)
        assert plenary.pose_channels.tolist() == list(range(POSE_CHANNELS))

    def test_every_branch_hashes_its_channels_in_its_own_way(self, name: str) -> None:
        trunk_bins = [fusion.pooling.bins_a.tolist() for fusion in align(name, 4096).fusions.values()]
        assert len({tuple(bins) for bins in trunk_bins}) == len(trunk_bins)

    @pytest.mark.parametrize("sketch_dim", [16, None])
    def test_what_the_branches_say(self, name: str, sketch_dim: int | None) -> None:
        alignment = align(name, sketch_dim)
        layout: Layout = LAYOUTS[name]
        total, product = torch.randn(BATCH, TRUNK_CHANNELS).double(), torch.randn(BATCH, TRUNK_CHANNELS, 57).double()
        aligned = alignment(total, None if sketch_dim is None else product)

        dims = {part.name: part.dim for part in layout.parts} | {PLENARY: layout.plenary_dim}
        assert {branch: x.shape for branch, x in aligned.embeddings.items()} == {
            branch: (BATCH, dim) for branch, dim in dims.items()
        }
        assert list(aligned.embeddings)[-1] == PLENARY
        assert sum(x.shape[1] for x in aligned.embeddings.values()) == layout.descriptor_dim
        for embedding_BD in aligned.embeddings.values():
            torch.testing.assert_close(embedding_BD.norm(dim=1), torch.ones(BATCH).double())
        assert aligned.identity_logits_BI.shape == (BATCH, IDENTITIES)
        assert {attribute: x.shape for attribute, x in aligned.attribute_logits.items()} == {
            attribute: (BATCH, len(ATTRIBUTES[attribute].classes)) for attribute in ATTRIBUTES
        }
        owners = [own for branch in alignment.branches.values() for own in branch.classifiers.attributes]
        assert sorted(owners) == sorted(ATTRIBUTES), "each attribute has one classifier"

        said = [aligned.identity_logits_BI, *aligned.embeddings.values(), *aligned.attribute_logits.values()]
        weighted = [(x * torch.randn_like(x)).sum() for x in said]
        torch.stack(weighted).sum().backward()
        for parameter_name, parameter in alignment.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            assert parameter.grad.any(), parameter_name

    def test_branches_with_a_triplet_loss_are_those_that_the_layout_names(self, name: str) -> None:
        layout = LAYOUTS[name]
        carrying = [part.name for part in layout.parts if part.triplet] + [PLENARY] * layout.plenary_triplet
        assert list(align(name, 16).triplet_branches) == carrying
