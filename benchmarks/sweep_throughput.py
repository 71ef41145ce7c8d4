"""Trials per second of a sweep whose trials cost nothing: what Tune, Optuna and MLflow cost together.

    python benchmarks/sweep_throughput.py --trials 500
    python benchmarks/sweep_throughput.py --trials 2000 --at-once 20 --study postgresql://…

Runs stub trials of the `demo` preset's joint search, three reports each, with every trial in the study and in MLflow,
two at a time on a Ray cluster of its own that counts as many CPUs. "ours" is trials per second. `equal` demands the
study to hold every trial once, MLflow one child for each, and the driver's memory to grow by less than 10% over the
second half.
"""

import argparse
import logging
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import ray
from comparison import Row, main
from mlflow import MlflowClient
from ray import tune

import reid
from reid.cluster import as_result
from reid.config import load_config
from reid.search import (
    LiveView,
    Trial,
    TrialReports,
    Trials,
    find_space,
    open_study,
    run_trials,
    start_values,
)
from reid.storage import Holder
from reid.tracking import Recorder, RunRecord
from reid.training import EpochRecord

QUICK: dict[str, Any] = {"trials": 8}
AIM = 2.0
EPOCHS = 3
GROWTH = 1.1


def stub(config: dict[str, Any]) -> None:
    for epoch in range(1, EPOCHS + 1):
        metrics = {"eval/mAP": epoch / (config["number"] + EPOCHS), "train/total": 1 / epoch}
        tune.report(as_result((EpochRecord(epoch=epoch, time=time.time(), metrics=metrics),)))


def run(trials: int = 500, at_once: int = 2, study: str | None = None) -> list[Row]:
    config = load_config(preset="demo", overrides=[f"search.trials={trials}", f"phases.final.epochs={EPOCHS}"])
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with tempfile.TemporaryDirectory(prefix="reid-") as folder:
        ray.init(
            address="local",
            num_cpus=at_once,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"py_modules": [str(Path(reid.__file__).parent)]},
            _temp_dir=f"{folder}/ray",
        )
        try:
            rate, growth, once = _sweep(config, Path(folder), at_once, study)
        finally:
            ray.shutdown()
    return [
        Row(
            name=f"sweep, {trials} trials that cost nothing",
            ours=rate,
            theirs=AIM,
            unit="trials/s",
            aim=1,
            equal=once and growth < GROWTH,
        )
    ]


def _sweep(config: Any, folder: Path, at_once: int, address: str | None) -> tuple[float, float, bool]:
    """Trials per second, growth of the driver's memory over the second half, whether all is there once."""
    trials = config.search.trials
    uri = f"sqlite:///{folder}/mlflow.db"
    recorder = Recorder(
        uri=uri,
        experiment="stub",
        artifacts=str(folder / "artifacts"),
        outbox=folder / "outbox",
        storage=str(folder),
    )
    tags = {"reid.kind": "sweep", "reid.model": "fgsam"}
    parent = RunRecord(key="stub", name="stub", status="RUNNING", tags=tags)
    space = find_space("focal_triplet")
    known = start_values(config)
    first = {name: value for name, value in known.items() if name.startswith("loss.")}
    memory: list[int] = []
    started = time.perf_counter()
    with (
        recorder,
        LiveView(name="stub", metric_names=config.search.objectives, total=trials) as view,
    ):
        recorder.put(parent)
        reports = TrialReports(parent, recorder.put, view, epochs=EPOCHS)

        def observe(trial: Trial) -> None:
            reports(trial)
            if trial.ended is not None:
                memory.append(psutil.Process().memory_info().rss)

        name = f"stub-{secrets.token_hex(4)}"
        study = open_study(address or f"sqlite:///{folder}/study.db", name, config.search.objectives)
        ledger = Trials(study, space, config, first=first, driver=Holder.here("sweep"), observe=observe)
        with ledger.holding:
            scaling = config.scaling.model_copy(update={"num_workers": 0})
            run_trials(ledger, stub, scaling=scaling, at_once=lambda: at_once)
    seconds = time.perf_counter() - started
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = [found for found in client.search_experiments() if found.name == "stub"]
    runs = client.search_runs([experiment.experiment_id], "tags.`reid.trial` LIKE '%'", max_results=50_000)
    children = sorted(int(child.data.tags["reid.trial"]) for child in runs)
    print(f"{seconds:.1f} s, memory {[round(rss / 2**20) for rss in memory[:: max(1, trials // 10)]]} MiB", flush=True)
    once = children == list(range(trials)) == [trial.number for trial in study.trials if trial.state.is_finished()]
    return trials / seconds, memory[-1] / memory[len(memory) // 2], once


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--study", help="SQLAlchemy address of a database; none = a SQLite file")
    return parser


if __name__ == "__main__":
    main(run, _parser(), QUICK)
