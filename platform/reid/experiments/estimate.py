"""What a run would take, said before anything is started or written."""

import os
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
from reid.experiments.data import EMBEDDED, SOURCES, kinds_of, prepared
from reid.experiments.workload import Work, work_of
from reid.progress import say, show_table
from reid.stages import check_phases, rehearse, stage_of
from reid.storage import Storage
from reid.training import choose_device

START_S = 10
"""Until the workers of a phase train, and until they have ended: processes, imports, the process group; read on two
cores."""
RENDER_S = 0.006
"""Of a core, to render and store an image of the embedded benchmark; read on two cores."""
CROPS_PER_SCENE = 2.05
"""People of a rendered scene who are large enough to be cut out for the pose phase."""
LABEL_BYTES = 700
"""Of a stored image, beside its pixels: joints most of all, and its name."""
FORWARD_SHARE = 1 / 3
"""Of a step's time, for an image that is only scored."""
STEPS = 3
ADAM_STATES = 2
"""Numbers that the optimiser keeps for each weight; one more with AMSGrad."""
EXPORTS = 3
"""Copies of the last model: as two programs, of which MLflow gets one."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Images of a kind of data."""

    train: int
    scored: int
    identities: int
    textures: int = 0
    """Of people."""
    missing: bool = True
    """Whether they have still to be prepared."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What was measured of a phase."""

    images_per_second: float
    """Of all workers together, in training."""
    checkpoint: int
    """Bytes."""
    weights: int
    """Bytes of the model alone."""


@dataclass(frozen=True, kw_only=True)
class PhaseEstimate:
    """What all trainings of a phase take."""

    images: float
    """Shown in training, over all epochs and workers."""
    seconds: float
    """Where one is trained after another."""
    bytes_written: float
    """Of checkpoints, in the storage and in MLflow."""
    bytes_kept: float
    """Of those, what is there in the end."""


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
    stores = sum(store_bytes(config, kind, each) for kind, each in counts.items())
    say(f"stores: about {stores / 1e6:,.0f} MB in {config.storage}")
    work = work_of(config, job, lambda config, phase: epoch_images_of(config, phase, counts))
    if not work:
        return
    paces = {phase: pace_of(config, phase, counts) for phase in config.phases}
    estimates = {phase: estimate_phase(config, phase, counts, work[phase], paces[phase]) for phase in config.phases}
    table = Table("phase", "trained", "epochs", "images/s", "time", "checkpoints, MB", title="estimate")
    for phase, estimate in estimates.items():
        table.add_row(
            phase,
            f"{work[phase].trainings} ×",
            f"{work[phase].epochs:,.0f}",
            f"{paces[phase].images_per_second:,.0f}",
            _clock(estimate.seconds),
            f"{estimate.bytes_kept / 1e6:,.0f}",
        )
    show_table(table)
    _say_totals(config, job, counts, estimates, paces)


def _say_totals(
    config: RunConfig,
    job: str,
    counts: Mapping[str, Counts],
    estimates: Mapping[str, PhaseEstimate],
    paces: Mapping[str, Pace],
) -> None:
    workers, gpu = max(1, config.scaling.min_workers), choose_device(config.scaling).type == "cuda"
    share = config.scaling.gpus_per_worker if gpu else config.scaling.cpus_per_worker
    missing = sum(each.train + each.scored for each in counts.values() if each.missing)
    rendering = RENDER_S * missing / (os.cpu_count() or 1) if config.data.name == EMBEDDED else 0
    training = sum(estimate.seconds for estimate in estimates.values())
    say(f"time: about {_clock(rendering + training)} where one is trained after another; to render {_clock(rendering)}")
    say(f"{'GPU' if gpu else 'CPU'}-hours: about {training * workers * share / 3600:,.2g}")
    exports = EXPORTS * list(paces.values())[-1].weights if job != "ablation" else 0
    kept, written = (
        (exports + sum(getattr(estimate, name) for estimate in estimates.values())) / 1e6
        for name in ("bytes_kept", "bytes_written")
    )
    say(f"checkpoints and exports: about {kept:,.0f} MB, of {written:,.0f} MB that are written, in {config.storage}")


