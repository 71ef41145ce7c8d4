"""Checks pose maps, and where branches look, by joints that are known; sharded over the ranks.

Legend: B images, J = 18 joints, P parts, 2 = (correct, counted); h × w map cells.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid.config import JOINTS, Part, RunConfig
from reid.data import POSE, REID, Dataset, PoseBatches, ReIDBatches, evenly_spread
from reid.evaluation import Evaluation, judge_joints, judge_pointing, pck_by_joint
from reid.models import FGSAM, PoseMaps
from reid.pictures import pose_picture
from reid.stages.joints import joint_maps, mean_joint_maps
from reid.training import Labels, autocast, gather_rows, rank_and_world

SCENES, PEOPLE = "eval", "eval/people"
"""Beginnings of the metrics' names: of scenes, and of person images."""
MEAN_MAP = "mean_map"
"""Between those and the rest of the name: what the mean map of the training split reaches, a trivial rival."""
TRUE_JOINTS = "true_joints"
"""Likewise: what maps drawn from the true joints reach on the same grid, a ceiling."""
CHECKED = {POSE.name: "val", REID.name: "gallery"}
"""The split of each kind of data that is checked."""
SHOWN = 8
"""Images in the picture, evenly spread over the split."""

Batches = PoseBatches | ReIDBatches


@dataclass(frozen=True, kw_only=True)
class _Viewer:
    """Whose maps are checked."""

    maps: Callable[[Batches, NDArray[np.int64]], PoseMaps]
    """Of the images at some indices."""
    parts: Callable[[PoseMaps], Mapping[str, Tensor]]
    """Where the branch of each part looks: maps (B, h, w)."""


@torch.inference_mode()
def check_pose(
    model: nn.Module,
    dataset: Dataset,
    config: RunConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    labels: Labels | None = None,
    illustrated: bool = True,
    beside: Mapping[str, Dataset] | None = None,
) -> Evaluation:
    """PCK@0.2 of the last stage's confidence maps on the `val` split, the model being in evaluation mode.

    Args:
        beside: person images, if there are any, to check it on them too.

    Returns:
        `eval/pck/<joint>` of every joint that was counted, as fractions, and their mean `eval/pck`, equal on every
        rank; none at all where no torso is labelled to measure by. The mean is also given of the mean map of the
        training split, under `eval/mean_map`, and of the true joints' maps, under `eval/true_joints`; all of it of
        person images whose joints are known, under `eval/people`. If `illustrated`, on rank 0, the picture
        `pose_maps.png`.
    """

    def look(batches: Batches, indices: NDArray[np.int64]) -> PoseMaps:
        with autocast(device, dtype):
            maps: PoseMaps = model(batches.inference(indices)).pose[-1]
        return maps

    viewer = _Viewer(maps=look, parts=lambda maps: {})
    metrics = _beside_rivals(viewer, (), dataset, POSE.name, config, device)
    if (people := (beside or {}).get(REID.name)) is not None and people.has_keypoints:
        metrics |= _beside_rivals(viewer, (), people, REID.name, config, device)
    if rank_and_world()[0] > 0 or not illustrated:
        return Evaluation(metrics=metrics)
    batches = _batches(dataset, POSE.name, CHECKED[POSE.name], config, device)
    shown = evenly_spread(len(batches), SHOWN)
    maps, keypoints_BMJ3 = look(batches, shown), batches.keypoints(shown)
    judged = judge_joints(maps.confidence_BJhw, keypoints_BMJ3)
    picture = pose_picture(batches.split.gather(shown), keypoints_BMJ3, maps, judged)
    return Evaluation(metrics=metrics, pictures={"pose_maps.png": picture})


@torch.inference_mode()
def check_looks(
    model: FGSAM,
    parts: Sequence[Part],
    dataset: Dataset,
    config: RunConfig,
    device: torch.device,
    dtype: torch.dtype,
    beside: Mapping[str, Dataset],
) -> dict[str, float]:
    """What a model that fuses pose maps sees, as far as joints are known: metrics named as those of `check_pose`.

    Args:
        model: in evaluation mode.
        parts: those that it has branches for.
        dataset: person images.
        beside: scenes, if there are any, to check the pose resolve net on them too.

    Returns:
        Beside the PCK, of person images, `eval/people/pointing/<part>`: see `judge_pointing`.
    """

    def look(batches: Batches, indices: NDArray[np.int64]) -> PoseMaps:
        with autocast(device, dtype):
            return model.pose_maps(*batches.inputs(indices))[-1]

    viewer = _Viewer(maps=look, parts=model.part_maps)
    metrics: dict[str, float] = {}
    if POSE.name in beside and model.config.maps == "net":
        metrics |= _beside_rivals(viewer, (), beside[POSE.name], POSE.name, config, device)
    if dataset.has_keypoints:
        metrics |= _beside_rivals(viewer, parts, dataset, REID.name, config, device)
    return metrics


