"""The sweep on a terminal of any size, and in a log."""

import random
import time
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from reid.search.view import LiveView, State, TrialRow, render

EPOCHS = 12
METRICS = ("mAP", "descriptor_dim")
STARTED = 1_000.0


def row(number: int, state: State = "finished", mAP: float | None = None, **fields: Any) -> TrialRow:
    epoch = {"waiting": 0, "running": 5, "finished": EPOCHS, "stopped": 3, "failed": 2}[state]
    values = {} if mAP is None else {"mAP": mAP, "descriptor_dim": 2048.0}
    content: dict[str, Any] = {"epoch": epoch, "epochs": EPOCHS, "values": values, "params": {}} | fields
    return TrialRow(number=number, state=state, **content)


def a_sweep(trials: int, running: int = 4, seed: int = 0) -> list[TrialRow]:
    rng = random.Random(seed)
    rows = []
    for number in range(trials):
        done: State = rng.choice(["finished", "stopped", "failed"])
        state: State = "running" if number >= trials - running else done
        rows.append(
            row(
                number,
                state,
                None if state == "failed" else rng.random(),
                params={
                    "phases.final.learning_rate": rng.random(),
                    "loss.mining": "batch_all",
                    "loss.gamma": rng.uniform(0, 6),
                    "model.layout": rng.choice(["six_parts", "a layout of 全身 with a very long name indeed"]),
                    "loss.alpha": rng.random(),
                },
                paper=number == 0,
                ended=None if state == "running" else STARTED + number,
            )
        )
    return rows


def shown(
    rows: list[TrialRow], *, width: int = 100, height: int = 24, total: int = 500, now: float = 4_600.0
) -> list[str]:
    """The lines on the screen."""
    console = Console(file=StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    screen = render(
        rows,
        name="focal_triplet-3f2a",
        metric_names=METRICS,
        total=total,
        started=STARTED,
        now=now,
        width=width,
        height=height,
    )
    return ["".join(part.text for part in line) for line in console.render_lines(screen, pad=False)]


def section(lines: list[str], label: str) -> list[str]:
    """Trial numbers under a label at the left edge."""
    (start,) = (index for index, line in enumerate(lines) if line.startswith(label))
    end = next((i for i in range(start + 1, len(lines)) if lines[i][:1].strip()), len(lines))
    return [line[9:14].strip() for line in lines[start:end]]


@pytest.mark.parametrize("trials", [0, 1, 5, 40, 500])
@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (200, 60), (60, 10), (20, 5), (8, 2), (40, 1), (120, 3), (80, 4)]
)
def test_it_fits_every_screen(trials: int, width: int, height: int) -> None:
    for running in (0, 3, 200):
        lines = shown(a_sweep(trials, running), width=width, height=height)
        assert 1 <= len(lines) <= height
        assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize(("trials", "running"), [(500, 4), (500, 300), (60, 2)])
def test_a_full_screen_has_no_empty_line(trials: int, running: int) -> None:
    lines = shown(a_sweep(trials, running))
    assert len(lines) == 24
    assert all(line.strip() for line in lines)


def test_the_head_counts_states_and_tells_the_time() -> None:
    states: list[State] = ["finished"] * 5 + ["stopped"] * 3 + ["failed"] * 2 + ["running"] * 4 + ["waiting"] * 6
    rows = [
        row(n, state, 0.5, ended=STARTED + n if state in ("finished", "stopped", "failed") else None)
        for n, state in enumerate(states)
    ]
    title, progress, *_ = shown(rows, total=20, now=STARTED + 3_600)
    assert "focal_triplet-3f2a" in title
    assert "1:00:00, about 1:00:00 left" in title
    assert "10/20 trials · 4 running · 3 stopped · 2 failed" in progress


def test_trials_of_an_earlier_session_do_not_count_for_the_pace() -> None:
    rows = [row(n, mAP=0.5, ended=STARTED - 10 if n < 8 else STARTED + 10) for n in range(10)]
    assert "about 0:05:00 left" in shown(rows, total=20, now=STARTED + 60)[0]
    assert "left" not in shown(rows[:8], total=20, now=STARTED + 60)[0]
    assert "left" not in shown(rows, total=10, now=STARTED + 60)[0]


def test_the_best_finished_trials_come_first_and_the_rest_is_counted() -> None:
    rows = a_sweep(100, running=4)
    lines = shown(rows, height=20)
    scored = sorted(
        (r for r in rows if r.state in ("finished", "stopped")), key=lambda r: (r.state != "finished", -r.values["mAP"])
    )
    best = section(lines, "best")
    assert best[:-1] == [str(r.number) for r in scored[: len(best) - 1]]
    assert best[-1] == f"+{len(scored) - len(best) + 1}"
    assert section(lines, "paper") == ["0"]
    assert section(lines, "running") == ["96", "97", "98", "99"]


