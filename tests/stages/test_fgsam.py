"""Every stage's loss: its terms, its weights, and the same mathematics on any number of ranks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reid.config import Attribute, ModelConfig, PoseNetConfig, RunConfig, load_config
from reid.data.batch import PoseBatch, ReIDBatch
from reid.losses import OneRank
from reid.models import FGSAM, Output, PoseMaps
from reid.stages import STAGES

FGSAM_STAGES = ("pose", "baseline", "strong_baseline", "intermediate", "final")
B, PIXELS = 8, 12
ATTRIBUTES = {"hat": 2, "colour": 3, "unseen": 2}
BRANCHES = {"head": 4, "legs": 3, "plenary": 6}
SPLITS = ([8], [4, 4], [2, 3, 3], [6, 2])


class Linear(nn.Module):
    """The smallest model with every output: all that `Output` holds, each linear in the image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = {"identity": 4, "pose": 2 * 57 * 2 * 2} | ATTRIBUTES | BRANCHES
        self.heads = nn.ModuleDict({name: nn.Linear(PIXELS, size) for name, size in sizes.items()})

    def forward(self, images_BCHW: Tensor) -> Output:
        said = {name: head(images_BCHW.flatten(1)) for name, head in self.heads.items()}
        maps = said["pose"].view(len(images_BCHW), 2, 57, 2, 2)
        return Output(
            pose=tuple(PoseMaps(confidence_BJhw=x[:, :19], affinity_BLhw=x[:, 19:]) for x in maps.unbind(1)),
            identity_logits_BK=said["identity"],
            attribute_logits={name: said[name] for name in ATTRIBUTES},
            embeddings={name: nn.functional.normalize(said[name], dim=1) for name in BRANCHES},
            triplet_branches=("head", "plenary"),
        )


def _batch(stage: str) -> ReIDBatch | PoseBatch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(B, 3, 2, 2, generator=generator, dtype=torch.float64)
    if stage == "pose":
        keypoints = torch.rand(B, 2, 18, 3, generator=generator, dtype=torch.float64) * 16
        ignore = torch.rand(B, 2, 2, generator=generator) > 0.6
        return PoseBatch(images_BCHW=images, keypoints_BMJ3=keypoints, ignore_BHW=ignore)
    attributes = torch.tensor([[0, 2, -1], [-1, 1, -1], [1, -1, -1], [-1, 0, -1]]).repeat(2, 1)
    return ReIDBatch(
        images_BCHW=images,
        labels_B=torch.tensor([0, 0, 1, 1, 2, 2, 3, 0]),
        attributes_BA=attributes,
        attribute_names=tuple(ATTRIBUTES),
    )


def _shards(batch: Any, sizes: Sequence[int]) -> list[Any]:
    columns = {
        name: torch.split_with_sizes(value, sizes) for name, value in vars(batch).items() if isinstance(value, Tensor)
    }
    return [replace(batch, **{name: parts[rank] for name, parts in columns.items()}) for rank in range(len(sizes))]


def _gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
    return {name: gradient for name, gradient in zip(parameters, found, strict=True) if gradient is not None}


@pytest.mark.parametrize("stage", FGSAM_STAGES)
@pytest.mark.parametrize(
    ("mining", "averaging"), [("batch_all", "valid"), ("batch_all", "active"), ("batch_hard", "valid")]
)
@pytest.mark.parametrize("sizes", SPLITS, ids=str)
def test_the_number_of_ranks_changes_nothing(
    stage: str, mining: str, averaging: str, sizes: list[int], mean_over_ranks: Callable[..., dict[str, Tensor]]
) -> None:
    """The mean over ranks of every term is the global term, and so are the gradients."""
    model, batch = Linear().double(), _batch(stage)
    config = _settings(mining=mining, averaging=averaging, label_smoothing=0.1, attribute_weight=0.5)
    alone = STAGES[stage].loss(model(batch.images_BCHW), batch, config, OneRank())
    shared = mean_over_ranks(
        lambda shard, ranks: STAGES[stage].loss(model(shard.images_BCHW), shard, config, ranks), _shards(batch, sizes)
    )
    assert list(shared) == list(alone)
    for name, term in alone.items():
        torch.testing.assert_close(shared[name], term)
        expected, gradients = _gradients(model, term), _gradients(model, shared[name])
        assert expected.keys() == gradients.keys()
        torch.testing.assert_close(gradients, expected)


