from pathlib import Path

import numpy as np
import pytest
import torch

from reid.config import JOINTS, RunConfig
from reid.data import Dataset, open_dataset
from reid.models import FGSAM
from reid.training.pose_check import check_pose

CPU = torch.device("cpu")


@pytest.fixture
def dataset(stores: dict[str, Path]) -> Dataset:
    return open_dataset(stores["pose"])


@pytest.fixture
def model(config: RunConfig) -> FGSAM:
    return FGSAM(config.model, stage="pose", num_identities=0, attributes={}, seed=0).eval()


def test_metrics_are_fractions_of_labelled_joints(model: FGSAM, dataset: Dataset, config: RunConfig) -> None:
    metrics = check_pose(model, dataset, config, CPU, torch.float32).metrics
    joints = {name.removeprefix("eval/pck/"): value for name, value in metrics.items() if name != "eval/pck"}
    assert set(joints) <= set(JOINTS)
    assert all(0 <= value <= 1 for value in joints.values())
    assert metrics["eval/pck"] == pytest.approx(np.mean(list(joints.values())))
