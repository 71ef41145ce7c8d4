"""The pose maps that FGSAM fuses: which a phase leaves as they are, and how they are judged.

Legend: B images, J = 57 pose channels, h × w map cells.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid.config import RunConfig
from reid.data import Dataset, ReIDBatches
from reid.evaluation import Evaluation
from reid.models import FGSAM, IMAGENET, Output, PoseResolveNet
from reid.stages.joints import joint_maps, mean_joint_maps
from reid.stages.pose_check import check_looks
from reid.stages.retrieval import score
from reid.training import Known, Labels

POSE_STAGE = "pose"
"""The stage that trains the pose resolve net."""


def frozen_pose_net(config: RunConfig) -> dict[str, float]:
    """After a pose phase its net stays as it is, but for the last parse block: see `PhaseConfig.rates`."""
    model = config.model
    if not model.pose or model.maps != "net" or not any(phase.stage == POSE_STAGE for phase in config.phases.values()):
        return {}
    return {"pose_net": 0.0, f"pose_net.stages.{model.pose_net.stages - 1}.parse": 1.0}


def untrained_pose_net(config: RunConfig, trained: Collection[str]) -> str | None:
    """See `Stage.untrained`. ImageNet's weights are of the net's front end alone."""
    model = config.model
    if not model.pose or model.maps != "net" or model.pose_net.weights not in (None, IMAGENET) or POSE_STAGE in trained:
        return None
    return (
        "which would fuse the maps of a pose net that nobody has trained: name one that is, "
        "model.pose_net.weights=FILE, or do without, model.pose=false"
    )


def require_joints(config: RunConfig, dataset: Dataset) -> None:
    """
    Raises:
        ValueError: maps are to be made of joints that nobody knows.
    """
    if config.model.pose and config.model.maps != "net" and not dataset.has_keypoints:
        raise ValueError(f"model.maps: {dataset.name} has no joints of its people; set it to net")


def known_maps(
    model: nn.Module,
    config: RunConfig,
    rates: Mapping[str, float],
    dataset: Dataset,
    consulted: Mapping[str, str],
) -> Known | None:
    """What a frozen pose resolve net sees, up to the last parse block; or the maps that stand in for the net's."""
    assert isinstance(model, FGSAM)
    if not config.model.pose:
        return None
    if config.model.maps == "joints":
        return Known(key="joints", compute=joint_maps)
    if config.model.maps == "mean":
        mean_JHW = mean_joint_maps(ReIDBatches(dataset, "train", config.data, device="cpu"))
        digest = hashlib.sha256(mean_JHW.numpy().tobytes()).hexdigest()
        return Known(key=f"mean/{digest}", compute=partial(_same_for_all, mean_JHW))
    last = f"stages.{config.model.pose_net.stages - 1}.parse."
    if rates.get("pose_net") != 0 or any(
        rate != 0 and name.startswith("pose_net.") and f"{name}." != f"pose_net.{last}" for name, rate in rates.items()
    ):
        return None
    digest_ = hashlib.sha256()
    for name, tensor in sorted(model.pose_net.state_dict().items()):
        if not name.startswith(last):
            digest_.update(name.encode() + tensor.cpu().numpy().tobytes())
    return Known(key=f"net/{digest_.hexdigest()}", compute=partial(_unparsed, model.pose_net))


def _unparsed(pose_net: PoseResolveNet, batches: ReIDBatches, indices: NDArray[np.int64]) -> Tensor:
    return pose_net.unparsed(batches.inference(indices))


def _same_for_all(map_Jhw: Tensor, batches: ReIDBatches, indices: NDArray[np.int64]) -> Tensor:
    return map_Jhw.expand(len(indices), -1, -1, -1)


def score_fused(
    model: nn.Module,
    dataset: Dataset,
    config: RunConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    labels: Labels,
    illustrated: bool,
    beside: Mapping[str, Dataset] | None = None,
    parts: bool,
) -> Evaluation:
    """`score`, and what `check_looks` finds of the pose maps that are fused.

    Args:
        parts: whether the model has branches for the parts of the layout.
    """
    assert isinstance(model, FGSAM)
    maps = part_maps if parts else None
    scored = score(model, dataset, config, device, dtype, labels=labels, illustrated=illustrated, maps=maps)
    if not config.model.pose:
        return scored
    checked = config.model.resolved_layout().parts if parts else ()
    looks = check_looks(model, checked, dataset, config, device, dtype, beside or {})
    return replace(scored, metrics=scored.metrics | looks)


def part_maps(model: nn.Module, output: Output) -> dict[str, Tensor]:
    """Where each branch looks: maps (B, h, w) by branch; none without pose maps."""
    assert isinstance(model, FGSAM)
    return model.part_maps(output.pose[-1]) if output.pose else {}
