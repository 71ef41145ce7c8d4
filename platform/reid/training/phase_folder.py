"""A phase's own folder: the checkpoints of its last epochs, each of which is there whole or not at all."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from reid.config import ScalingConfig
from reid.storage import Place, room_for, temporary_folder, whole_folder
from reid.training.checkpoint import STATE, Save, require_sound
from reid.training.state import CheckpointError, DamagedCheckpointError, EpochRecord

logger = logging.getLogger(__name__)

PREFIX = "epoch_"
"""Of the names of checkpoints."""
KEPT_CHECKPOINTS = 2
"""So that there is one to fall back to where the last is damaged."""


def checkpoints_in(folder: Place) -> list[Place]:
    """Whole ones, the oldest first."""
    names = sorted(name for name in folder.names() if name.startswith(PREFIX))
    return [folder / name for name in names if (folder / name / STATE).exists()]


def best_checkpoint(folder: Place, history: Sequence[EpochRecord], metric: str) -> Place | None:
    """The one of the epoch that reached most, the first of equal ones; None where none was scored.

    Args:
        metric: of identities that were held out of the training.
    """
    epochs = {int(place.name.removeprefix(PREFIX)): place for place in checkpoints_in(folder)}
    scores = {r.epoch: r.metrics[metric] for r in history if r.epoch in epochs and metric in r.metrics}
    return epochs[max(scores, key=lambda epoch: (scores[epoch], -epoch))] if scores else None


def write_checkpoint(folder: Place, epoch: int, save: Save, *, judged_by: str | None = None) -> Place:
    """Write the checkpoint of an epoch, in the place of a former one of it, and delete all but the last few.

    Args:
        judged_by: also keep the one that is the best by this metric, see `best_checkpoint`; none = not.

    Raises:
        DiskFullError: there is no room for it.
    """
    place = folder / f"{PREFIX}{epoch:04d}"
    if place.is_local:
        with room_for(place, save.size), whole_folder(Path(place), replace=True, lock=False) as partial:
            save(partial)
    else:
        with temporary_folder("checkpoint") as copy:
            with room_for(copy, save.size):
                save(copy)
            place.upload(copy, last=STATE)
    best = None if judged_by is None else best_checkpoint(folder, save.state.history, judged_by)
    for old in checkpoints_in(folder)[:-KEPT_CHECKPOINTS]:
        if old != best:
            old.delete()
    return place


class Cadence:
    """After which epochs of a phase a checkpoint is written.

    Args:
        epochs: of the phase.
    """

    def __init__(self, scaling: ScalingConfig, epochs: int) -> None:
        self._scaling, self._epochs = scaling, epochs
        self._written: int | None = None
        self._time = time.monotonic()

    def is_due(self, epoch: int) -> bool:
        """Asked after each epoch, of which it is the number; if True, a checkpoint of it is written."""
        if self._written is None:
            self._written = epoch - 1
        epochs, minutes = epoch - self._written, (time.monotonic() - self._time) / 60
        enough = epochs >= self._scaling.checkpoint_epochs and minutes >= self._scaling.checkpoint_minutes
        if enough or epoch == self._epochs:
            self._written, self._time = epoch, time.monotonic()
            return True
        return False


def last_sound_checkpoint(folder: Place) -> Place | None:
    """The last checkpoint that is not damaged, with a warning where it is not the last; none where there are none.

    Raises:
        CheckpointError: all there are are damaged, or this version cannot read them.
    """
    checkpoints = checkpoints_in(folder)
    problem = ""
    for checkpoint in reversed(checkpoints):
        try:
            require_sound(checkpoint)
        except DamagedCheckpointError as error:
            problem = error.problem
            continue
        if problem:
            logger.warning("%s: going on from %s, the one before", problem, checkpoint)
        return checkpoint
    if checkpoints:
        raise CheckpointError(
            f"{problem}, and there is none before it to go on from: delete the folder {folder} and give the same "
            "command again, which trains the phase anew"
        )
    return None
