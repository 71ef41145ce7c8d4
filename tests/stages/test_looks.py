"""What a model that fuses pose maps sees, and where its branches look."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from reid.config import LAYOUTS, RunConfig, load_config, with_settings
from reid.data import Dataset, ReIDBatches, open_dataset, prepare
from reid.evaluation import judge_pointing
from reid.losses import pose_targets
from reid.models import FGSAM
from reid.stages import STAGES
from reid.stages.fused_maps import known_maps
from reid.stages.pose_check import check_looks, check_pose
from reid.training import Labels
from reid.training.known import attach_known

CPU = torch.device("cpu")
PARTS = LAYOUTS["six_parts"].parts


@pytest.fixture
def tall_config(storage: Path) -> RunConfig:
    size = ("data.height=256", "data.width=128", "evaluation.batch_size=7")
    return load_config(preset="smoke", overrides=[*size, "precision=fp32", "model.layout=six_parts"])


def looks(model: FGSAM, dataset: Dataset, config: RunConfig, **beside: Dataset) -> dict[str, float]:
    return check_looks(model, PARTS, dataset, config, CPU, torch.float32, beside)


def model_of(config: RunConfig, dataset: Dataset) -> FGSAM:
    """One whose branches mix nothing: each looks where its own channels are strong."""
    model = STAGES["final"].build(config, Labels.of(dataset), pretrained=False).eval()
    assert isinstance(model, FGSAM)
    for fusion in model.alignment.fusions.values():
        nn.init.eye_(fusion.get_parameter("mix.weight"))
        nn.init.zeros_(fusion.get_parameter("mix.bias"))
    return model


def seeing_joints(config: RunConfig, stores: dict[str, Path]) -> tuple[FGSAM, Dataset, RunConfig]:
    """A model whose maps are those of the true joints."""
    config, dataset = with_settings(config, {"model.maps": "joints"}), open_dataset(stores["reid"])
    model = model_of(config, dataset)
    known = known_maps(model, config, {}, dataset, {})
    assert known is not None
    attach_known(dataset, known, config, CPU, torch.float32)
    return model, dataset, config


def test_who_sees_the_joints_finds_them_and_looks_at_them(tall_config: RunConfig, stores: dict[str, Path]) -> None:
    metrics = looks(*seeing_joints(tall_config, stores))
    assert metrics["eval/people/pck"] == metrics["eval/people/true_joints/pck"] > 0.95
    assert metrics["eval/people/mean_map/pck"] < 0.5
    for part in PARTS:
        assert metrics[f"eval/people/true_joints/pointing/{part.name}"] > 0.9, part.name
        assert metrics[f"eval/people/pointing/{part.name}"] > 0.9, part.name
        assert metrics[f"eval/people/mean_map/pointing/{part.name}"] < 0.8, part.name


def test_the_mean_map_is_judged_by_the_channels_of_each_part(tall_config: RunConfig, stores: dict[str, Path]) -> None:
    model, dataset, config = seeing_joints(tall_config, stores)
    metrics = looks(model, dataset, config)
    train, gallery = (ReIDBatches(dataset, split, config.data, device="cpu") for split in ("train", "gallery"))
    maps = pose_targets(train.keypoints(range(len(train))), *train.map_size)
    mean_Jhw = torch.cat((maps.confidence_BJhw, maps.affinity_BLhw), dim=1).mean(dim=0)
    for part in PARTS:
        own_hw = torch.stack([mean_Jhw[channel].abs() for channel in part.channels()]).mean(dim=0)
        judged = judge_pointing(own_hw.expand(len(gallery), -1, -1), gallery.keypoints(range(len(gallery))), part)
        expected = judged.hit_B.sum().item() / judged.counted_B.sum().item()
        assert metrics[f"eval/people/mean_map/pointing/{part.name}"] == expected, part.name


def test_a_branch_looks_where_its_mixed_channels_are_strong(tall_config: RunConfig, stores: dict[str, Path]) -> None:
    model, dataset, config = seeing_joints(tall_config, stores)
    before = looks(model, dataset, config)
    nn.init.zeros_(model.alignment.fusions.get_parameter("head.mix.weight"))
    changed = {name for name, value in looks(model, dataset, config).items() if value != before[name]}
    assert changed == {"eval/people/pointing/head"}


def test_scenes_are_seen_as_by_the_pose_net_alone(
    tall_config: RunConfig, stores: dict[str, Path], tmp_path: Path
) -> None:
    people = open_dataset(stores["reid"])
    scenes = prepare("coco", stores["pose"].parent / "coco", tmp_path / "coco", height=256, width=128)
    model = model_of(tall_config, people)
    alone = FGSAM(tall_config.model, stage="pose", num_identities=0, attributes={}).eval()
    alone.pose_net.load_state_dict(model.pose_net.state_dict())
    expected = check_pose(alone, scenes, tall_config, CPU, torch.float32, illustrated=False).metrics
    assert 0 < expected["eval/mean_map/pck"] < 1
    without = looks(model, people, tall_config)
    assert looks(model, people, tall_config, pose=scenes) == without | expected
    assert all(name.startswith("eval/people/") for name in without)
    knowing = looks(*seeing_joints(tall_config, stores), pose=scenes)
    assert all(name.startswith("eval/people/") for name in knowing), "there is no net"


def test_two_ranks_find_what_one_finds(
    tall_config: RunConfig, stores: dict[str, Path], tmp_path: Path, on_two_ranks: Callable[..., None]
) -> None:
    model, dataset, config = seeing_joints(tall_config, stores)

    def as_rank(rank: int) -> None:
        (tmp_path / f"{rank}.json").write_text(json.dumps(looks(model, dataset, config)))

    on_two_ranks(as_rank)
    alone = looks(model, dataset, config)
    assert 0 < alone["eval/people/pointing/upper_arm"] < 1
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [alone, alone]