def _beside_rivals(
    viewer: _Viewer, parts: Sequence[Part], dataset: Dataset, kind: str, config: RunConfig, device: torch.device
) -> dict[str, float]:
    """What a viewer reaches on the split of its kind that is checked, and what one mean map and the true joints do."""
    checked, train = (_batches(dataset, kind, split, config, device) for split in (CHECKED[kind], "train"))
    prefix = SCENES if kind == POSE.name else PEOPLE
    mean_1Jhw = mean_joint_maps(train)[None]

    def same_for_all(batches: Batches, indices: NDArray[np.int64]) -> PoseMaps:
        return PoseMaps.of(mean_1Jhw.expand(len(indices), -1, -1, -1))

    def drawn(batches: Batches, indices: NDArray[np.int64]) -> PoseMaps:
        return PoseMaps.of(joint_maps(batches, indices))

    def own_channels(maps: PoseMaps) -> Mapping[str, Tensor]:
        return {part.name: maps.channels()[:, part.channels()].abs().mean(dim=1) for part in parts}

    measured = _measure(viewer, parts, checked, config, device)
    metrics = {f"{prefix}/{name}": value for name, value in measured.items()}
    for rival, maps in ((MEAN_MAP, same_for_all), (TRUE_JOINTS, drawn)):
        measured = _measure(_Viewer(maps=maps, parts=own_channels), parts, checked, config, device)
        metrics |= {f"{prefix}/{rival}/{name}": value for name, value in measured.items() if "pck/" not in name}
    return metrics


def _measure(
    viewer: _Viewer, parts: Sequence[Part], batches: Batches, config: RunConfig, device: torch.device
) -> dict[str, float]:
    """`pck`, `pck/<joint>` and `pointing/<part>`, equal on every rank."""
    rank, world = rank_and_world()
    own = np.array_split(np.arange(len(batches)), world)[rank]
    tally_2N = torch.zeros(2, len(JOINTS) + len(parts), dtype=torch.int64, device=device)
    for start in range(0, len(own), config.evaluation.batch_size):
        indices = own[start : start + config.evaluation.batch_size]
        maps, keypoints_BMJ3 = viewer.maps(batches, indices), batches.keypoints(indices)
        joints = judge_joints(maps.confidence_BJhw, keypoints_BMJ3)
        looks = viewer.parts(maps) if parts else {}
        pointed = [judge_pointing(looks[part.name], keypoints_BMJ3, part) for part in parts]
        correct_BN = torch.cat([joints.correct_BJ, *(one.hit_B[:, None] for one in pointed)], dim=1)
        counted_BN = torch.cat([joints.counted_BJ, *(one.counted_B[:, None] for one in pointed)], dim=1)
        tally_2N += torch.stack([correct_BN, counted_BN]).sum(dim=1)
    correct_N, counted_N = gather_rows(tally_2N[None], [1] * world).sum(dim=0)
    pck = pck_by_joint(correct_N[: len(JOINTS)], counted_N[: len(JOINTS)])
    measured = {f"pck/{joint}": value for joint, value in pck.items()}
    if pck:
        measured["pck"] = sum(pck.values()) / len(pck)
    for part, hits, counted in zip(
        parts, correct_N[len(JOINTS) :].tolist(), counted_N[len(JOINTS) :].tolist(), strict=True
    ):
        if counted:
            measured[f"pointing/{part.name}"] = hits / counted
    return measured


def _batches(dataset: Dataset, kind: str, split: str, config: RunConfig, device: torch.device) -> Batches:
    make = PoseBatches if kind == POSE.name else ReIDBatches
    return make(dataset, split, config.data, device=device, channels_last=config.channels_last)
