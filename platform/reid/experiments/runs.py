"""The folder of a run: found again by the same command, held by one driver at a time."""

import dataclasses
import hashlib
import itertools
import json
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from reid.config import DataError, RunConfig, complaints, load_extensions
from reid.stages import stage_of
from reid.storage import Holder, Lease, Place, Storage, hold
from reid.training import CheckpointError, load_state, load_weights

logger = logging.getLogger(__name__)

PHASES = "phases.json"
RESULT = "result.json"
IDENTITY = "identity.txt"
"""A random token, drawn when the run begins."""
LEASE = "lease"
"""The folder with the claims to the run."""
_FINISHED = TypeAdapter(dict[str, str])

NOT_ANOTHER_RUN = {"storage", "cache_gb", "scaling", "tracking"}
"""Settings of where a run lies, how it is spread over the cluster and where it is recorded."""

Exclude = Mapping[str, bool | set[str]]
"""Settings by name: all of a section, or some of its keys, in the form of pydantic's `exclude`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run and what it has finished so far."""

    key: str
    """Name of its folder."""
    kind: str
    """The job whose run it is."""
    storage: Storage
    lease: Lease | None = None
    """None where another driver of the same run has it, and this one only looks on."""

    @property
    def folder(self) -> Place:
        return self.storage.place("runs", self.key)

    @property
    def scratch(self) -> Path:
        """The run's folder on this node."""
        folder = self.storage.scratch / "runs" / self.key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def identity(self) -> str:
        """What its records are found by: with the same settings, a run in another storage is another one."""
        token = (self.folder / IDENTITY).read_text()
        assert token is not None, f"{self.key} was not claimed"
        return f"{self.key}-{token}"

    def checkpoints(self) -> dict[str, Place]:
        """Last checkpoints of the finished trainings by name.

        Raises:
            DataError: the file that says so is damaged.
        """
        file = self.folder / PHASES
        try:
            finished = _FINISHED.validate_json(file.read() if file.exists() else "{}", strict=True)
        except (OSError, ValueError) as error:
            reason = complaints(error) if isinstance(error, ValidationError) else error
            raise DataError(f"{file} is damaged ({reason}): delete the folder {self.folder} to begin anew") from error
        return {name: Place(place) for name, place in finished.items()}

    def sound_checkpoints(self) -> dict[str, Place]:
        """Of `checkpoints` those that can be read; where one cannot, its training goes on from the one before."""
        sound = self.checkpoints()
        for name, checkpoint in list(sound.items()):
            try:
                load_state(checkpoint)
                load_weights(checkpoint)
            except CheckpointError as error:
                logger.warning("%s: %s is not finished any more", error.problem, name)
                del sound[name]
        return sound

    def require_held(self) -> None:
        """See that this driver may still write to the run.

        Raises:
            LeaseLostError: it may not.
        """
        assert self.lease is not None, f"{self.key} is another driver's"
        self.lease.require()

    def finish_phase(self, name: str, checkpoint: str) -> None:
        self.require_held()
        (self.folder / PHASES).write(json.dumps(self.checkpoints() | {name: checkpoint}, indent=1))

    def finish(self, result: Mapping[str, Mapping[str, float]]) -> None:
        """Mark the whole run as finished: the same command starts a new run from now on."""
        self.require_held()
        (self.folder / RESULT).write(json.dumps(result, indent=1))

    @property
    def has_begun(self) -> bool:
        return (self.folder / IDENTITY).exists()

    @property
    def is_finished(self) -> bool:
        return (self.folder / RESULT).exists()

    def result(self) -> dict[str, dict[str, float]]:
        """What it was finished with."""
        return TypeAdapter(dict[str, dict[str, float]]).validate_json((self.folder / RESULT).read())


def find_run(storage: Storage, config: RunConfig, digests: Sequence[str], *, kind: str, without: Exclude) -> Run:
    """The unfinished run of this configuration on this data, else a new one.

    Args:
        digests: of the data it is trained on, and of whatever else makes it another run.
        kind: the job whose run it is.
        without: settings that do not make it another run, beside `NOT_ANOTHER_RUN`.
    """
    text = json.dumps([_identity(config, without), *digests], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = config.name if kind == "pipeline" else f"{config.name}-{kind}"
    keys = (f"{name}-{digest}" + (f"-{number}" if number > 1 else "") for number in itertools.count(1))
    return next(run for key in keys if not (run := Run(key=key, kind=kind, storage=storage)).is_finished)


@contextmanager
def hold_run(run: Run) -> Iterator[Run]:
    """The run with its lease, which is held until the context ends.

    Raises:
        HeldError: another driver has it.
    """
    with hold(run.folder / LEASE, f"run {run.key}", Holder.here(run.kind)) as lease:
        if not run.has_begun:
            (run.folder / IDENTITY).write(secrets.token_hex(4))
        yield dataclasses.replace(run, lease=lease)


@contextmanager
def claim_run(
    storage: Storage, config: RunConfig, digests: Sequence[str], *, kind: str, without: Exclude
) -> Iterator[Run]:
    """The run of `find_run`, held until the context ends.

    Raises:
        HeldError: another driver has it.
    """
    while True:
        with hold_run(find_run(storage, config, digests, kind=kind, without=without)) as run:
            if not run.is_finished:  # meanwhile
                yield run
                return


def _identity(config: RunConfig, without: Exclude) -> dict[str, object]:
    """The settings that make a run what it is, as plain values."""
    tree = config.model_dump(mode="json", exclude={**dict.fromkeys(NOT_ANOTHER_RUN, True), **without})
    families = {stage_of(config, phase).family for phase in config.phases}
    models = {family: settings for family, settings in tree.pop("models").items() if family in families}
    extensions = [_digest_of(module.__file__) for module in load_extensions(tree.pop("extensions"))]
    return tree | ({"models": models} if models else {}) | ({"extensions": extensions} if extensions else {})


def _digest_of(file: str | None) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
