"""Two workers against one on this machine: images per second and core of the final phase, by Ray Train as in any run.

    python benchmarks/workers.py --images 640 --batch 64

Renders a small split of the embedded benchmark and trains the `demo` preset's final phase from scratch with one worker
and with two, one CPU and one thread each, on a Ray cluster of its own. Throughput is the second epoch's
`train/images_per_second`; "ours" is that of two workers, halved. Batch norm is frozen and the precision fp32, so that
`equal` can demand the same loss of both: `train/total` of every epoch within a relative 1e-3.
"""

import argparse
import dataclasses
import logging
import math
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from comparison import Row, main

import reid
from reid.cluster import fit
from reid.config import load_config
from reid.data import map_in_process, prepare
from reid.embedded import SIZES, render_market1501
from reid.stages import stage_of
from reid.storage import Place
from reid.training import EpochRecord, PhaseJob, load_state

QUICK: dict[str, Any] = {"images": 72, "batch": 16, "preset": "smoke"}
AIM = 0.9
PHASE, EPOCHS = "final", 2
MAX_WORKERS = 2
LOSS_TOLERANCE = 1e-3
LEARNING_RATE = 1e-6
"""Signed square roots of untrained maps are steep: at a larger rate, rounding alone tears two equal runs apart."""


def run(images: int = 640, batch: int = 64, preset: str = "demo") -> list[Row]:
    """Trains with one worker, then with two."""
    with tempfile.TemporaryDirectory(prefix="reid-") as folder, _cluster(Path(folder) / "ray"):
        store = _prepare(Path(folder), preset, images)
        one, two = (_train(Path(folder), store, preset, batch, workers) for workers in range(1, MAX_WORKERS + 1))
    losses = [[record.metrics["train/total"] for record in history] for history in (one, two)]
    rates = [history[-1].metrics["train/images_per_second"] for history in (one, two)]
    return [
        Row(
            name="training, images per second and core, two workers against one",
            ours=rates[1] / MAX_WORKERS,
            theirs=rates[0],
            unit="images/s",
            aim=AIM,
            equal=all(math.isclose(*pair, rel_tol=LOSS_TOLERANCE) for pair in zip(*losses, strict=True)),
        )
    ]


@contextmanager
def _cluster(folder: Path) -> Iterator[None]:
    """A Ray cluster of its own, whatever else runs here; `folder` is short, since it holds Unix sockets."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray.init(
        address="local",
        num_cpus=MAX_WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"py_modules": [str(Path(reid.__file__).parent)]},
        _temp_dir=str(folder),
    )
    try:
        yield
    finally:
        ray.shutdown()


def _prepare(folder: Path, preset: str, images: int) -> Path:
    """An Arrow store with so many training images and next to nothing to score."""
    size = dataclasses.replace(
        SIZES["smoke"], train_images=images, train_identities=max(SIZES["smoke"].train_identities, images // 10)
    )
    render_market1501(folder / "market1501", size=size, seed=0, map_tasks=map_in_process)
    data = load_config(preset=preset).data
    store = folder / "store"
    prepare("embedded", folder / "market1501", store, height=data.height, width=data.width)
    return store


def _train(folder: Path, store: Path, preset: str, batch: int, workers: int) -> tuple[EpochRecord, ...]:
    config = load_config(
        preset=preset,
        overrides=[
            f"storage={folder / 'storage'}",
            f"scaling.num_workers={workers}",
            "scaling.accelerator=cpu",
            "precision=fp32",
            "model.batch_norm=frozen",
            f"phases.{PHASE}.learning_rate={LEARNING_RATE}",
            f"phases.{PHASE}.epochs={EPOCHS}",
            f"phases.{PHASE}.batch_size={batch}",
        ],
    )
    job = PhaseJob(config=config, phase=PHASE, stage=stage_of(config, PHASE), store=str(store), start_from=())
    place = Place(folder / f"workers-{workers}" / PHASE)
    return load_state(fit(job, place=place, observe=lambda state: None)).history


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=640, help="in an epoch")
    parser.add_argument("--batch", type=int, default=64, help="images in a global batch")
    parser.add_argument("--preset", default="demo", help="whose model and final phase are trained")
    return parser


if __name__ == "__main__":
    main(run, _parser(), QUICK)
