"""The folder of a run: found again by the same command, held by one driver at a time."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from filelock import FileLock, Timeout

from reid.config import RunConfig
from reid.training.storage import Storage

PHASES = "phases.json"
RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run and what it has finished so far."""

    key: str
    storage: Storage

    @property
    def folder(self) -> str:
        return self.storage.place("runs", self.key)

    def checkpoints(self) -> dict[str, str]:
        """Last checkpoints of the finished phases."""
        finished: dict[str, str] = json.loads(self.storage.read("runs", self.key, PHASES) or "{}")
        return finished

    def finish_phase(self, phase: str, checkpoint: str) -> None:
        text = json.dumps(self.checkpoints() | {phase: checkpoint}, indent=1)
        self.storage.write(text, "runs", self.key, PHASES)

    def finish(self, result: dict[str, dict[str, float]]) -> None:
        """Mark the whole run as finished: the same command starts a new run from now on."""
        self.storage.write(json.dumps(result, indent=1), "runs", self.key, RESULT)

    @property
    def is_finished(self) -> bool:
        return self.storage.read("runs", self.key, RESULT) is not None


@contextmanager
def claim_run(
    storage: Storage,
    config: RunConfig,
    digests: tuple[str, ...],
    *,
    kind: str = "pipeline",
    without: Mapping[str, Any] = MappingProxyType({"ablation": True, "search": True}),
) -> Iterator[Run]:
    """The unfinished run of this configuration on this data, else a new one; held until the context ends.

    Where a run lies, how it is spread over the cluster and where it is recorded do not make it another run.

    Args:
        digests: digests of the data it is trained on.
        kind: the job whose run it is.
        without: further settings that do not make it another run, in the form of pydantic's `exclude`.

    Raises:
        ValueError: another process of this node is at that run right now.
    """
    settings = config.model_dump(mode="json", exclude={"storage": True, "scaling": True, "tracking": True, **without})
    digest = hashlib.sha256(json.dumps([settings, *digests], sort_keys=True).encode()).hexdigest()[:8]
    name = config.name if kind == "pipeline" else f"{config.name}-{kind}"
    for number in itertools.count(1):
        run = Run(key=f"{name}-{digest}" + (f"-{number}" if number > 1 else ""), storage=storage)
        if run.is_finished:
            continue
        lock = storage.scratch / "runs" / f"{run.key}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                yield run
        except Timeout:
            raise ValueError(
                f"run {run.key} is being trained by another process: wait for it, or set another name or seed"
            ) from None
        return
