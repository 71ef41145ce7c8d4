"""What a job has left, and what is wrong with it, for `chaos.py`."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient

from reid.storage import PARTIAL

TIMED = ("train/images_per_second",)
"""Metrics that no two runs share."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a job has left."""

    results: dict[str, str]
    """Digests of weights by phase, or what was drawn and reached by trial."""
    metrics: dict[str, list[float]]
    """All values that MLflow holds, by run, metric and step; of timed metrics, as many zeros."""
    statuses: dict[str, list[str]]
    """In MLflow, by run."""


def outcome_of(job: str, storage: Path, uri: str) -> Outcome:
    """What a job has left in a storage, and in MLflow's experiment of that name."""
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(storage.name)
    metrics: dict[str, list[float]] = {}
    statuses: dict[str, list[str]] = {}
    for run in client.search_runs([found.experiment_id]) if found else ():
        statuses.setdefault(run.info.run_name, []).append(run.info.status)
        for name in (name for name in run.data.metrics if not name.startswith("system/")):
            for metric in client.get_metric_history(run.info.run_id, name):
                value = 0.0 if name in TIMED else metric.value
                metrics.setdefault(f"{run.info.run_name} {name} {metric.step}", []).append(value)
    results = dict(_trials(storage) if job == "sweep" else _weights(storage))
    return Outcome(results=results, metrics=metrics, statuses=statuses)


def complaints(wanted: Outcome, found: Outcome, storage: Path) -> list[str]:
    """Everything in which an outcome is not what it should be, and every file that should not be there."""
    left = [path for path in sorted(storage.rglob("*")) if _is_left_over(path.relative_to(storage))]
    return [
        *(f"other bits: {name}" for name in _differing(wanted.results, found.results)),
        *(f"metric {name}: {found.metrics.get(name)}" for name in _differing(wanted.metrics, found.metrics)),
        *(f"run {name}: {found.statuses.get(name)}" for name in _differing(wanted.statuses, found.statuses)),
        *(f"left over: {path}" for path in left),
    ]


def _differing(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def _is_left_over(path: Path) -> bool:
    is_unsent = path.parts[0] == "outbox" and path.suffix in (".json", ".damaged")
    return PARTIAL in path.name or path.name.startswith(".writable") or is_unsent


def _weights(storage: Path) -> Iterator[tuple[str, str]]:
    for file in storage.glob("runs/*/phases.json"):
        for phase, checkpoint in json.loads(file.read_text()).items():
            for name in ("model.safetensors", "optimizer.safetensors"):
                yield f"{phase}/{name}", hashlib.sha256((Path(checkpoint) / name).read_bytes()).hexdigest()


def _trials(storage: Path) -> Iterator[tuple[str, str]]:
    for file in storage.glob("runs/*/study.db"):
        study = optuna.load_study(study_name=file.parent.name, storage=f"sqlite:///{file}")
        for trial in study.trials:
            yield f"trial {trial.number}", f"{trial.state.name} {trial.params} {trial.values}"
