"""What a worker is handed of a phase."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from reid.config import PhaseConfig, RunConfig
from reid.data import Dataset, HoldOut, hold_out, open_store
from reid.storage import Place, Storage
from reid.training.optimizer import Rates
from reid.training.stage import Stage

Scoring = Literal["illustrated", "plain", "off"]
"""Whether descriptors are scored, and pictures drawn of that; a stage that does not describe is always checked."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseJob:
    """All that a worker needs to run a phase."""

    config: RunConfig
    phase: str
    stage: Stage
    """The phase's own."""
    store: str
    """The Arrow store it trains on: a local path or a pyarrow.fs URI."""
    beside: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Stores of the run's other kinds of data, by kind, to check the model on."""
    start_from: tuple[str, ...]
    """Last checkpoints of the phases that it inherits from or consults, oldest first."""
    hold_out: HoldOut | None = None
    """Train identities to score on in place of query and gallery, which then stay closed; none = score on those."""
    scoring: Scoring = "illustrated"
    run: str | None = None
    """Key of the run that records it."""
    claim: Place | None = None
    """Of its driver to the run: without it, no checkpoint may be written any more; none = nobody else can write."""

    @property
    def title(self) -> str:
        """What people know it by: its name within its run."""
        return self.phase if self.run is None else self.run.rpartition(".")[2]

    @property
    def settings(self) -> PhaseConfig:
        return self.config.phases[self.phase]

    @property
    def judged_by(self) -> str | None:
        """The metric by which its best checkpoint is kept beside the last, on identities held out of its training."""
        return self.stage.headline[0] if self.hold_out is not None and self.scoring == "illustrated" else None

    @property
    def rates(self) -> Rates:
        """Multiples of the learning rate by module: those of the phase, then those of its stage."""
        return rates_of(self.stage, self.config, self.phase)

    def open(self) -> Dataset:
        """The dataset it trains and is scored on."""
        if self.hold_out is None:
            return open_store(self.store, Storage.of(self.config))
        return hold_out(open_store(self.store, Storage.of(self.config), splits=("train",)), self.hold_out)


def rates_of(stage: Stage, config: RunConfig, phase: str) -> Rates:
    """Multiples of a phase's learning rate by module."""
    return {**stage.rates(config), **config.phases[phase].rates}
