"""What a user sees of a job: on a terminal, in a file, and in the job's log."""

import io
import logging
import re
import warnings
from pathlib import Path

import pytest
import rich
from rich.console import Console
from rich.table import Table

from reid.jobs import terminal as module
from reid.jobs.terminal import Terminal, amounts
from reid.progress import Bar, keep_log_in, listening, move, note, say, show_table

ESCAPE = "\x1b"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 100 columns."""
    file = io.StringIO()
    console = Console(file=file, width=100, height=30, force_terminal=True, color_system=None)
    monkeypatch.setattr(rich, "get_console", lambda: console)
    return file


def test_in_a_file_there_are_lines_with_a_clock_and_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as terminal, listening(terminal):
        say("one")
        note("two")
        move(Bar(title="work", done=1, total=2))
        show_table(Table("a", title="three"))
        move(Bar(title="work", ended=True))
    printed = capsys.readouterr().out
    assert re.match(r"\d\d:\d\d:\d\d one\n", printed)
    assert "two" not in printed
    assert "work" not in printed
    assert "three" in printed
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", printed)


def test_in_a_file_a_long_work_has_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with Terminal() as terminal, listening(terminal):
        for done in range(0, 100, 10):
            move(Bar(title="work", done=done, total=100, unit="images"))
        move(Bar(title="work", done=100, total=100, ended=True))
    lines = [line[9:] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "work: 30 of 100 images, 1/s, 01:10 left",
        "work: 60 of 100 images, 1/s, 00:40 left",
        "work: 90 of 100 images, 1/s, 00:10 left",
    ]


def test_on_a_terminal_bars_move_and_vanish(screen: io.StringIO) -> None:
    with Terminal() as terminal, listening(terminal):
        move(Bar(title="work", done=0, total=4, unit="images"))
        move(Bar(title="work", done=3, total=4, unit="images"))
        terminal._bars.refresh()
        say("a line above")
        move(Bar(title="work", ended=True))
    shown = screen.getvalue()
    assert "3 of 4 images" in shown
    assert "a line above" in shown
    assert "work" not in shown.split("a line above")[-1].split(f"{ESCAPE}[2K")[-1]
    assert shown.count(f"{ESCAPE}[?25l") == shown.count(f"{ESCAPE}[?25h") == 1, "the cursor is hidden, and given back"


@pytest.fixture
def ray_logs(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """Ray's logger as a job has it."""
    logger = logging.getLogger("ray")
    monkeypatch.setattr(logger, "propagate", True)
    return logger


def test_the_log_has_all_of_it_from_the_first_line_on(tmp_path: Path, ray_logs: logging.Logger) -> None:
    with Terminal() as terminal, listening(terminal):
        say("early")
        note("quiet")
        logging.getLogger("reid.data").info("of less weight")
        keep_log_in(tmp_path)
        ray_logs.error("Traceback of Ray's")
        show_table(Table("score"))
        say("postgresql://me:secret@host/db")
    lines = (tmp_path / "job.log").read_text().splitlines()
    text = "\n".join(lines)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d early", lines[0])
    assert all(part in text for part in ("quiet", "of less weight", "Traceback of Ray's", "score", "me:***@host"))
    with Terminal() as terminal, listening(terminal):  # the job goes on another time
        keep_log_in(tmp_path)
        say("later")
    assert (tmp_path / "job.log").read_text().splitlines()[: len(lines)] == lines


@pytest.mark.parametrize(("verbose", "expected"), [(False, False), (True, True)])
def test_verbose_shows_what_else_the_log_alone_keeps(
    verbose: bool, expected: bool, ray_logs: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    with Terminal(verbose=verbose) as terminal, listening(terminal):
        note("carried weights")
        ray_logs.error("Traceback of Ray's")
        warnings.warn("deprecated somewhere", stacklevel=1)
    printed = capsys.readouterr()
    for text in ("carried weights", "Traceback of Ray's", "deprecated somewhere"):
        assert (text in printed.out) == expected
        assert text not in printed.err


def test_warnings_of_our_own_are_for_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as terminal, listening(terminal):
        logging.getLogger("reid.tracking").warning("MLflow is away")
    assert "MLflow is away" in capsys.readouterr().err
    logging.getLogger("reid.tracking").warning("nobody listens any more")
    assert "any more" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((1200, 2000, "images", 24.0), "1,200 of 2,000 images, 50/s, 00:16 left"),
        ((1, 10, "trials", 60.0), "1 of 10 trials, 0.017/s, 09:00 left"),
        ((0, 10, "", 5.0), "0 of 10"),
        ((5, None, "", 3725.0), "1:02:05 so far"),
        ((5, 5, "images", 0.0), "5 of 5 images"),
    ],
)
def test_amounts_are_read_at_a_glance(given: tuple[float, float | None, str, float], text: str) -> None:
    assert amounts(*given) == text
