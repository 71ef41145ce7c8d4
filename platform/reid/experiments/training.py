"""One training of an experiment."""

import dataclasses
from collections.abc import Mapping, Sequence

from reid.config import RunConfig
from reid.data import HoldOut
from reid.stages import stage_of
from reid.storage import Place
from reid.training import Scoring, Stage, best_checkpoint, load_state


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


def best_checkpoints(trainings: Sequence[Training], finished: Mapping[str, Place]) -> dict[str, Place]:
    """Of finished trainings that held identities out: the one that reached most on those, by a title."""
    found: dict[str, Place] = {}
    for training in trainings:
        if training.hold_out is not None:
            last, (metric, short) = finished[training.name], training.stage.headline
            best = best_checkpoint(last.parent, load_state(last).history, metric)
            found |= {} if best is None else {f"{training.name}, best {short} on held-out identities": best}
    return found
