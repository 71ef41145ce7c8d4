"""The stages of SAN: what each minimises, and its row in the table."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from reid.config import RunConfig
from reid.data import REID, TEXTURES, Dataset, ReIDBatch
from reid.evaluation import Evaluation
from reid.losses import (
    FocalTripletLoss,
    Ranks,
    identity_cross_entropy,
    map_triplets,
    reconstruction_error,
)
from reid.models import SAN, SANOutput, Trunk
from reid.stages.retrieval import score
from reid.stages.san_settings import (
    GENERATOR_STAGE,
    STAGE,
    check_decoder,
    check_encoder,
    check_san,
    learns_textures,
    require_textures,
    settings_of,
    untrained_generator,
)
from reid.stages.textures import check_textures, generated, query_textures
from reid.training import Known, Labels, Stage, Terms, load_into, load_state, rank_and_world


def generator_loss(output: SANOutput, batch: ReIDBatch, config: RunConfig, ranks: Ranks) -> Terms:
    """L1 against the texture: `reconstruction`."""
    assert output.texture_BCSS is not None
    assert batch.textures_BCHW is not None
    return {"reconstruction": reconstruction_error(output.texture_BCSS, batch.textures_BCHW, ranks)}


def san_baseline_loss(output: SANOutput, batch: ReIDBatch, config: RunConfig, ranks: Ranks) -> Terms:
    """`identity` and, of vectors as they are and over the global batch, the batch-hard `triplet`."""
    settings = settings_of(config)
    assert output.vector_BD is not None
    assert output.identity_logits_BK is not None
    identity = identity_cross_entropy(output.identity_logits_BK, batch.labels_B, ranks, settings.label_smoothing)
    triplet = FocalTripletLoss(alpha=settings.margin, kind="plain", mining="batch_hard", distance="raw")(
        ranks.gather(output.vector_BD), ranks.gather(batch.labels_B)
    )
    return {"identity": settings.identity_weight * identity, "triplet": settings.triplet_weight * triplet}


def san_loss(output: SANOutput, batch: ReIDBatch, config: RunConfig, ranks: Ranks) -> Terms:
    """Beside the baseline's, `reconstruction` and `map_triplet`; recorded alone are the share of the latter's triplets
    that cost anything (`map_triplet/active`) and their mean distances (`map_triplet/positive_distance`,
    `map_triplet/negative_distance`)."""
    settings = settings_of(config)
    terms = san_baseline_loss(output, batch, config, ranks)
    if learns_textures(config):
        reconstruction = generator_loss(output, batch, config, ranks)["reconstruction"]
        terms["reconstruction"] = settings.reconstruction_weight * reconstruction
    triplets = map_triplets(output.decoded, ranks, margin=settings.map_margin, distance=settings.map_distance)
    return terms | {
        "map_triplet": settings.map_triplet_weight * triplets.loss,
        "map_triplet/active": triplets.active,
        "map_triplet/positive_distance": triplets.positive_distance,
        "map_triplet/negative_distance": triplets.negative_distance,
    }


def build_san(config: RunConfig, labels: Labels, *, pretrained: bool, stage: str) -> SAN:
    """SAN in one of its stages; see `reid.training.Build`."""
    settings = settings_of(config)
    model = SAN(settings, stage=stage, num_identities=labels.num_identities, seed=config.seed, pretrained=pretrained)
    if settings.batch_norm == "synchronised":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return model


def known_textures(
    model: nn.Module,
    config: RunConfig,
    rates: Mapping[str, float],
    dataset: Dataset,
    consulted: Mapping[str, str],
) -> Known | None:
    """The pseudo textures that SAN learns to reconstruct; none where it learns from the dataset's own, or from none."""
    settings = settings_of(config)
    if not learns_textures(config) or settings.textures == "own":
        return None
    place = settings.generator or consulted[GENERATOR_STAGE]
    trained = load_state(place)
    generator = build_san(trained.config, trained.labels, pretrained=False, stage=GENERATOR_STAGE)
    load_into(place, generator)
    return generated(generator.to(next(model.parameters()).device).eval(), trained.labels.texture_layout)


def score_san(
    model: nn.Module,
    dataset: Dataset,
    config: RunConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    labels: Labels,
    illustrated: bool,
    beside: Mapping[str, Dataset] | None = None,
) -> Evaluation:
    """`score`, and while there is a decoder the picture `textures.png`."""
    assert isinstance(model, SAN)
    scored = score(model, dataset, config, device, dtype, labels=labels, illustrated=illustrated)
    if not illustrated or rank_and_world()[0] > 0 or model.decoder is None:
        return scored
    return replace(scored, pictures=scored.pictures | query_textures(model, dataset, config, device, dtype))


def always(config: RunConfig) -> bool:
    return True


def slow_decoder(config: RunConfig) -> dict[str, float]:
    """See `SANConfig.decoder_rate`."""
    return {"decoder": settings_of(config).decoder_rate}


def descriptor_dim(config: RunConfig) -> int:
    settings = settings_of(config)
    if settings.embedding_dim is not None:
        return settings.embedding_dim
    with torch.device("meta"):
        return Trunk(settings.trunk, last_stride=settings.last_stride).channels


ENCODER = (
    "models.san.trunk",
    "models.san.weights",
    "models.san.last_stride",
    "models.san.batch_norm",
)
DECODER = ("models.san.decoder_widths", "models.san.skips")
IDENTITY = (
    "models.san.embedding_dim",
    "models.san.identity_weight",
    "models.san.triplet_weight",
    "models.san.label_smoothing",
    "models.san.margin",
)

TEXTURE_GENERATOR = Stage(
    name=GENERATOR_STAGE,
    family="san",
    data=TEXTURES,
    build=partial(build_san, stage=GENERATOR_STAGE),
    loss=generator_loss,
    evaluate=check_textures,
    headline=("eval/textures/below_mean", "below the mean texture's error"),
    textures=always,
    inherits=(GENERATOR_STAGE,),
    reads=(*ENCODER, *DECODER),
    pretrained=("trunk",),
    check_settings=check_decoder,
    describes=False,
)

SAN_BASELINE = Stage(
    name="san_baseline",
    family="san",
    data=REID,
    build=partial(build_san, stage="san_baseline"),
    loss=san_baseline_loss,
    evaluate=score,
    headline=("eval/mAP", "mAP"),
    inherits=("san_baseline",),
    reads=(*ENCODER, *IDENTITY),
    pretrained=("trunk",),
    check_settings=check_encoder,
    descriptor_dim=descriptor_dim,
)

SAN_STAGE = Stage(
    name=STAGE,
    family="san",
    data=REID,
    build=partial(build_san, stage=STAGE),
    loss=san_loss,
    evaluate=score_san,
    headline=("eval/mAP", "mAP"),
    textures=learns_textures,
    inherits=(STAGE,),
    consults=(GENERATOR_STAGE,),
    reads=("models.san.",),
    pretrained=("trunk",),
    check_settings=check_san,
    rates=slow_decoder,
    known=known_textures,
    untrained=untrained_generator,
    check_data=require_textures,
    training_only=("decoder",),
    searched=(
        "models.san.identity_weight",
        "models.san.triplet_weight",
        "models.san.reconstruction_weight",
        "models.san.map_triplet_weight",
        "models.san.label_smoothing",
        "models.san.margin",
        "models.san.map_margin",
        "models.san.map_distance",
        "models.san.decoder_rate",
    ),
    descriptor_dim=descriptor_dim,
)
