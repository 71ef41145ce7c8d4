"""Leases: one process at a time, also where some are killed, stand still, or run on other machines."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from reid.storage import HeldError, Holder, LeaseLostError, Place, hold, lease, require_claim

QUICK = {"LEASE_S": 1.0, "RENEWAL_S": 0.2, "SLACK_S": 0.5, "SETTLE_REMOTE_S": 0.3}
HOLDER = f"""
import sys, time
from reid.storage import Holder, LeaseLostError, Place, hold, lease
vars(lease).update({QUICK})
with hold(Place(sys.argv[1]), "run walk-1", Holder.here("pipeline")) as held:
    print(held.claim, flush=True)
    try:
        while True:
            held.require()
            with open(sys.argv[2], "ab", buffering=0) as sink:
                sink.write(b".")
            time.sleep(0.01)
    except LeaseLostError as error:
        print(error, flush=True)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setattr(lease, name, value)


@pytest.fixture(params=["local", "uri"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    root = tmp_path / "runs" / "walk-1" / "lease"
    return Place(root if request.param == "local" else root.as_uri())


@contextmanager
def another(folder: Place, sink: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lease, and writes to a file as long as it may."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder, sink],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "platform")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(folder)
        yield process
    finally:
        process.kill()
        process.communicate()


def take(folder: Place, holder: Holder | None = None) -> None:
    with hold(folder, "run walk-1", holder or Holder.here("sweep")):
        pass


def test_of_many_that_want_it_at_the_same_moment_one_has_it(
    in_processes: Callable[..., list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SETTLE_REMOTE_S", 0.5)
    folder = Place((tmp_path / "lease").as_uri())

    def want(number: int) -> None:
        for attempt in range(3):
            try:
                with hold(folder, "it", Holder.here("sweep")):
                    os.close(os.open(tmp_path / "held", os.O_CREAT | os.O_EXCL))  # fails where two have it
                    (tmp_path / f"had-{number}-{attempt}").touch()
                    time.sleep(0.2)
                    (tmp_path / "held").unlink()
            except HeldError:
                time.sleep(0.1 * number)

    assert in_processes(6, want) == [0] * 6
    assert list(tmp_path.glob("had-*"))
    assert folder.names() == []


def test_who_holds_it_and_until_when_is_said(folder: Place, tmp_path: Path, quick: None) -> None:
    with another(folder, tmp_path / "sink") as holder:
        with pytest.raises(HeldError, match=rf"run walk-1 is .* pipeline on \S+, process {holder.pid}: .* ends in 1 s"):
            take(folder)
        time.sleep(2 * QUICK["LEASE_S"])  # it is renewed
        with pytest.raises(HeldError):
            take(folder)
    take(folder)


def test_a_killed_holder_is_noticed_at_once_on_its_machine(folder: Place, tmp_path: Path) -> None:
    with another(folder, tmp_path / "sink") as holder:
        holder.kill()  # and not yet waited for
        while Path(f"/proc/{holder.pid}/stat").read_text().split()[2] != "Z":
            time.sleep(0.01)
        began = time.monotonic()
        take(folder)
        assert time.monotonic() - began < lease.LEASE_S / 2


def test_a_dead_holder_of_another_machine_has_it_until_it_ends(folder: Place, quick: None) -> None:
    elsewhere = replace(Holder.here("sweep"), machine="another", started="long ago", host="far")
    claim = folder / f"0{lease.CLAIM}"
    claim.write(json.dumps(elsewhere.to_json() | {"since": "then"}))
    with pytest.raises(HeldError, match="sweep on far"):
        take(folder)
    time.sleep(QUICK["LEASE_S"] + QUICK["SLACK_S"] + 0.1)
    take(folder)
    assert not claim.exists()


def test_clocks_of_holders_do_not_matter(folder: Place, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    """One whose clock is a year ahead finds a living claim living."""
    with hold(folder, "it", Holder.here("sweep")):
        monkeypatch.setattr(time, "time", lambda: 2e9)
        with pytest.raises(HeldError):
            take(folder)


@pytest.mark.parametrize("taken", [True, False])
def test_a_holder_that_stood_still_writes_nothing_more(folder: Place, tmp_path: Path, quick: None, taken: bool) -> None:
    sink = tmp_path / "sink"
    with another(folder, sink) as holder:
        while not sink.exists():
            time.sleep(0.01)
        os.kill(holder.pid, signal.SIGSTOP)
        time.sleep(0.1)
        written = sink.stat().st_size
        with pytest.raises(HeldError):
            take(folder)
        time.sleep(QUICK["LEASE_S"] + QUICK["SLACK_S"] + 0.1)
        assert holder.stdout is not None
        if taken:
            with hold(folder, "run walk-1", Holder.here("sweep")):
                os.kill(holder.pid, signal.SIGCONT)
                said = holder.stdout.readline()
            assert f"sweep on {os.uname().nodename}, process {os.getpid()} has had it since 20" in said
        else:
            os.kill(holder.pid, signal.SIGCONT)
            said = holder.stdout.readline()
            assert "nobody has it now, so the same command goes on" in said
        assert said.startswith("run walk-1 is no longer this process's, whose lease was not renewed for ")
        assert holder.wait(10) == 0
        assert sink.stat().st_size <= written + 1, "more than what it was about to write"
    take(folder)


def test_whoever_writes_for_the_holder_stops_where_another_has_it(folder: Place, quick: None) -> None:
    with hold(folder, "run walk-1", Holder.here("pipeline")) as held:
        require_claim(held.claim, "phase final")
        held.claim.delete()
        with pytest.raises(LeaseLostError, match="phase final is no longer this process's: nobody has it now"):
            require_claim(held.claim, "phase final")
        time.sleep(2 * QUICK["RENEWAL_S"])
        assert not held.claim.exists(), "it was renewed"
        with pytest.raises(LeaseLostError):
            held.require()
    require_claim(None, "phase final")


def test_a_claim_that_took_too_long_to_write_is_withdrawn(
    folder: Place, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may have looked before it was there, and taken the lease."""
    write = Place.write
    monkeypatch.setattr(Place, "write", lambda place, text: (time.sleep(0.4), write(place, text))[1])
    monkeypatch.setattr(lease, "ATTEMPTS", 2)
    with pytest.raises(ConnectionError, match="no small file could be written and seen there in good time"):
        take(folder)
    assert folder.names() == []


def test_a_process_number_that_was_given_anew_is_another_process() -> None:
    here = Holder.here("sweep")
    assert not here.has_died
    assert replace(here, started="12").has_died
    assert not replace(here, started="12", machine="another").has_died
    assert replace(here, pid=2**22 + 1).has_died
