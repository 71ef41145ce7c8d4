"""What a model's predictions are worth, on a dataset of one's own that says how they are scored."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reid.config import Attribute, RunConfig
from reid.data import Dataset, prepare
from reid.models import Output
from reid.stages import score, score_most_common
from reid.training import Labels

LABELS = """path,split,pid,camid,hat,bag
1.png,train,1,1,yes,yes
2.png,train,1,2,yes,yes
3.png,train,2,1,no,no
4.png,train,2,2,no,no
5.png,query,3,1,no,no
6.png,query,4,1,no,no
7.png,gallery,3,2,yes,no
8.png,gallery,4,2,no,yes
9.png,gallery,4,3,,yes
10.png,gallery,5,1,yes,
11.png,gallery,0,1,no,no
"""
MANIFEST = """
attribute_protocol: {protocol}
attributes:
  - {{name: hat, region: head, classes: ['no', 'yes'], fields: [hat]}}
  - {{name: bag, region: upper_body, classes: ['no', 'yes'], fields: [bag]}}
"""
HAT, BAG = 2 / 3, 2 / 3
"""Accuracy where there is a label, for a model that sees a hat and a bag on everyone."""


def scored(trained_on: Mapping[str, Attribute], own: Dataset, config: RunConfig) -> dict[str, float]:
    labels = Labels(num_identities=3, attributes=trained_on)
    device = torch.device("cpu")
    return score(EverythingOn(), own, config, device, torch.float32, labels=labels, illustrated=True).metrics


class EverythingOn(nn.Module):
    def forward(self, images_BCHW: Tensor) -> Output:
        present_B2 = torch.tensor([0.0, 1.0]).expand(len(images_BCHW), 2)
        return Output(
            attribute_logits={"bag": present_B2, "hat": present_B2}, descriptor_BD=images_BCHW.flatten(1)[:, :4]
        )


def dataset(folder: Path, protocol: str) -> Dataset:
    folder.mkdir()
    for number in range(1, 12):
        Image.new("RGB", (16, 32), (20 * number, 100, 255 - 20 * number)).save(folder / f"{number}.png")
    (folder / "labels.csv").write_text(LABELS)
    (folder / "manifest.yaml").write_text(MANIFEST.format(protocol=protocol))
    return prepare("folder", folder, folder.parent / "store", height=32, width=16)


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("labelled", {"hat": HAT, "bag": BAG}),
        ("market", {"hat": 2 / 4, "bag": 2 / 4}),
        (
            "peta",
            {
                "hat": HAT,
                "bag": BAG,
                "mA": (1 + 0) / 2,
                "instance/accuracy": (1 / 2 + 1 / 2 + 1 + 1) / 4,
                "instance/precision": (1 / 2 + 1 / 2 + 1 + 1) / 4,
                "instance/recall": 1.0,
                "instance/F1": 2 * 0.75 / 1.75,
            },
        ),
    ],
)
def test_attributes_are_scored_over_the_gallerys_people_by_the_datasets_protocol(
    protocol: str, expected: dict[str, float], config: RunConfig, tmp_path: Path
) -> None:
    own = dataset(tmp_path / "own", protocol)
    metrics = scored(own.attributes, own, config)
    assert {name: value for name, value in metrics.items() if name.startswith("eval/attributes/")} == pytest.approx(
        {f"eval/attributes/{name}": value for name, value in expected.items()}
    )
    assert {"eval/rank1", "eval/mAP", "eval/mINP"} <= metrics.keys()


def test_the_most_common_class_is_that_of_training_and_scored_as_predictions_are(tmp_path: Path) -> None:
    """Hats and bags are on half of the training images, so the first class is taken; of the gallery's people who are
    labelled one is without a hat, one without a bag."""
    expected = {"eval/attributes/hat": 1 / 3, "eval/attributes/bag": 1 / 3}
    assert score_most_common(dataset(tmp_path / "own", "labelled")) == pytest.approx(expected)


def test_on_another_dataset_only_attributes_of_the_same_classes_are_scored(config: RunConfig, tmp_path: Path) -> None:
    own = dataset(tmp_path / "own", "labelled")
    trained_on = {
        "bag": own.attributes["bag"],
        "hat": own.attributes["hat"].model_copy(update={"classes": ("none", "cap", "helmet")}),
        "hair": own.attributes["hat"].model_copy(update={"name": "hair"}),
    }
    metrics = scored(trained_on, own, config)
    assert [name for name in metrics if name.startswith("eval/attributes/")] == ["eval/attributes/bag"]
