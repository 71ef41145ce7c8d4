"""What MLflow should hold of a run, as plain data."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter

from reid.config import without_passwords

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
    """A run as it stands: a later record of the same key takes the place of an earlier one, see `after`.

    Its tags, parameters, note and card hold no password: those of addresses in them are masked.
    """

    key: str
    """Identifies the run for ever; found again in MLflow by the tag `reid.run`."""
    name: str
    status: Status
    parent: str | None = None
    """Key of the parent run."""
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    note: str = ""
    """What people read of it, in Markdown: `](run:KEY)` links to another run, `](file:PATH)` to an artifact of its own,
    and `![](file:PATH)` shows one."""
    inputs: tuple[DatasetInput, ...] = ()
    artifacts: dict[str, str] = field(default_factory=dict)
    """Files and folders, local paths or pyarrow.fs URIs, by their folder among the run's artifacts ("" = the root)."""
    model: str | None = None
    """Name of the model that the run trains; its `eval/*` metrics are tied to it."""
    checkpoint: str | None = None
    """The model's finished checkpoint, a local path or a pyarrow.fs URI."""
    model_files: tuple[str, ...] = ()
    """Names of the checkpoint's files that MLflow gets."""
    card: str = ""
    """What people read of the model, in Markdown."""
    time: float = 0.0
    """When it was kept to be sent, in seconds since 1970."""

    def __post_init__(self) -> None:
        for name in ("tags", "params"):
            masked = {key: without_passwords(value) for key, value in getattr(self, name).items()}
            object.__setattr__(self, name, masked)
        for name in ("note", "card"):
            object.__setattr__(self, name, without_passwords(getattr(self, name)))

    def after(self, earlier: "RunRecord") -> "RunRecord":
        """This record in the place of an earlier one of the run that was never sent.

        Nothing measured is lost, and a run that has finished does not go on: who says so has not heard of its end.
        """
        latest = earlier if (earlier.status, self.status) == ("FINISHED", "RUNNING") else self
        other = self if latest is earlier else earlier
        said = {(m.step, name) for m in latest.measurements for name in m.metrics}
        more = [
            replace(m, metrics=metrics)
            for m in other.measurements
            if (metrics := {name: value for name, value in m.metrics.items() if (m.step, name) not in said})
        ]
        return replace(latest, measurements=(*more, *latest.measurements))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, tree: object) -> "RunRecord":
        """
        Raises:
            ValueError: it is no record.
        """
        return TypeAdapter(cls).validate_python(tree)
