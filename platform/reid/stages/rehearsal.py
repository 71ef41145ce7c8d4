"""Training steps on random images, to see what a phase costs before there are data."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from reid.config import JOINTS, Attribute, RunConfig
from reid.data import POSE, TEXTURES, Dataset, PoseBatch, ReIDBatch, ReIDBatches
from reid.stages.table import stage_of
from reid.training import (
    Labels,
    ProcessGroupRanks,
    Stage,
    autocast,
    make_optimizer,
    rates_of,
    resolve_precision,
    train_mode,
    train_step,
)

Step = Callable[[], dict[str, Tensor]]
JOINT_STRIDE = 8
"""Pixels for each cell of the mask of what is not annotated."""


def rehearse(
    config: RunConfig,
    phase: str,
    *,
    num_identities: int,
    attributes: Mapping[str, Attribute],
    batch: int,
    device: torch.device,
    known_maps: bool = True,
) -> tuple[nn.Module, Step]:
    """A phase's model, and a function that takes one training step after another on one and the same random batch.

    Args:
        num_identities, attributes: of the dataset.
        batch: images in a step.
        known_maps: whether maps that the phase does not change are computed beforehand, as they are in training.
    """
    settings, stage = config.phases[phase], stage_of(config, phase)
    memory = torch.channels_last if config.channels_last else torch.contiguous_format
    model = stage.build(config, Labels(num_identities=num_identities, attributes=dict(attributes)), pretrained=False)
    model = model.to(device).to(memory_format=memory)
    rates = rates_of(stage, config, phase)
    optimizer = make_optimizer(model, settings, rates)
    sample = _random_batch(config, stage, phase, num_identities, attributes, batch, device)
    if known_maps and isinstance(sample, ReIDBatch):
        sample = replace(sample, maps_BJhw=_maps(model.eval(), stage, config, phase, sample.images_BCHW))
    train_mode(model, rates)

    def step() -> dict[str, Tensor]:
        return train_step(
            model,
            sample,
            loss=stage.loss,
            config=config,
            optimizer=optimizer,
            ranks=ProcessGroupRanks([batch]),
            dtype=resolve_precision(config, device),
            place=f"the rehearsal of phase {phase}",
        )

    return model, step


def _random_batch(
    config: RunConfig,
    stage: Stage,
    phase: str,
    num_identities: int,
    attributes: Mapping[str, Attribute],
    batch: int,
    device: torch.device,
) -> PoseBatch | ReIDBatch:
    memory = torch.channels_last if config.channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(config.seed)
    size = (config.data.height, config.data.width)
    images_BCHW = torch.randn(batch, 3, *size, generator=generator).to(device, memory_format=memory)
    if stage.data is POSE:
        keypoints_BMJ3 = torch.rand(batch, 1, len(JOINTS), 3, generator=generator) * torch.tensor([size[1], size[0], 2])
        return PoseBatch(
            images_BCHW=images_BCHW,
            keypoints_BMJ3=keypoints_BMJ3.to(device),
            ignore_BHW=torch.zeros(batch, *(side // JOINT_STRIDE for side in size), dtype=torch.bool, device=device),
        )
    classes = [len(attribute.classes) for attribute in attributes.values()]
    attributes_BA = (torch.rand(batch, len(classes), generator=generator) * torch.tensor(classes)).long()
    textured = stage.data is TEXTURES or stage.textures(config)
    textures_BCHW = torch.rand(batch, 3, size[0], size[0], generator=generator) * 2 - 1 if textured else None
    return ReIDBatch(
        images_BCHW=images_BCHW,
        labels_B=torch.arange(batch, device=device) // (config.phases[phase].images_per_identity or 1) % num_identities,
        attributes_BA=attributes_BA.to(device),
        attribute_names=tuple(attributes),
        textures_BCHW=None if textures_BCHW is None else textures_BCHW.to(device),
    )


@torch.no_grad()
def _maps(model: nn.Module, stage: Stage, config: RunConfig, phase: str, images_BCHW: Tensor) -> Tensor | None:
    """Maps of the images that the phase does not change, if there are any."""
    if stage.textures(config):
        return None
    known = stage.known(model, config, rates_of(stage, config, phase), cast(Dataset, None), {})
    if known is None:
        return None
    with autocast(images_BCHW.device, resolve_precision(config, images_BCHW.device)):
        batches = SimpleNamespace(inference=lambda indices: images_BCHW)
        return known.compute(cast(ReIDBatches, batches), np.arange(len(images_BCHW))).float()