def test_many_running_trials_leave_room_for_the_best() -> None:
    lines = shown(a_sweep(300, running=200))
    assert len(section(lines, "best")) >= 10
    assert len(section(lines, "running")) >= 10
    assert section(lines, "running")[-1].startswith("+19")


def test_only_parameters_that_vary_have_a_column_the_papers_first() -> None:
    lines = shown(a_sweep(30), width=160)
    assert lines[2].split() == ["trial", "mAP", "dimensions", "epochs", "α", "γ", "learning_rate", "layout"]


def test_parameters_without_room_are_left_out() -> None:
    header = shown(a_sweep(30), width=64)[2]
    assert "α" in header
    assert "learning_rate" not in header
    rows = [row(n, mAP=0.5, params={"loss.alpha": n / 100, "x" * 13: n}) for n in range(20)]
    for width in range(16, 80):
        assert "…" not in "".join(shown(rows, width=width)[2:])


def test_a_trial_shows_what_it_reached() -> None:
    rows = [
        row(7, mAP=0.6123, params={"loss.alpha": 0.25}),
        row(8, "running", params={"loss.alpha": 0.5, "model.layout": "six_parts"}),
        row(9, "running", 0.1, params={"model.layout": "whole_body"}),
    ]
    _, _, _, best, fresh, other = shown(rows)
    assert best.split()[:5] == ["best", "7", "61.2%", "2048", "12/12"]
    assert best.split()[-1] == "0.25"
    assert fresh.split()[:3] == ["running", "8", "5/12"]
    assert fresh.split()[-2:] == ["0.5", "six_parts"]
    assert other.split()[-1] == "whole_body"


def test_values_are_not_taken_for_markup() -> None:
    rows = [row(number, mAP=0.5, params={"model.[b]": value}) for number, value in enumerate(["[/x]", "[red]:cat:"])]
    lines = shown(rows)
    assert lines[2].split()[-1] == "[b]"
    assert [line.split()[-1] for line in lines[3:5]] == ["[/x]", "[red]:cat:"]


def view_into(file: StringIO, *, terminal: bool, total: int = 20) -> LiveView:
    console = Console(file=file, width=80, height=24, force_terminal=terminal, color_system=None)
    return LiveView(name="focal_triplet-3f2a", metric_names=METRICS, total=total, console=console)


def test_a_log_gets_one_line_for_each_trial_that_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    params = {"loss.alpha": 0.25, "phases.final.learning_rate": 1e-4, "model.layout": "[bold]" + "x" * 80}
    with view_into(StringIO(), terminal=False) as view:
        view.update([row(0, "running", 0.1, params=params), row(1, "waiting")])
        assert capsys.readouterr().out == ""
        ended = time.time() + 1
        first = row(0, mAP=0.6123, params=params, ended=ended)
        view.update([first, row(1, "running")])
        view.update([first, row(1, "failed", ended=ended)])
        view.update([first, row(1, "failed", ended=ended), row(2, "stopped", 0.3, ended=ended)])
    assert capsys.readouterr().out.splitlines() == [
        "[1/20] trial 0 finished: mAP 61.2%, dimensions 2048, 12/12 epochs, "
        f"α 0.25, learning_rate 1e-4, layout [bold]{'x' * 80}",
        "[2/20] trial 1 failed: 2/12 epochs",
        "[3/20] trial 2 stopped: mAP 30.0%, dimensions 2048, 3/12 epochs",
    ]


def test_a_log_does_not_repeat_an_earlier_session(capsys: pytest.CaptureFixture[str]) -> None:
    earlier = [row(n, mAP=0.5, ended=STARTED) for n in range(3)]
    with view_into(StringIO(), terminal=False) as view:
        view.update(earlier[:1])
        view.update(earlier)
        view.update([*earlier, row(3, mAP=0.5, ended=time.time() + 1)])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("[4/20] trial 3 finished")


def test_a_terminal_gets_few_frames_however_many_updates_and_the_last_state_at_the_end() -> None:
    file = StringIO()
    started = time.monotonic()
    with view_into(file, terminal=True, total=300) as view:
        for trials in range(1, 301):
            view.update([replace(each, ended=None) for each in a_sweep(trials, running=1)])
    most = 4 + 2 * (time.monotonic() - started)
    frames = file.getvalue().split("sweep focal_triplet-3f2a")[1:]
    assert 1 <= len(frames) <= most
    assert "299/300 trials · 1 running" in frames[-1]


def test_a_terminal_is_given_back_when_the_sweep_breaks() -> None:
    file = StringIO()
    with pytest.raises(RuntimeError), view_into(file, terminal=True):
        raise RuntimeError
    assert file.getvalue().rstrip("\n").endswith("\x1b[?25h")  # shows the cursor
