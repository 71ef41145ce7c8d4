"""What a run would take, said before anything is started or written."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
from rich.table import Table

from reid.config import DataError, RunConfig, load_manifest
from reid.data import IMAGES_PER_IDENTITY, POSE, REID, TEXTURES, DataKind
from reid.embedded import SIZES
from reid.experiments.ablation_rows import comparison_of
from reid.experiments.data import EMBEDDED, SOURCES, kinds_of, prepared
from reid.progress import say, show_table
from reid.search import searched_phase
from reid.stages import check_phases, rehearse, stage_of
from reid.storage import Storage
from reid.training import KEPT_CHECKPOINTS, choose_device

START_S = 20
"""Until the workers of a phase train: processes, imports, the process group; read on two cores."""
FORWARD_SHARE = 1 / 3
"""Of a step's time, for an image that is only scored."""
STEPS = 3
ADAM_STATES = 2
"""Numbers that the optimiser keeps for each weight."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Images of a kind of data."""

    train: int
    scored: int
    identities: int


@dataclass(frozen=True, kw_only=True)
class PhaseEstimate:
    """What a phase takes."""

    images: int
    """Shown in training, over all epochs and workers."""
    images_per_second: float
    """Of all workers together."""
    seconds: float
    bytes_kept: int
    """Of its checkpoints in the storage and in MLflow."""


def run_dry(config: RunConfig, job: str) -> None:
    """Say what a job would take on this machine; nothing is started, prepared or written.

    A step of each phase that it trains is measured on random images.

    Args:
        job: name of the command.

    Raises:
        ValueError: the settings are wrong; or the data, which are neither prepared nor of known numbers.
    """
    check_phases(config)
    say(f"workers: {_placement(config)}")
    storage = Storage.of(config)
    counts = {kind.name: counts_of(config, storage, kind) for kind in kinds_of(config)}
    stores = sum((each.train + each.scored) * config.data.height * config.data.width * 3 for each in counts.values())
    say(f"stores: about {stores / 1e6:,.0f} MB in {config.storage}")
    times = _times(config, job)
    if not times:
        return
    estimates = {phase: estimate_phase(config, phase, counts) for phase in config.phases}
    table = Table("phase", "trained", "images", "images/s", "time", "checkpoints, MB", title="estimate, each time")
    for phase, estimate in estimates.items():
        table.add_row(
            phase,
            f"{times[phase]:g} ×",
            f"{estimate.images:,}",
            f"{estimate.images_per_second:,.0f}",
            _clock(estimate.seconds),
            f"{estimate.bytes_kept / 1e6:,.0f}",
        )
    show_table(table)
    kept = sum(times[phase] * estimate.bytes_kept for phase, estimate in estimates.items())
    seconds = sum(times[phase] * estimate.seconds for phase, estimate in estimates.items())
    about = "about" if job == "pipeline" else "at most about"
    say(f"time: {about} {_clock(seconds)} where one is trained after another, without preparing the data")
    say(f"checkpoints: {about} {kept / 1e6:,.0f} MB, in {config.storage}")


def counts_of(config: RunConfig, storage: Storage, kind: DataKind) -> Counts:
    """From the prepared store, else what the embedded benchmark renders, else what the manifest expects.

    Raises:
        DataError: there is none of these.
    """
    if (manifest := prepared(config, storage, kind)) is not None:
        train = manifest.splits["train"]
        others = sum(split.rows for name, split in manifest.splits.items() if name != "train")
        return Counts(train=train.rows, scored=others, identities=train.identities if kind.identities else 0)
    if config.data.name == EMBEDDED:
        size = SIZES[config.data.size]
        of_size = {
            REID.name: Counts(
                train=size.train_images,
                scored=size.query_images + size.gallery_images + size.distractor_images,
                identities=size.train_identities,
            ),
            POSE.name: Counts(train=size.coco_train_images, scored=size.coco_val_images, identities=0),
            TEXTURES.name: Counts(
                train=size.pairs_train_people * size.pairs_train_images,
                scored=size.pairs_val_people * size.pairs_val_images,
                identities=0,
            ),
        }
        return of_size[kind.name]
    name = SOURCES[kind.name].manifest(config.data)
    expected = load_manifest(name).counts or {}
    if "train" not in expected:
        raise DataError(f"nobody knows how many images {name} has before they are prepared: run prepare first")
    scored = sum(split.images for split_name, split in expected.items() if split_name != "train")
    return Counts(train=expected["train"].images, scored=scored, identities=expected["train"].identities or 0)


def estimate_phase(config: RunConfig, phase: str, counts: Mapping[str, Counts]) -> PhaseEstimate:
    """Measured on this machine, with the workers that would share it."""
    settings, data = config.phases[phase], counts[stage_of(config, phase).data.name]
    workers = max(1, config.scaling.min_workers)
    share = max(2, settings.batch_size // workers)
    device = choose_device(config.scaling)
    attributes = {attribute.name: attribute for attribute in load_manifest(config.data.name).attributes}
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(config.scaling.cpus_per_worker)))
    try:
        model, step = rehearse(
            config, phase, num_identities=max(2, data.identities), attributes=attributes, batch=share, device=device
        )
        step()
        rate = workers * share / statistics.median(_seconds(step, device) for _ in range(STEPS))
    finally:
        torch.set_num_threads(threads)
    images = settings.epochs * (data.train // settings.batch_size) * settings.batch_size
    scored = data.scored + settings.epochs * min(data.scored, config.evaluation.sample * IMAGES_PER_IDENTITY)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return PhaseEstimate(
        images=images,
        images_per_second=rate,
        seconds=START_S + (images + scored * FORWARD_SHARE) / rate,
        bytes_kept=KEPT_CHECKPOINTS * (weights + ADAM_STATES * trained) + weights,
    )


def _times(config: RunConfig, job: str) -> dict[str, float]:
    """How often a job trains each phase, at most; empty where it trains none."""
    once = dict.fromkeys(config.phases, 1.0)
    if job == "pipeline":
        return once
    if job == "sweep":  # trials without early stopping, the winner and the configuration as it is
        return once | {searched_phase(config): config.search.trials + 2.0 * config.search.retrain}
    if job == "ablation":
        rows = len(comparison_of(config).rows)
        return dict.fromkeys(config.phases, rows * config.ablation.seeds * config.ablation.epoch_share)
    return {}


def _placement(config: RunConfig) -> str:
    scaling = config.scaling
    if not scaling.min_workers:
        return "none, the job's own process trains"
    devices = f"{scaling.cpus_per_worker:g} CPU"
    if choose_device(scaling).type == "cuda":
        devices += f" and {scaling.gpus_per_worker:g} GPU"
    number = str(scaling.min_workers)
    if scaling.max_workers != scaling.min_workers:
        number += f" to {scaling.max_workers}"
    return f"{number}, each with {devices}"


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
