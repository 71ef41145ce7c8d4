"""An extension whose model learns next to nothing: what a sweep does around its trials is what tests look at.

Every epoch adds a line, the number of its process, to the file `<folder>/<quality>`, where `quality` is what the space
draws and what the trial scores; so a test sees what was trained, and by whom, and kills it.
"""

import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reid.config import MODELS, PRESETS, RunConfig, Section
from reid.data import REID, Dataset, ReIDBatch
from reid.evaluation import Evaluation
from reid.losses import Ranks, identity_cross_entropy
from reid.models import Output
from reid.stages import STAGES
from reid.storage import DiskFullError
from reid.training import Labels, Stage, Terms, rank_and_world

EPOCHS = 4


class StubConfig(Section):
    """Settings: `models.stub`."""

    quality: float = Field(0.5, ge=0, le=1)
    folder: str = ""
    seconds: float = 0.0
    """That an epoch takes longer."""
    failing: tuple[float, float] = (2, 2)
    """Qualities from here to there fail for a user's reason."""
    crashing: tuple[float, float] = (2, 2)
    """Qualities from here to there fail for a reason of nobody's."""
    full: str = ""
    """A file; while it is there, the disk is full from the second epoch on."""


class Stub(nn.Module):
    def __init__(self, num_identities: int) -> None:
        super().__init__()
        self.classify = nn.Linear(3, num_identities)

    def forward(self, images_BCHW: Tensor) -> Output:
        colour_BD = images_BCHW.mean(dim=(2, 3))
        return Output(identity_logits_BK=self.classify(colour_BD), descriptor_BD=F.normalize(colour_BD, dim=1))


def settings_of(config: RunConfig) -> StubConfig:
    settings = config.settings_of("stub")
    assert isinstance(settings, StubConfig)
    return settings


def build(config: RunConfig, labels: Labels, *, pretrained: bool) -> Stub:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return Stub(labels.num_identities)


def loss(output: Output, batch: ReIDBatch, config: RunConfig, ranks: Ranks) -> Terms:
    assert output.identity_logits_BK is not None
    return {"identity": identity_cross_entropy(output.identity_logits_BK, batch.labels_B, ranks)}


def evaluate(model: nn.Module, dataset: Dataset, config: RunConfig, *_: Any, **__: Any) -> Evaluation:
    stub = settings_of(config)
    time.sleep(stub.seconds)
    if stub.failing[0] <= stub.quality <= stub.failing[1]:
        raise ValueError("this quality is refused")
    if stub.crashing[0] <= stub.quality <= stub.crashing[1]:
        raise RuntimeError("not of this world")
    if stub.full and Path(stub.full).exists() and (Path(stub.folder) / f"{stub.quality:.9f}").exists():
        raise DiskFullError("the disk of /data is full")
    if rank_and_world()[0] == 0:
        with (Path(stub.folder) / f"{stub.quality:.9f}").open("a") as sink:
            sink.write(f"{os.getpid()}\n")
    return Evaluation(metrics={"eval/mAP": stub.quality})


MODELS["stub"] = StubConfig
STAGES["stub"] = Stage(
    name="stub",
    family="stub",
    data=REID,
    build=build,
    loss=loss,
    evaluate=evaluate,
    headline=("eval/mAP", "mAP"),
    searched=("models.stub.",),
)
PRESETS["stub"] = lambda: (
    PRESETS["smoke"]()
    | {
        "name": "stub",
        "phases": {
            "only": {"stage": "stub", "epochs": EPOCHS, "learning_rate": 1e-3, "halve_every": 4, "batch_size": 16}
        },
        "search": {
            "space": str(Path(__file__).with_name("stub_space.py")),
            "trials": 4,
            "early_stopping": False,
            "retrain": False,
        },
    }
)
