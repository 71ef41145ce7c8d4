"""An extension, as a stranger would write one: a second model, and all that is around it, outside of the package.

Adds a model with settings of its own, its stage, loss and layout, a dataset with its reader, a search space and a
preset to the tables.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from optuna.trial import BaseTrial
from pydantic import Field
from torch import Tensor, nn

from reid.config import LAYOUTS, MODELS, PRESETS, Layout, Manifest, Part, RunConfig, Section
from reid.data import READERS, REID, Records, ReIDBatch
from reid.losses import Ranks, global_mean, identity_cross_entropy
from reid.models import Output
from reid.search import SPACES
from reid.stages import STAGES, score
from reid.training import Labels, Stage, Terms


class ToyConfig(Section):
    """Settings: `models.toy`."""

    stripes: int = Field(4, ge=1)
    """Horizontal stripes whose mean colours are all that the model sees."""
    dim: int = Field(8, ge=1)
    """Length of the descriptor."""
    spread_weight: float = Field(0.1, ge=0)
    """Weight of the toy loss."""


class Toy(nn.Module):
    """Mean colours of stripes, projected; the classifier is there in training alone."""

    def __init__(self, config: ToyConfig, num_identities: int) -> None:
        super().__init__()
        self.stripes = config.stripes
        self.project = nn.Linear(3 * config.stripes, config.dim)
        self.classify: nn.Module | None = nn.Linear(config.dim, num_identities)

    def forward(self, images_BCHW: Tensor) -> Output:
        colours_BD = F.adaptive_avg_pool2d(images_BCHW, (self.stripes, 1)).flatten(1)
        projected_BD = self.project(colours_BD)
        logits_BK = self.classify(projected_BD) if self.training and self.classify is not None else None
        return Output(identity_logits_BK=logits_BK, descriptor_BD=F.normalize(projected_BD.float(), dim=1))


def build(config: RunConfig, labels: Labels, *, pretrained: bool) -> Toy:
    settings = config.settings_of("toy")
    assert isinstance(settings, ToyConfig)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return Toy(settings, labels.num_identities)


def spread(descriptor_BD: Tensor, ranks: Ranks) -> Tensor:
    """The toy loss: descriptors should not all point the same way."""
    local_sum = ranks.gather(descriptor_BD).mean(dim=0).square().sum() * len(descriptor_BD)
    return global_mean(local_sum, torch.tensor(len(descriptor_BD), device=descriptor_BD.device), ranks)


def loss(output: Output, batch: ReIDBatch, config: RunConfig, ranks: Ranks) -> Terms:
    assert output.identity_logits_BK is not None
    assert output.descriptor_BD is not None
    settings = config.settings_of("toy")
    assert isinstance(settings, ToyConfig)
    return {
        "identity": identity_cross_entropy(output.identity_logits_BK, batch.labels_B, ranks),
        "spread": settings.spread_weight * spread(output.descriptor_BD, ranks),
    }


def space(trial: BaseTrial, config: RunConfig) -> dict[str, Any]:
    """The descriptor's length is none of it: the phase before the searched one has settled that."""
    return {"models.toy.spread_weight": trial.suggest_float("models.toy.spread_weight", 0.01, 1.0, log=True)}


def read(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """`people.csv`: split, file, identity, camera."""
    rows = list(csv.DictReader((source / "people.csv").open()))
    splits = {}
    for split in ("train", "query", "gallery"):
        own = [row for row in rows if row["split"] == split]
        splits[split] = Records(
            paths=tuple(row["file"] for row in own),
            names=tuple(row["file"] for row in own),
            pids_N=np.array([int(row["identity"]) for row in own]),
            camids_N=np.array([int(row["camera"]) for row in own]),
            attributes_NA=np.empty((len(own), 0), np.int8),
        )
    return splits


MODELS["toy"] = ToyConfig
STAGES["toy"] = Stage(
    name="toy",
    family="toy",
    data=REID,
    build=build,
    loss=loss,
    evaluate=score,
    headline=("eval/mAP", "mAP"),
    inherits=("toy",),
    reads=("models.toy.",),
    training_only=("classify",),
    searched=("models.toy.spread_weight",),
    descriptor_dim=lambda config: config.settings_of("toy").dim,  # type: ignore[attr-defined]
)
LAYOUTS["halves"] = Layout(
    parts=(
        Part(name="above", joints=("nose", "neck"), regions=("head", "upper_body", "upper_arm", "lower_arm"), dim=16),
        Part(name="below", joints=("left_knee", "right_knee"), regions=("upper_leg", "lower_leg"), dim=16),
    ),
    plenary_dim=32,
)
SPACES["toy"] = space
READERS["toy"] = read
PRESETS["toy"] = lambda: (
    PRESETS["smoke"]()
    | {
        "name": "toy",
        "phases": {
            "first": {"stage": "toy", "epochs": 2, "learning_rate": 1e-2, "halve_every": 2, "batch_size": 16},
            "second": {
                "stage": "toy",
                "epochs": 30,
                "learning_rate": 1e-2,
                "halve_every": 2,
                "batch_size": 16,
                "images_per_identity": 4,
                "weight_decay": 1e-4,
                "rates": {"classify": 2.0},
            },
        },
        "search": {"space": "toy", "trials": 3, "random_trials": 2, "objectives": ["mAP", "descriptor_dim"]},
    }
)