def counts_of(config: RunConfig, storage: Storage, kind: DataKind) -> Counts:
    """From the prepared store, else what the embedded benchmark renders, else what the manifest expects.

    Raises:
        DataError: there is none of these.
    """
    if (manifest := prepared(config, storage, kind)) is not None:
        train = manifest.splits["train"]
        others = sum(split.rows for name, split in manifest.splits.items() if name != "train")
        identities = train.identities if kind.identities else 0
        return Counts(train=train.rows, scored=others, identities=identities, missing=False)
    if config.data.name == EMBEDDED:
        return _rendered(config, kind)
    name = SOURCES[kind.name].manifest(config.data)
    expected = load_manifest(name).counts or {}
    if "train" not in expected:
        raise DataError(f"nobody knows how many images {name} has before they are prepared: run prepare first")
    scored = sum(split.images for split_name, split in expected.items() if split_name != "train")
    return Counts(train=expected["train"].images, scored=scored, identities=expected["train"].identities or 0)


def store_bytes(config: RunConfig, kind: str, counts: Counts) -> int:
    """What a prepared store takes whose images are kept as pixels."""
    manifest = load_manifest(SOURCES[kind].manifest(config.data))
    height, width = manifest.stored_size(config.data.height, config.data.width)
    image = 3 * height * width + LABEL_BYTES
    return (counts.train + counts.scored) * image + 3 * counts.textures * height**2


def _rendered(config: RunConfig, kind: DataKind) -> Counts:
    """What the embedded benchmark will have."""
    size = SIZES[config.data.size]
    crops = CROPS_PER_SCENE if config.data.pose_images == "crops" else 1
    of_size = {
        REID.name: Counts(
            train=size.train_images,
            scored=size.query_images + size.gallery_images + size.distractor_images,
            identities=size.train_identities,
            textures=size.train_identities + 2 * size.test_identities,
        ),
        POSE.name: Counts(
            train=round(crops * size.coco_train_images), scored=round(crops * size.coco_val_images), identities=0
        ),
        TEXTURES.name: Counts(
            train=size.pairs_train_people * size.pairs_train_images,
            scored=size.pairs_val_people * size.pairs_val_images,
            identities=0,
            textures=size.pairs_train_people + size.pairs_val_people,
        ),
    }
    return of_size[kind.name]


def epoch_images_of(config: RunConfig, phase: str, counts: Mapping[str, Counts]) -> int:
    """Images that an epoch of a phase shows."""
    size, data = config.phases[phase].batch_size, counts[stage_of(config, phase).data.name]
    return max(1, data.train // size) * size


def estimate_phase(
    config: RunConfig, phase: str, counts: Mapping[str, Counts], work: Work, pace: Pace
) -> PhaseEstimate:
    """What the trainings of a phase take, at its pace."""
    data, sample = counts[stage_of(config, phase).data.name], config.evaluation.sample * IMAGES_PER_IDENTITY
    images = work.epochs * epoch_images_of(config, phase, counts)
    scored = work.scorings * data.scored + work.samples * min(data.scored, sample)
    starts = START_S * work.trainings if config.scaling.min_workers else 0
    in_mlflow = work.models * pace.weights
    return PhaseEstimate(
        images=images,
        seconds=starts + (images + scored * FORWARD_SHARE) / pace.images_per_second,
        bytes_written=work.epochs * pace.checkpoint + in_mlflow,
        bytes_kept=work.checkpoints * pace.checkpoint + in_mlflow,
    )


def pace_of(config: RunConfig, phase: str, counts: Mapping[str, Counts]) -> Pace:
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
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    averaged = weights if settings.ema else 0
    states = ADAM_STATES + settings.amsgrad
    return Pace(images_per_second=rate, checkpoint=weights + averaged + states * trained, weights=weights)


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
