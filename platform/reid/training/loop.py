"""One phase from its first epoch to its last: the cadence around `train_step`, without a cluster.

Legend: S steps of an epoch, G images of the global batch.
"""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel

from reid.config import RunConfig
from reid.data import Dataset, balanced_batches, open_store, rank_slice, sample_of, shuffled_batches
from reid.evaluation import Evaluation, require_rerankable
from reid.models import carry_over
from reid.progress import note, say, tracked
from reid.storage import Storage
from reid.training.average import WeightAverage
from reid.training.checkpoint import Save, load_state, load_weights, restore
from reid.training.device import resolve_precision
from reid.training.distributed import ProcessGroupRanks, average_buffers, rank_and_world
from reid.training.job import PhaseJob, rates_of
from reid.training.known import attach_known
from reid.training.line import epoch_line
from reid.training.optimizer import make_optimizer, set_learning_rate, train_mode
from reid.training.schedule import learning_rate
from reid.training.stage import Evaluate, Labels, Stage
from reid.training.state import EpochRecord, PhaseState
from reid.training.step import train_step

Report = Callable[[PhaseState, Save], None]
"""Called on every rank after each epoch; one rank's `Save` is enough."""
RANK1 = "eval/rank1"


def run_phase(
    job: PhaseJob, *, device: torch.device, evaluate: Evaluate, report: Report, resume_from: str | None = None
) -> None:
    """Train a phase on this rank of the default process group, or alone where there is none.

    Args:
        device: where this rank computes.
        evaluate: scores the model, by default after the last epoch alone.
        report: called on every rank after every epoch.
        resume_from: a checkpoint of this very phase to go on from.

    Raises:
        NonFiniteLossError: on every rank at once, before the optimiser moves.
        ValueError: configuration, data and checkpoints do not fit together.
    """
    rank, world = rank_and_world()
    config, settings, stage, rates = job.config, job.settings, job.stage, job.rates
    dtype = resolve_precision(config, device)
    dataset = job.open()
    beside = {kind: open_store(place, Storage.of(config)) for kind, place in job.beside.items()}
    labels = Labels.of(dataset)
    rows_R = [rank_slice(settings.batch_size, r, world, settings.images_per_identity or 1) for r in range(world)]
    ranks = ProcessGroupRanks([rows.stop - rows.start for rows in rows_R])

    model = _build(job, labels, resumed=resume_from is not None).to(device)
    if device.type != "cuda" and any(isinstance(module, SyncBatchNorm) for module in model.modules()):
        raise ValueError("model.batch_norm: synchronised needs GPUs; set it to local or frozen")
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, settings, rates)
    average = WeightAverage(model, settings.ema) if settings.ema else None
    history = restore(resume_from, model, optimizer, average).history if resume_from is not None else ()
    if (known := stage.known(model.eval(), config, rates, dataset, _consulted(job))) is not None:
        attach_known(dataset, known, config, device, dtype)
    brought = {"textures": True} if stage.textures(config) else {}
    batches = stage.data.batches(
        dataset, "train", config.data, device=device, channels_last=config.channels_last, **brought
    )
    followed = job.scoring == "illustrated" and config.evaluation.sample
    sample = sample_of(dataset, config.evaluation.sample) if followed else None
    trained = DistributedDataParallel(model, forward_sync_buffers=False) if world > 1 else model

    saving = 0.0
    for epoch in range(len(history), settings.epochs):
        torch.manual_seed(derive_seed(config.seed, job.phase, epoch, rank))
        train_mode(model, rates)
        indices_SG = _global_batches(config, job.phase, dataset, epoch)
        steps = len(indices_SG)
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=device))
        title = f"{job.title}, epoch {epoch + 1} of {settings.epochs}"
        waited, started = 0.0, time.perf_counter()
        for step, indices_G in enumerate(tracked(indices_SG, title, total=indices_SG.size, unit="images", size=len)):
            rate = learning_rate(settings, epoch * steps + step, steps)
            set_learning_rate(optimizer, rate)
            seed = derive_seed(config.seed, job.phase)
            asked = time.perf_counter()
            batch = batches.training(indices_G, rows_R[rank], seed=seed, epoch=epoch, step=step)
            waited += time.perf_counter() - asked
            terms = train_step(
                trained,
                batch,
                loss=stage.loss,
                config=config,
                optimizer=optimizer,
                ranks=ranks,
                dtype=dtype,
                clip_gradient=settings.clip_gradient,
                place=f"phase {job.phase}, epoch {epoch + 1}, step {step + 1}",
            )
            if average is not None:
                average.update(model)
            for name, value in terms.items():
                sums[name] += value
        metrics = {f"train/{name}": (total / steps).item() for name, total in sums.items()}
        metrics["train/learning_rate"] = rate
        ended = time.perf_counter()
        metrics["train/images_per_second"] = indices_SG.size / (ended - started)
        average_buffers(model)
        left = model
        if average is not None:
            left = average.model
            average_buffers(left)
        evaluation = Evaluation(metrics={})
        if _is_scored(job, epoch):
            illustrated = job.scoring == "illustrated"
            evaluation = evaluate(
                left.eval(), dataset, config, device, dtype, labels=labels, illustrated=illustrated, beside=beside
            )
        if sample is not None:
            few = evaluate(left.eval(), sample, config, device, dtype, labels=labels, illustrated=False, beside={})
            metrics |= _followed(few.metrics, stage)
        scored = time.perf_counter()
        record = EpochRecord(
            epoch=epoch + 1,
            time=time.time(),
            metrics=metrics | evaluation.metrics,
            seconds={
                "batches": waited,
                "steps": ended - started - waited,
                "scoring": scored - ended,
                "saving": saving,
            },
            cmc=evaluation.cmc,
        )
        history = (*history, record)
        if rank == 0 and job.run is not None:
            say(epoch_line(job, record))
        state = PhaseState(
            phase=job.phase,
            config=config,
            num_identities=labels.num_identities,
            attributes=dict(labels.attributes),
            texture_layout=labels.texture_layout,
            history=history,
            run=job.run,
        )
        save = Save.of(left, optimizer, state, evaluation.pictures, None if average is None else model)
        saved = time.perf_counter()
        report(state, save)
        saving = time.perf_counter() - saved