def test_terms_and_weights() -> None:
    model = Linear().double()
    names = {stage: _terms(model, stage, _settings()) for stage in FGSAM_STAGES}
    assert list(names["pose"]) == ["pose_confidence", "pose_affinity"]
    assert list(names["baseline"]) == ["identity"]
    assert list(names["strong_baseline"]) == ["identity", "triplet/head", "triplet/plenary"]
    attributes = [f"attributes/{name}" for name in ATTRIBUTES]
    assert list(names["intermediate"]) == ["identity", *attributes]
    assert list(names["final"]) == ["identity", *attributes, "triplet/head", "triplet/plenary"]
    assert names["final"]["attributes/unseen"].item() == 0

    weights = {"identity": 2.0, "attributes": 3.0, "triplet": 5.0}
    config = _settings(identity_weight=2, attribute_weight=3, triplet_weight=5)
    for stage in ("strong_baseline", "final"):
        for name, term in _terms(model, stage, config).items():
            torch.testing.assert_close(term, weights[name.split("/")[0]] * names[stage][name])


def test_a_mean_of_terms_divides_each_by_their_number() -> None:
    model = Linear().double()
    number = {"identity": 1, "attributes": len(ATTRIBUTES), "triplet": 2}
    for stage in ("strong_baseline", "intermediate", "final"):
        summed, mean = (_terms(model, stage, _settings(reduction=reduction)) for reduction in ("sum", "mean"))
        assert list(mean) == list(summed)
        for name, term in mean.items():
            torch.testing.assert_close(term, summed[name] / number[name.split("/")[0]])


def test_weights_of_zero_leave_every_parameter_in_the_graph() -> None:
    model = Linear().double()
    config = _settings(identity_weight=0, attribute_weight=0, triplet_weight=0)
    loss = torch.stack(list(_terms(model, "final", config).values())).sum()
    trained = {name.split(".")[1] for name in _gradients(model, loss)}
    assert trained == {"identity", *ATTRIBUTES, "head", "plenary"}


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        *((stage, {}) for stage in FGSAM_STAGES),
        ("final", {"pose": False}),
        ("baseline", {"neck": "bnneck", "pooling": "gem"}),
        ("strong_baseline", {"neck": "bnneck", "pooling": "gem"}),
    ],
)
def test_every_parameter_of_fgsam_is_trained(stage: str, settings: dict[str, Any]) -> None:
    """DDP waits for the gradient of every parameter that needs one, in every step."""
    config = ModelConfig(
        trunk="resnet18", weights=None, sketch_dim=64, pose_net=PoseNetConfig(width=1 / 16), **settings
    )
    attributes = {
        name: Attribute(name=name, classes=tuple("abc"[:classes]), region="head", fields=(name,))
        for name, classes in ATTRIBUTES.items()
    }
    model = FGSAM(config, stage=stage, num_identities=4, attributes=attributes)
    batch = replace(_batch(stage), images_BCHW=torch.randn(B, 3, 16, 16))
    terms = STAGES[stage].loss(model(batch.images_BCHW), batch, _settings(), OneRank())
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert dict(model.named_parameters()).keys() - trained.keys() <= {"baseline.neck.bias"}
    for name, parameter in trained.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def _settings(**loss: object) -> RunConfig:
    return load_config(preset="smoke", overrides=[f"loss.{name}={value}" for name, value in loss.items()])


def _terms(model: nn.Module, stage: str, config: RunConfig) -> dict[str, Tensor]:
    batch = _batch(stage)
    terms: dict[str, Tensor] = STAGES[stage].loss(model(batch.images_BCHW), batch, config, OneRank())
    return terms
