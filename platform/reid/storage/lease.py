"""Leases: which process may write to a folder, and until when, as all nodes that share the storage see it.

pyarrow.fs has no write that fails where another was first, so whoever wants a lease writes a claim of its own, a file
with a name that nobody else has, and looks who else did:

1. A claim that is there already has the lease, unless it has ended: it was not renewed for `LEASE_S` + `SLACK_S`
   seconds, by the storage's own clock, or its process ran on this machine and is there no more.
2. Else the claim is written. When that took longer than the time to settle it is withdrawn, and all begins again.
3. After the time to settle all that wrote one see each other's. The first by name has the lease; the others withdraw.
4. Claims that had ended are deleted: a process that stood still finds that it has none, and stops.

A holder whose last renewal is longer ago than `LEASE_S`, by its own clock, stops by itself. So two never write at
once where listings show what was written before, clocks run equally fast (within `SLACK_S` in `LEASE_S`), and what a
holder had begun to write when it was stopped is over within `SLACK_S`. What clocks show does not matter.
"""

import json
import logging
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import pyarrow.fs

from reid.storage.holder import Holder
from reid.storage.place import Place

logger = logging.getLogger(__name__)

LEASE_S = 60.0
"""That a lease lasts after it was renewed."""
RENEWAL_S = 10.0
"""Between two renewals."""
SLACK_S = 15.0
"""That others wait longer than the holder itself would."""
SETTLE_LOCAL_S, SETTLE_REMOTE_S = 0.2, 2.0
"""That a claim takes at most to be written; all that use a folder must agree on it."""
ATTEMPTS = 20
CLAIM = ".claim"


class HeldError(ValueError):
    """Another process has the lease."""

    def __init__(self, what: str, holder: Holder, ends_in_s: float) -> None:
        super().__init__(
            f"{what} is being trained by another process, {holder}: wait for it (its lease ends in {ends_in_s:.0f} s "
            "unless it is renewed), or set another name or seed"
        )
        self.holder = holder


class LeaseLostError(ValueError):
    """The lease has ended, or is another's by now: nothing more may be written."""


class Lease:
    """A lease that this process has, renewed by a thread as long as its context lasts.

    Args:
        claim: its file, which says `text`.
        what: is held, for messages.
        renewed: when, by `clock`.
    """

    def __init__(self, claim: Place, text: str, what: str, *, renewed: float) -> None:
        self.claim = claim
        self._text, self._what, self._renewed = text, what, renewed
        self._lost: LeaseLostError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_again_and_again, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.claim.delete()

    def require(self) -> None:
        """
        Raises:
            LeaseLostError: it has ended, or another process has taken it.
        """
        idle = clock() - self._renewed
        if self._lost is None and idle > LEASE_S:
            self.claim.delete()
            self._lost = LeaseLostError(
                f"{self._what} is no longer this process's, whose lease was not renewed for {idle:.0f} s: "
                + _successor(self.claim)
            )
        if self._lost is not None:
            raise self._lost

    def _renew_again_and_again(self) -> None:
        while not self._ended.wait(RENEWAL_S):
            try:
                self._renew()
            except LeaseLostError as error:
                self._lost = error
                logger.error("%s", error)
                return
            except OSError as error:
                logger.warning("the lease %s was not renewed: %s", self.claim, error)

    def _renew(self) -> None:
        self.require()
        require_claim(self.claim, self._what)
        began = clock()
        self.claim.write(self._text)
        self.require()  # else it stood still in between, and its claim may have been deleted before
        self._renewed = began


@contextmanager
def hold(folder: Place, what: str, holder: Holder) -> Iterator[Lease]:
    """Hold the lease whose claims lie in a folder, until the context ends.

    Args:
        what: is held, for messages.

    Raises:
        HeldError: another process has it.
        ConnectionError: the storage is too slow.
    """
    for _ in range(ATTEMPTS):
        lease = _claimed(folder, what, holder, _ended_claims(folder, what))
        if lease is not None:
            with lease:
                yield lease
            return
    raise ConnectionError(f"{folder}: no small file could be written and seen there in good time; try again later")


def require_claim(claim: Place | None, what: str) -> None:
    """See that a claim is still there: for processes that write on behalf of its holder; none = there is no lease.

    Raises:
        LeaseLostError: it is not.
    """
    if claim is not None and not claim.exists():
        raise LeaseLostError(f"{what} is no longer this process's: {_successor(claim)}")


def clock() -> float:
    """Seconds that pass also while this process stands still, or the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def _ended_claims(folder: Place, what: str) -> dict[str, int]:
    """Claims that have ended, by name, with when they were renewed last.

    Raises:
        HeldError: there is one that has not.
    """
    claims = _claims(folder)
    now = None
    for name, renewed in claims.items():
        holder = _holder_of(folder / name)
        if holder is not None and not holder.has_died:
            now = _now(folder) if now is None else now
            left_s = LEASE_S + SLACK_S - (now - renewed) / 1e9
            if left_s >= 0:
                raise HeldError(what, holder, left_s)
    return claims


def _claimed(folder: Place, what: str, holder: Holder, ended: dict[str, int]) -> Lease | None:
    """The lease, where this process gets it; none where it must look again.

    Raises:
        HeldError: another process was faster.
    """
    settle_s = SETTLE_LOCAL_S if folder.is_local else SETTLE_REMOTE_S
    claim = folder / f"{uuid.uuid4().hex}{CLAIM}"
    text = json.dumps(holder.to_json() | {"since": time.strftime("%Y-%m-%d %H:%M:%S %z")})
    lease, began = None, clock()
    if _claims(folder) != ended:
        return None
    try:
        claim.write(text)
        if clock() - began <= settle_s:
            time.sleep(settle_s)
            rivals = (name for name, renewed in _claims(folder).items() if ended.get(name) != renewed)
            first = min(rivals, default="")
            if first == claim.name:
                for name in ended:
                    (folder / name).delete()
                lease = Lease(claim, text, what, renewed=began)
            elif (rival := _holder_of(folder / first)) is not None:
                raise HeldError(what, rival, LEASE_S + SLACK_S)
    finally:
        if lease is None:
            claim.delete()
    return lease


def _claims(folder: Place) -> dict[str, int]:
    """When each was written, in nanoseconds by the storage's own clock; by name."""
    filesystem, path = folder.resolve()
    found = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
    return {f.base_name: f.mtime_ns for f in sorted(found, key=lambda f: f.base_name) if f.base_name.endswith(CLAIM)}


def _now(folder: Place) -> int:
    """The storage's own clock, as `_claims` states it."""
    probe = folder / f"now-{uuid.uuid4().hex}"
    probe.write("")
    filesystem, path = probe.resolve()
    now: int = filesystem.get_file_info(path).mtime_ns
    probe.delete()
    return now


def _holder_of(claim: Place) -> Holder | None:
    """None where it was withdrawn, or says nothing that can be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Holder.from_json(json.loads(claim.read()))
    return None


def _successor(claim: Place) -> str:
    """Who has the lease in the place of a claim's holder, for messages."""
    folder = claim.parent
    others = [name for name in _claims(folder) if name != claim.name]
    if not others:
        return "nobody has it now, so the same command goes on"
    said = json.loads((folder / others[-1]).read())
    return f"{Holder.from_json(said)} has had it since {said['since']}"
