"""Which pictures a scored model brings."""

from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from reid.config import RunConfig
from reid.data import open_dataset
from reid.models import FGSAM
from reid.stages import STAGES, score
from reid.training import Labels

RANKING = {"cmc.png", "ranked.png", "cameras.png"}
LABELLED = RANKING | {"attributes.png"}


@pytest.mark.parametrize(
    ("stage", "pose", "expected"),
    [
        ("baseline", True, RANKING),
        ("strong_baseline", True, RANKING),
        ("intermediate", True, LABELLED),
        ("final", True, LABELLED | {"parts.png"}),
        ("final", False, LABELLED),
    ],
)
def test_every_stage_shows_its_ranking_and_the_final_one_its_parts(
    config: RunConfig, stores: dict[str, Path], stage: str, pose: bool, expected: set[str]
) -> None:
    dataset = open_dataset(stores["reid"])
    config = config.model_copy(update={"model": config.model.model_copy(update={"pose": pose})})
    model = FGSAM(config.model, stage=stage, num_identities=12, attributes=dataset.attributes).eval()
    before = torch.get_rng_state()
    arguments = (model, dataset, config, torch.device("cpu"), torch.bfloat16)
    evaluation = STAGES[stage].evaluate(*arguments, labels=Labels.of(dataset), illustrated=True, beside={})
    assert evaluation.pictures.keys() == expected
    assert torch.equal(torch.get_rng_state(), before)
    for png in evaluation.pictures.values():
        picture = Image.open(BytesIO(png))
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_scores_are_the_same_without_pictures(config: RunConfig, stores: dict[str, Path]) -> None:
    dataset = open_dataset(stores["reid"])
    model = FGSAM(config.model, stage="baseline", num_identities=12, attributes=dataset.attributes).eval()
    arguments = (model, dataset, config, torch.device("cpu"), torch.float32)
    plain = score(*arguments, labels=Labels.of(dataset), illustrated=False)
    assert not plain.pictures
    assert not plain.cmc
    illustrated = score(*arguments, labels=Labels.of(dataset), illustrated=True)
    assert plain.metrics == illustrated.metrics
    assert {rank: illustrated.cmc["plain"][rank - 1] for rank in (1, 5, 10)} == {
        rank: plain.metrics[f"eval/rank{rank}"] for rank in (1, 5, 10)
    }
