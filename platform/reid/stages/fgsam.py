"""The stages of FGSAM: what each minimises, and its row in the table.

Legend: N branches, B samples (of this rank, after gathering of all), D dimensions; h × w cells of a map.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from reid.config import RunConfig
from reid.data import POSE as POSE_DATA
from reid.data import REID, PoseBatch, ReIDBatch
from reid.losses import (
    FocalTripletLoss,
    Ranks,
    attribute_cross_entropies,
    identity_cross_entropy,
    masked_squared_error,
    pose_targets,
)
from reid.models import FGSAM, LocallyReinforcedAlignment, Output, make_trunk, require_weights
from reid.stages.fused_maps import (
    POSE_STAGE,
    frozen_pose_net,
    known_maps,
    require_joints,
    score_fused,
    untrained_pose_net,
)
from reid.stages.pose_check import check_pose
from reid.stages.retrieval import score
from reid.training import Labels, Stage, Terms


def pose_loss(output: Output, batch: PoseBatch, config: RunConfig, ranks: Ranks) -> Terms:
    """Eq. 3 and 4 over all stages: `pose_confidence` and `pose_affinity`."""
    known_Bhw = ~batch.ignore_BHW
    target = pose_targets(batch.keypoints_BMJ3, *known_Bhw.shape[1:])
    confidence = [maps.confidence_BJhw for maps in output.pose]
    affinity = [maps.affinity_BLhw for maps in output.pose]
    return {
        "pose_confidence": masked_squared_error(confidence, target.confidence_BJhw, known_Bhw, ranks),
        "pose_affinity": masked_squared_error(affinity, target.affinity_BLhw, known_Bhw, ranks),
    }


def baseline_loss(output: Output, batch: ReIDBatch, config: RunConfig, ranks: Ranks) -> Terms:
    """Identity cross-entropy: `identity`."""
    assert output.identity_logits_BK is not None
    loss = identity_cross_entropy(output.identity_logits_BK, batch.labels_B, ranks, config.loss.label_smoothing)
    return {"identity": config.loss.identity_weight * loss}


def intermediate_loss(output: Output, batch: ReIDBatch, config: RunConfig, ranks: Ranks) -> Terms:
    """Cross-entropies: `identity` and `attributes/<name>` for every attribute."""
    attributes = attribute_cross_entropies(output.attribute_logits, batch.attributes_BA, batch.attribute_names, ranks)
    weight = config.loss.attribute_weight * _share(config, len(attributes))
    return baseline_loss(output, batch, config, ranks) | {
        f"attributes/{name}": weight * loss for name, loss in attributes.items()
    }


def final_loss(output: Output, batch: ReIDBatch, config: RunConfig, ranks: Ranks) -> Terms:
    """Eq. 11: `identity`, `attributes/<name>` and, over the global batch, `triplet/<branch>`."""
    return intermediate_loss(output, batch, config, ranks) | _triplet_losses(output, batch, config, ranks)


def strong_baseline_loss(output: Output, batch: ReIDBatch, config: RunConfig, ranks: Ranks) -> Terms:
    """`identity` and, over the global batch, `triplet/pooled`."""
    return baseline_loss(output, batch, config, ranks) | _triplet_losses(output, batch, config, ranks)


def _triplet_losses(output: Output, batch: ReIDBatch, config: RunConfig, ranks: Ranks) -> Terms:
    if not output.triplet_branches:
        return {}
    embeddings = [output.embeddings[branch] for branch in output.triplet_branches]
    longest = max(embedding_BD.shape[1] for embedding_BD in embeddings)
    padded_BND = torch.stack([F.pad(e_BD, (0, longest - e_BD.shape[1])) for e_BD in embeddings], dim=1)
    losses_N = FocalTripletLoss.from_config(config.loss)(
        ranks.gather(padded_BND).transpose(0, 1), ranks.gather(batch.labels_B)
    )
    weight = config.loss.triplet_weight * _share(config, len(embeddings))
    return {
        f"triplet/{branch}": weight * loss
        for branch, loss in zip(output.triplet_branches, losses_N.unbind(), strict=True)
    }


def _share(config: RunConfig, terms: int) -> float:
    """What each of several terms counts for."""
    return 1.0 if config.loss.reduction == "sum" else 1 / max(1, terms)


def build(config: RunConfig, labels: Labels, *, pretrained: bool, stage: str) -> FGSAM:
    """FGSAM in one of its stages; see `reid.training.Build`."""
    model = FGSAM(
        config.model,
        stage=stage,
        num_identities=labels.num_identities,
        attributes=labels.attributes,
        seed=config.seed,
        pretrained=pretrained,
    )
    if config.model.batch_norm == "synchronised":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return model


def check_trunk(config: RunConfig) -> None:
    """
    Raises:
        ValueError: the trunk is unknown, or has not what is asked of it; a local file of weights is missing.
    """
    require_weights(config.model.weights, "model.weights")
    try:
        with torch.device("meta"):
            make_trunk(config.model, pretrained=False)
    except ValueError as error:
        raise ValueError(f"model.trunk: {error}") from error


def check_pose_net(config: RunConfig) -> None:
    """
    Raises:
        ValueError: a local file of weights is missing.
    """
    require_weights(config.model.pose_net.weights, "model.pose_net.weights")


def check_fused(config: RunConfig) -> None:
    """
    Raises:
        ValueError: as `check_trunk` and, with pose maps of the net's, `check_pose_net`.
    """
    check_trunk(config)
    if config.model.pose and config.model.maps == "net":
        check_pose_net(config)


def check_layout(config: RunConfig, labels: Labels) -> None:
    """Build the branches, narrow ones.

    Raises:
        ValueError: nothing would train a part, or it names an attribute that the dataset lacks.
    """
    with torch.device("meta"):
        LocallyReinforcedAlignment(
            config.model.resolved_layout(),
            trunk_channels=1,
            sketch_dim=None,
            num_identities=1,
            attributes=labels.attributes,
            seed=0,
        )


def descriptor_dim(config: RunConfig) -> int:
    return config.model.resolved_layout().descriptor_dim


def layout_name(config: RunConfig) -> str:
    layout = config.model.layout
    return layout if isinstance(layout, str) else "+".join(part.name for part in layout.parts)


TRUNK = ("model.trunk", "model.weights", "model.last_stride", "model.batch_norm")
IDENTITY_LOSS = ("loss.identity_weight", "loss.label_smoothing")

POSE = Stage(
    name=POSE_STAGE,
    family="fgsam",
    data=POSE_DATA,
    build=partial(build, stage="pose"),
    loss=pose_loss,
    evaluate=check_pose,
    headline=("eval/pck", "PCK"),
    check_settings=check_pose_net,
    inherits=("pose", "intermediate", "final"),
    reads=("model.pose_net.",),
    pretrained=("pose_net",),
    describes=False,
)

BASELINE = Stage(
    name="baseline",
    family="fgsam",
    data=REID,
    build=partial(build, stage="baseline"),
    loss=baseline_loss,
    evaluate=score,
    headline=("eval/mAP", "mAP"),
    inherits=("baseline", "intermediate", "final"),
    reads=(*TRUNK, "model.pooling", "model.neck", *IDENTITY_LOSS),
    pretrained=("trunk",),
    check_settings=check_trunk,
    layout=layout_name,
)

STRONG_BASELINE = Stage(
    name="strong_baseline",
    family="fgsam",
    data=REID,
    build=partial(build, stage="strong_baseline"),
    loss=strong_baseline_loss,
    evaluate=score,
    headline=("eval/mAP", "mAP"),
    inherits=("baseline", "strong_baseline"),
    reads=(*TRUNK, "model.pooling", "model.neck", "loss."),
    pretrained=("trunk",),
    check_settings=check_trunk,
    layout=layout_name,
)

INTERMEDIATE = Stage(
    name="intermediate",
    family="fgsam",
    data=REID,
    build=partial(build, stage="intermediate"),
    loss=intermediate_loss,
    evaluate=partial(score_fused, parts=False),
    headline=("eval/mAP", "mAP"),
    inherits=("pose", "baseline", "intermediate", "final"),
    reads=("model.", "loss.attribute_weight", "loss.reduction", *IDENTITY_LOSS),
    pretrained=("trunk", "pose_net"),
    check_settings=check_fused,
    rates=frozen_pose_net,
    known=known_maps,
    untrained=untrained_pose_net,
    check_data=require_joints,
    layout=layout_name,
)

FINAL = Stage(
    name="final",
    family="fgsam",
    data=REID,
    build=partial(build, stage="final"),
    loss=final_loss,
    evaluate=partial(score_fused, parts=True),
    headline=("eval/mAP", "mAP"),
    inherits=("pose", "baseline", "intermediate", "final"),
    reads=("model.", "loss."),
    pretrained=("trunk", "pose_net"),
    check_settings=check_fused,
    rates=frozen_pose_net,
    known=known_maps,
    untrained=untrained_pose_net,
    check_data=require_joints,
    searched=("loss.", "model.layout"),
    check=check_layout,
    descriptor_dim=descriptor_dim,
    layout=layout_name,
)
