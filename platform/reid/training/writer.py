"""Checkpoints of a phase, written while it goes on."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from reid.storage import Place, require_claim
from reid.training.checkpoint import Save
from reid.training.job import PhaseJob
from reid.training.phase_folder import Cadence, write_checkpoint
from reid.training.state import PhaseState

logger = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes a copy of what an epoch left in a thread, one checkpoint at a time, so that training waits for none but
    the one before, and for the last.

    As its context ends, so does the writing.

    Args:
        folder: the phase's own.
    """

    def __init__(self, folder: Place, job: PhaseJob) -> None:
        self._folder, self._job = folder, job
        self._cadence = Cadence(job.config.scaling, job.settings.epochs)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[PhaseState] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        failed = None if self._under_way is None else self._under_way.exception()
        if failed is not None:  # as another error is on its way
            logger.warning("a checkpoint in %s was not written: %s", self._folder, failed)

    def after(self, save: Save) -> PhaseState | None:
        """Begin to write what an epoch left, if a checkpoint of it is due.

        Returns:
            What the last checkpoint says that was written since this was asked before; None where none was.

        Raises:
            DiskFullError: there was no room for the one that was under way.
            LeaseLostError: the run is somebody else's by now.
            OSError: the storage did not take it.
        """
        written = self._taken() if self._under_way is not None and self._under_way.done() else None
        epoch = save.state.epoch
        if self._cadence.is_due(epoch):
            written = self._taken() or written
            self._under_way = self._thread.submit(self._write, save.copied())
            if epoch == self._job.settings.epochs:
                written = self._taken()
        return written

    def _taken(self) -> PhaseState | None:
        """What the one under way says, which is waited for; None where there is none."""
        under_way, self._under_way = self._under_way, None
        return None if under_way is None else under_way.result()

    def _write(self, save: Save) -> PhaseState:
        require_claim(self._job.claim, f"phase {self._job.title}")
        write_checkpoint(self._folder, save.state.epoch, save, judged_by=self._job.judged_by)
        return save.state
