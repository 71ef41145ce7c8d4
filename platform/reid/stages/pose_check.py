"""Checks the pose resolve net on people held out of its training, sharded over the ranks.

Legend: J = 18 joints, 2 = (correct, counted).
"""

import numpy as np
import torch
from torch import nn

from reid.config import JOINTS, RunConfig
from reid.data import Dataset, PoseBatch, PoseBatches
from reid.evaluation import Evaluation, JudgedJoints, judge_joints, pck_by_joint
from reid.models import PoseMaps
from reid.pictures import pose_picture
from reid.training import Labels, autocast, gather_rows, rank_and_world

SPLIT = "val"
SHOWN = 8
"""Images in the picture, evenly spread over the split."""


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
) -> Evaluation:
    """PCK@0.2 of the last stage's confidence maps on the `val` split, the model being in evaluation mode.

    Returns:
        `eval/pck/<joint>` of every joint that was counted, as fractions, and their mean `eval/pck`, equal on every
        rank; none at all where no torso is labelled to measure by. If `illustrated`, on rank 0, the picture
        `pose_maps.png`.
    """
    batches = PoseBatches(dataset, SPLIT, config.data, device=device, channels_last=config.channels_last)

    def look(batch: PoseBatch) -> tuple[PoseMaps, JudgedJoints]:
        with autocast(device, dtype):
            maps = model(batch.images_BCHW).pose[-1]
        return maps, judge_joints(maps.confidence_BJhw, batch.keypoints_BMJ3)

    rank, world = rank_and_world()
    own = np.array_split(np.arange(len(batches)), world)[rank]
    tally_2J = torch.zeros(2, len(JOINTS), dtype=torch.int64, device=device)
    for start in range(0, len(own), config.evaluation.batch_size):
        _, judged = look(batches.validation(own[start : start + config.evaluation.batch_size]))
        tally_2J += torch.stack([judged.correct_BJ, judged.counted_BJ]).sum(dim=1)
    pck = pck_by_joint(*gather_rows(tally_2J[None], [1] * world).sum(dim=0))
    metrics = {f"eval/pck/{joint}": value for joint, value in pck.items()}
    if pck:
        metrics["eval/pck"] = sum(pck.values()) / len(pck)
    if rank > 0 or not illustrated:
        return Evaluation(metrics=metrics)
    shown = np.unique(np.linspace(0, len(batches) - 1, SHOWN).round().astype(np.int64))
    batch = batches.validation(shown)
    picture = pose_picture(dataset.splits[SPLIT].gather(shown), batch.keypoints_BMJ3, *look(batch))
    return Evaluation(metrics=metrics, pictures={"pose_maps.png": picture})
