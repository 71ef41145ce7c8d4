"""Textures that a generator makes of re-ID images, and how textures are judged.

Legend: B images, S texels a side, C = 3 channels, W whose textures are judged, P places they are judged at.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid.config import RunConfig
from reid.data import Dataset, ReIDBatches, evenly_spread
from reid.evaluation import Evaluation
from reid.models import SAN
from reid.pictures import textures_picture
from reid.stages.spread import mean_of
from reid.training import Known, Labels, autocast, gather_rows, rank_and_world

PREFIX = "eval/textures"
SHOWN = 8
"""Images in the picture, evenly spread over the split."""
PLACES = ("visible", "hidden", "all")
JUDGED = ("model", "mean", "grey")
"""Whose textures: the model's, the mean of the training split's, and mid-grey."""

Reconstruct = Callable[[NDArray[np.int64]], Tensor]
"""Textures (B, C, S, S) in [-1, 1] of the images at some indices."""


def generated(generator: SAN, layout: str | None) -> Known:
    """Pseudo textures by a trained generator.

    Args:
        generator: in evaluation mode.
        layout: of the textures it was trained on.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return Known(
        key=f"textures/{digest.hexdigest()}", compute=partial(_as_pixels, generator), kind="textures", layout=layout
    )


def _as_pixels(generator: SAN, batches: ReIDBatches, indices: NDArray[np.int64]) -> Tensor:
    texture_BCSS = generator.reconstruct(batches.inference(indices))
    return ((texture_BCSS + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@torch.inference_mode()
def check_textures(
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
    """Mean absolute error (L1, of values in [-1, 1]) of reconstructed textures on the `val` split.

    Args:
        model: a texture generator in evaluation mode.

    Returns:
        `eval/textures/all`, `/visible` and `/hidden`: over all texels, those that the image shows, and all others,
        background included; where the dataset does not say what an image shows, the first alone. The same for the
        mean texture of the training split (`eval/textures/mean/…`) and for mid-grey (`…/grey/…`), and by how much the
        model's error lies below the mean texture's, as a share of that, on visible texels if they are known
        (`eval/textures/below_mean`). Equal on every rank. If `illustrated`, on rank 0, the picture `textures.png`.
    """
    assert isinstance(model, SAN)
    train, checked = (
        ReIDBatches(dataset, split, config.data, device=device, channels_last=config.channels_last)
        for split in ("train", "val")
    )

    def reconstruct(indices: NDArray[np.int64]) -> Tensor:
        with autocast(device, dtype):
            return model.reconstruct(checked.inference(indices))

    errors = _errors(reconstruct, mean_of(train.textures, len(train)), checked, config.evaluation.batch_size)
    metrics = {
        f"{PREFIX}/{place}" if whose == "model" else f"{PREFIX}/{whose}/{place}": value
        for (whose, place), value in errors.items()
    }
    place = "visible" if ("mean", "visible") in errors else "all"
    if errors["mean", place]:  # else everyone's texture is the same
        metrics[f"{PREFIX}/below_mean"] = 1 - errors["model", place] / errors["mean", place]
    if rank_and_world()[0] > 0 or not illustrated:
        return Evaluation(metrics=metrics)
    shown = evenly_spread(len(checked), SHOWN)
    columns = {"reconstructed": reconstruct(shown), "true texture": checked.textures(shown)}
    aspect = config.data.width / config.data.height
    picture = textures_picture(checked.split.gather(shown).numpy(), columns, aspect=aspect)
    return Evaluation(metrics=metrics, pictures={"textures.png": picture})


@torch.inference_mode()
def query_textures(
    model: SAN, dataset: Dataset, config: RunConfig, device: torch.device, dtype: torch.dtype
) -> dict[str, bytes]:
    """`textures.png`: what a model in evaluation mode reconstructs of some queries, beside their own textures if the
    dataset has them."""
    batches = ReIDBatches(dataset, "query", config.data, device=device, channels_last=config.channels_last)
    shown = evenly_spread(len(batches), SHOWN)
    with autocast(device, dtype):
        columns = {"reconstructed": model.reconstruct(batches.inference(shown))}
    if dataset.has_textures:
        columns["true texture"] = batches.textures(shown)
    aspect = config.data.width / config.data.height
    return {"textures.png": textures_picture(batches.split.gather(shown).numpy(), columns, aspect=aspect)}


def _errors(
    reconstruct: Reconstruct, mean_CSS: Tensor, batches: ReIDBatches, batch_size: int
) -> dict[tuple[str, str], float]:
    """By whose texture and at which place; each rank judges its share of the images."""
    rank, world = rank_and_world()
    own = np.array_split(np.arange(len(batches)), world)[rank]
    sums_WP = torch.zeros(len(JUDGED), len(PLACES), dtype=torch.float64, device=mean_CSS.device)
    counts_P = torch.zeros(len(PLACES), dtype=torch.float64, device=mean_CSS.device)
    for start in range(0, len(own), batch_size):
        indices = own[start : start + batch_size]
        true_BCSS = batches.textures(indices)
        at_BSSP = _places(batches, indices, true_BCSS)
        counts_P += at_BSSP.sum(dim=(0, 1, 2))
        for whose, texture_BCSS in enumerate((reconstruct(indices), mean_CSS, torch.zeros_like(mean_CSS))):
            error_BSS = (texture_BCSS - true_BCSS).abs().mean(dim=1)
            sums_WP[whose] += (error_BSS[..., None] * at_BSSP).double().sum(dim=(0, 1, 2))
    tally_RWP = gather_rows(torch.cat((sums_WP, counts_P[None]))[None], [1] * world)
    *sums, counts_P = tally_RWP.sum(dim=0)
    return {
        (whose, place): (sums_P[number] / counts_P[number]).item()
        for whose, sums_P in zip(JUDGED, sums, strict=True)
        for number, place in enumerate(PLACES)
        if counts_P[number] > 0 and (place == "all" or batches.split.has_seen)
    }


def _places(batches: ReIDBatches, indices: NDArray[np.int64], like_BCSS: Tensor) -> Tensor:
    """bool (B, S, S, P): whether a texel belongs to each place."""
    everywhere_BSS = torch.ones_like(like_BCSS[:, 0], dtype=torch.bool)
    if not batches.split.has_seen:
        return torch.stack((~everywhere_BSS, ~everywhere_BSS, everywhere_BSS), dim=-1)
    seen_BSS = batches.split.seen(indices).to(like_BCSS.device)
    return torch.stack((seen_BSS, ~seen_BSS, everywhere_BSS), dim=-1)