def require_trainable(stage: Stage, config: RunConfig, phase: str, dataset: Dataset) -> None:
    """Try what a phase will need, so that a long run does not find out late.

    Args:
        stage: the phase's.

    Raises:
        ValueError: layout, trunk, pre-trained weights, rates or batch do not fit together or not the dataset; there are
            too few images to re-rank.
    """
    stage.check_data(config, dataset)
    model = stage.build(config, Labels.of(dataset), pretrained=True)
    if stage.describes and config.evaluation.rerank:
        require_rerankable(len(dataset.splits["query"]) + len(dataset.splits["gallery"]))
    try:
        make_optimizer(model, config.phases[phase], rates_of(stage, config, phase))
        _global_batches(config, phase, dataset, epoch=0)
    except ValueError as error:
        raise ValueError(f"phases.{phase}: {error}") from error


def epoch_images(config: RunConfig, phase: str, dataset: Dataset) -> int:
    """Images that an epoch of a phase shows, over all workers."""
    return _global_batches(config, phase, dataset, epoch=0).size


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed of its own for every purpose, such as (phase, epoch, rank)."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _build(job: PhaseJob, labels: Labels, *, resumed: bool) -> nn.Module:
    """The phase's model with the weights that former phases left; a resumed phase brings its own."""
    model = job.stage.build(job.config, labels, pretrained=False)
    if not resumed:
        left = [load_weights(place) for place in job.start_from if load_state(place).stage in job.stage.inherits]
        carried = carry_over(model, left)
        if {name.partition(".")[0] for name in carried.new} & set(job.stage.pretrained):
            model = job.stage.build(job.config, labels, pretrained=True)
            carried = carry_over(model, left)
        if rank_and_world()[0] == 0:
            for what in ("carried", "new", "dropped"):
                note(f"{job.phase}: {what} weights: {_by_module(getattr(carried, what))}")
    return model


def _consulted(job: PhaseJob) -> dict[str, str]:
    """Checkpoints by stage, the last of each."""
    stages = {load_state(place).stage: place for place in job.start_from}
    return {stage: place for stage, place in stages.items() if stage in job.stage.consults}


def _global_batches(config: RunConfig, phase: str, dataset: Dataset, epoch: int) -> NDArray[np.int64]:
    """Indices (S, G) of every global batch of an epoch: the same for any number of ranks."""
    settings, seed = config.phases[phase], derive_seed(config.seed, phase)
    train = dataset.splits["train"]
    if settings.images_per_identity is None:
        return shuffled_batches(len(train), settings.batch_size, seed, epoch)
    identities = settings.batch_size // settings.images_per_identity
    return balanced_batches(train.pids_N, identities, settings.images_per_identity, seed, epoch)


def _by_module(names: tuple[str, ...]) -> str:
    """Names of weights, counted by the two leading modules."""
    counts = Counter(".".join(name.split(".")[:2]) for name in names)
    return ", ".join(f"{module} ({count})" for module, count in counts.items()) or "none"


def _followed(metrics: Mapping[str, float], stage: Stage) -> dict[str, float]:
    """What is kept of the scores of a sample: the stage's headline, and rank-1 where there is one."""
    kept = dict.fromkeys((stage.headline[0], RANK1))
    return {name.replace("eval/", "sample/", 1): metrics[name] for name in kept if name in metrics}


def _is_scored(job: PhaseJob, epoch: int) -> bool:
    every = job.config.evaluation.every
    if job.scoring == "off" and job.stage.describes:
        return False
    return epoch + 1 == job.settings.epochs or (every > 0 and (epoch + 1) % every == 0)
