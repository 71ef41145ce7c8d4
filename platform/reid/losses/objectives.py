"""What each training stage minimises: the sum of the terms that its objective names.

Legend: N branches, B samples (of this rank, after gathering of all), D dimensions.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reid.config import LossConfig
from reid.config.schema import Stage
from reid.data.batch import PoseBatch, ReIDBatch
from reid.losses.classification import attribute_cross_entropies, identity_cross_entropy
from reid.losses.pose import masked_squared_error
from reid.losses.pose_targets import pose_targets
from reid.losses.ranks import Ranks
from reid.losses.triplet import FocalTripletLoss
from reid.models import Output

Terms = dict[str, Tensor]
"""Weighted loss terms by name; their sum is the loss."""


def pose_objective(output: Output, batch: PoseBatch, config: LossConfig, ranks: Ranks) -> Terms:
    """Eq. 3 and 4 over all stages: `pose_confidence` and `pose_affinity`."""
    known_Bhw = ~batch.ignore_BHW
    target = pose_targets(batch.keypoints_BMJ3, *known_Bhw.shape[1:])
    confidence = [maps.confidence_BJhw for maps in output.pose]
    affinity = [maps.affinity_BLhw for maps in output.pose]
    return {
        "pose_confidence": masked_squared_error(confidence, target.confidence_BJhw, known_Bhw, ranks),
        "pose_affinity": masked_squared_error(affinity, target.affinity_BLhw, known_Bhw, ranks),
    }


def baseline_objective(output: Output, batch: ReIDBatch, config: LossConfig, ranks: Ranks) -> Terms:
    """Identity cross-entropy: `identity`."""
    assert output.identity_logits_BK is not None
    loss = identity_cross_entropy(output.identity_logits_BK, batch.labels_B, ranks, config.label_smoothing)
    return {"identity": config.identity_weight * loss}


def intermediate_objective(output: Output, batch: ReIDBatch, config: LossConfig, ranks: Ranks) -> Terms:
    """Cross-entropies: `identity` and `attributes/<name>` for every attribute."""
    attributes = attribute_cross_entropies(output.attribute_logits, batch.attributes_BA, batch.attribute_names, ranks)
    return baseline_objective(output, batch, config, ranks) | {
        f"attributes/{name}": config.attribute_weight * loss for name, loss in attributes.items()
    }


def final_objective(output: Output, batch: ReIDBatch, config: LossConfig, ranks: Ranks) -> Terms:
    """Eq. 11: `identity`, `attributes/<name>` and, over the global batch, `triplet/<branch>`."""
    terms = intermediate_objective(output, batch, config, ranks)
    if output.triplet_branches:
        embeddings = [output.embeddings[branch] for branch in output.triplet_branches]
        longest = max(embedding_BD.shape[1] for embedding_BD in embeddings)
        padded_BND = torch.stack([F.pad(e_BD, (0, longest - e_BD.shape[1])) for e_BD in embeddings], dim=1)
        losses_N = FocalTripletLoss.from_config(config)(
            ranks.gather(padded_BND).transpose(0, 1), ranks.gather(batch.labels_B)
        )
        for branch, loss in zip(output.triplet_branches, losses_N.unbind(), strict=True):
            terms[f"triplet/{branch}"] = config.triplet_weight * loss
    return terms


Objective = Callable[[Output, Any, LossConfig, Ranks], Terms]

OBJECTIVES: dict[Stage, Objective] = {
    "pose": pose_objective,
    "baseline": baseline_objective,
    "intermediate": intermediate_objective,
    "final": final_objective,
}
