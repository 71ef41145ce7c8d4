"""All of a phase's state but the tensors, in the form in which its checkpoint states it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from reid.config import Attribute, ConfigError, Count, RunConfig, Section, validate_config
from reid.training.stage import Labels

FORMAT = 2


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another architecture."""

    @property
    def problem(self) -> str:
        """What is wrong, without what to do."""
        return str(self)


class DamagedCheckpointError(CheckpointError):
    """A checkpoint is not what it was when it was written.

    Args:
        problem: what is wrong with it.
        location: the checkpoint's.
    """

    def __init__(self, problem: str, location: str) -> None:
        super().__init__(problem, location)

    @property
    def problem(self) -> str:
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.problem}: use another checkpoint, or delete {self.args[1]} and give the command of its run again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one finished epoch measured; `time` is seconds since 1970."""

    epoch: int
    time: float
    metrics: dict[str, float]
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    """Where rank 0's time went: `batches`, `steps`, `scoring`, and `saving` the checkpoint of the epoch before."""
    cmc: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    """See `Evaluation`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseState:
    """All of a phase's state but the tensors."""

    phase: str
    config: RunConfig
    num_identities: int
    attributes: dict[str, Attribute]
    texture_layout: str | None = None
    """See `Labels`."""
    history: tuple[EpochRecord, ...]
    run: str | None = None
    """Key of the run that records it; None where none does."""

    @property
    def labels(self) -> Labels:
        return Labels(
            num_identities=self.num_identities, attributes=self.attributes, texture_layout=self.texture_layout
        )

    @property
    def stage(self) -> str:
        """Name of the stage that was trained."""
        return self.config.phases[self.phase].stage

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "phase": self.phase,
            "config": self.config.model_dump(mode="json"),
            "num_identities": self.num_identities,
            "attributes": {name: attribute.model_dump(mode="json") for name, attribute in self.attributes.items()},
            "texture_layout": self.texture_layout,
            "history": [dataclasses.asdict(record) for record in self.history],
            "run": self.run,
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "PhaseState":
        if tree["format"] != FORMAT:
            raise CheckpointError(
                f"checkpoint format {str(tree['format'])[:40]} is not {FORMAT}: use the release that wrote it"
            )
        fields = _PhaseFile.model_validate(tree)
        config = validate_config(fields.config)
        if fields.phase not in config.phases:
            raise ConfigError(f"there is no phase {fields.phase[:64]}")
        return cls(
            phase=fields.phase,
            config=config,
            num_identities=fields.num_identities,
            attributes=fields.attributes,
            texture_layout=fields.texture_layout,
            history=fields.history,
            run=fields.run,
        )


class _PhaseFile(Section):
    """What `phase.json` says."""

    format: int
    phase: str
    config: dict[str, Any]
    num_identities: Count
    attributes: dict[str, Attribute]
    texture_layout: str | None = None
    history: tuple[EpochRecord, ...]
    run: str | None = None
    digests: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the other files, by name."""
