"""One training of an experiment."""

import dataclasses

from reid.config import RunConfig
from reid.data import HoldOut
from reid.stages import stage_of
from reid.training import Scoring, Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """One phase, trained under a name of its own."""

    name: str
    config: RunConfig
    """Its own phase is as it will be trained; the others are not trained under this configuration."""
    phase: str
    after: tuple[str, ...] = ()
    """Names of the trainings whose weights it starts from, oldest first."""
    hold_out: HoldOut | None = None
    """See `PhaseJob`; so too `scoring`."""
    scoring: Scoring = "illustrated"
    keeps_model: bool = True
    """Whether MLflow gets its model."""
    folders: tuple[str, ...] | None = None
    """Its place in the run's folder; none = its name, then its phase."""

    @property
    def stage(self) -> Stage:
        return stage_of(self.config, self.phase)
