"""What MLflow should hold of a run, as plain data."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["RUNNING", "FINISHED", "FAILED"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Metrics read at one step; `time` is seconds since 1970."""

    step: int
    time: float
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class DatasetInput:
    """A dataset that a run read, by the digest of its content."""

    name: str
    digest: str
    source: str
    context: str
    profile: dict[str, int]
    """Counts by split."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The whole of a run as it stands: a later record of the same key takes the place of an earlier one."""

    key: str
    """Identifies the run for ever; found again in MLflow by the tag `reid.run`."""
    name: str
    status: Status
    parent: str | None = None
    """Key of the parent run."""
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    inputs: tuple[DatasetInput, ...] = ()
    artifacts: dict[str, str] = field(default_factory=dict)
    """Files and folders, local paths or pyarrow.fs URIs, by their folder among the run's artifacts ("" = the root)."""
    model: str | None = None
    """Name of the model that the run trains; its `eval/*` metrics are tied to it."""
    checkpoint: str | None = None
    """The model's finished checkpoint, a local path or a pyarrow.fs URI."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "RunRecord":
        return cls(
            **tree
            | {
                "measurements": tuple(Measurement(**measurement) for measurement in tree["measurements"]),
                "inputs": tuple(DatasetInput(**dataset) for dataset in tree["inputs"]),
            }
        )
