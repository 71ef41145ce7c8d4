"""A sweep in the terminal: one screen, whatever the number of trials; in a log, a line for each trial that is over."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self

import rich
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reid.progress import say
from reid.search.labels import SYMBOLS, metric_label, short_names, show_metric, show_value

State = Literal["waiting", "running", "finished", "stopped", "failed"]
STYLES: dict[State, str] = {"waiting": "", "running": "cyan", "finished": "", "stopped": "dim", "failed": "red"}
OVER: tuple[State, ...] = ("finished", "stopped", "failed")

REFRESHES_PER_SECOND = 2
BAR_WIDTH = 8
LABEL_WIDTH = 7
NUMBER_WIDTH = 5
GAP = 2
LONGEST_VALUE = 14
HEAD_LINES = 3
"""The sweep's name, its progress, and the names of the columns."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial as it stands."""

    number: int
    state: State
    epoch: int
    """Epochs trained so far."""
    epochs: int
    """Epochs of a full trial."""
    values: Mapping[str, float]
    """The latest of each objective by name; empty before the first."""
    params: Mapping[str, Any]
    """By dotted path."""
    paper: bool = False
    """Whether these are the paper's values."""
    ended: float | None = None
    """When it was over, in seconds since 1970."""


def render(
    rows: Sequence[TrialRow],
    *,
    name: str,
    metric_names: Sequence[str],
    total: int,
    started: float,
    now: float,
    width: int,
    height: int,
) -> RenderableType:
    """The sweep on at most `height` lines of `width` characters; what does not fit is left out, never wrapped.

    The best trials, stopped ones last, the paper's and the running ones share a table; parameters that are the same in
    all trials are left out.

    Args:
        metric_names: the first one ranks the trials, more is better.
        total: trials of the whole sweep.
        started, now: seconds since 1970; `started` of this session, an earlier one's trials do not count for its pace.
    """
    head: list[RenderableType] = [_title(rows, name, total, started, now), _progress(rows, total)]
    space = height - HEAD_LINES
    if space < 1 or not rows:
        return Group(*head[:height])
    best = sorted(
        (row for row in rows if row.state in ("finished", "stopped") and metric_names[0] in row.values),
        key=lambda row: (row.state != "finished", -row.values[metric_names[0]]),
    )
    paper = [row for row in rows if row.paper][:space]
    running = sorted((row for row in rows if row.state == "running"), key=lambda row: row.number)
    space -= len(paper)
    for_running = min(len(running), max(space // 2, space - len(best)))
    sections: dict[str, list[TrialRow | str]] = {
        "best": _cut(best, space - for_running),
        "paper": [*paper],
        "running": _cut(running, for_running),
    }
    return Group(*head, _table(sections, _columns(_varying(rows), metric_names), width))


def _title(rows: Sequence[TrialRow], name: str, total: int, started: float, now: float) -> Table:
    over = sum(row.state in OVER for row in rows)
    lately = sum(row.ended is not None and row.ended >= started for row in rows)
    times = _clock(now - started)
    if lately and over < total:
        times += f", about {_clock((now - started) / lately * (total - over))} left"
    line = Table.grid(expand=True, padding=(0, GAP, 0, 0))
    line.add_column(no_wrap=True, ratio=1)
    line.add_column(no_wrap=True, justify="right")
    line.add_row(Text(f"sweep {name}", style="bold"), times)
    return line


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _progress(rows: Sequence[TrialRow], total: int) -> Table:
    states = Counter(row.state for row in rows)
    over = sum(states[state] for state in OVER)
    counts = [f"{over}/{total} trials", *(f"{states[s]} {s}" for s in ("running", "stopped", "failed") if states[s])]
    line = Table.grid(expand=True, padding=(0, GAP, 0, 0))
    line.add_column(no_wrap=True, ratio=1)
    line.add_column(no_wrap=True, justify="right")
    line.add_row(ProgressBar(total=total, completed=over), " · ".join(counts))
    return line


def _cut(rows: list[TrialRow], lines: int) -> list[TrialRow | str]:
    """What of the rows fits; a last line counts the others."""
    if len(rows) <= lines:
        return [*rows]
    if lines == 1:
        return [rows[0]]
    kept: list[TrialRow | str] = [*rows[: lines - 1]]
    return [*kept, f"+{len(rows) - len(kept)}"] if lines else []


def _varying(rows: Iterable[TrialRow]) -> list[str]:
    """Paths of the parameters that are not the same in all trials: the paper's, then those that most trials have."""
    taken: dict[str, list[Any]] = {path: [] for path in SYMBOLS}
    for row in rows:
        for path, value in row.params.items():
            taken.setdefault(path, []).append(value)
    varying = [path for path, values in taken.items() if len(set(values)) > 1]
    return sorted(varying, key=lambda path: (path not in SYMBOLS, -len(taken[path])))


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table: what it shows of a trial, and how wide that gets."""

    name: str
    show: Callable[[TrialRow], str | ProgressBar]
    justify: Literal["left", "right"] = "right"
    width: int | None = None
    """None: as wide as what it holds."""

    def fitted(self, rows: Iterable[TrialRow]) -> int:
        return self.width or max([cell_len(self.name), *(cell_len(str(self.show(row))) for row in rows)])


def _columns(paths: Sequence[str], metric_names: Sequence[str]) -> list[Column]:
    """In the order in which they are given room."""

    def metric(name: str) -> Column:
        return Column(
            name=metric_label(name), show=lambda row: show_metric(name, row.values[name]) if name in row.values else ""
        )

    def parameter(path: str, name: str) -> Column:
        return Column(name=name, show=lambda row: _short(row.params[path]) if path in row.params else "")

    return [
        *map(metric, metric_names),
        Column(name="epochs", show=lambda row: f"{row.epoch}/{row.epochs}"),
        Column(
            name="",
            width=BAR_WIDTH,
            show=lambda row: ProgressBar(row.epochs, row.epoch, width=BAR_WIDTH),
            justify="left",
        ),
        *(parameter(path, name) for path, name in short_names(paths).items()),
    ]


def _short(value: Any) -> str:
    text = show_value(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _table(sections: Mapping[str, Sequence[TrialRow | str]], columns: Sequence[Column], width: int) -> Table:
    lines = [
        (label if not place else "", line) for label, lines in sections.items() for place, line in enumerate(lines)
    ]
    rows = [line for _, line in lines if isinstance(line, TrialRow)]
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    table.add_column("", style="bold", width=LABEL_WIDTH, no_wrap=True)
    table.add_column("trial", justify="right", width=NUMBER_WIDTH, no_wrap=True)
    left = width - LABEL_WIDTH - NUMBER_WIDTH - 2 * GAP
    shown = []
    for column in columns:
        needed = column.fitted(rows)
        if needed <= left:
            table.add_column(Text(column.name), justify=column.justify, width=needed, no_wrap=True)
            shown.append(column)
            left -= needed + GAP
    for label, line in lines:
        if isinstance(line, TrialRow):
            cells = [Text(cell) if isinstance(cell := column.show(line), str) else cell for column in shown]
            table.add_row(label, str(line.number), *cells, style=STYLES[line.state])
        else:
            table.add_row(label, line, style="dim")
    return table


class LiveView:
    """Shows a sweep while it runs: a table that refreshes twice a second on a terminal, lines anywhere else.

    Args:
        name, metric_names, total: see `render`.
        console: the terminal, if it is one; that of standard output unless given.
    """

    def __init__(self, *, name: str, metric_names: Sequence[str], total: int, console: Console | None = None) -> None:
        self._name = name
        self._metric_names = tuple(metric_names)
        self._total = total
        self._console = console or rich.get_console()
        self._started = time.time()
        self._rows: Sequence[TrialRow] = ()
        self._told: set[int] = set()
        """Numbers of the trials that have had their line, in this session's log or an earlier one's."""
        self._live = Live(
            console=self._console,
            get_renderable=self._rendered,
            refresh_per_second=REFRESHES_PER_SECOND,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def update(self, rows: Iterable[TrialRow]) -> None:
        """Take in how all trials of the sweep stand, those of earlier sessions included."""
        self._rows = tuple(rows)
        if not self._console.is_terminal:
            self._tell()

    def _rendered(self) -> RenderableType:
        return render(
            self._rows,
            name=self._name,
            metric_names=self._metric_names,
            total=self._total,
            started=self._started,
            now=time.time(),
            width=self._console.width,
            height=self._console.height - 1,  # the cursor has the last line
        )

    def _tell(self) -> None:
        over = [row for row in self._rows if row.state in OVER and row.number not in self._told]
        names = short_names(path for row in self._rows for path in row.params) if over else {}
        for row in over:
            self._told.add(row.number)
            if row.ended is not None and row.ended < self._started:
                continue
            reached = [f"{metric_label(name)} {show_metric(name, value)}" for name, value in row.values.items()]
            params = [f"{names[path]} {show_value(value)}" for path, value in row.params.items()]
            said = ", ".join([*reached, f"{row.epoch}/{row.epochs} epochs", *params])
            line = f"[{len(self._told)}/{self._total}] trial {row.number} {row.state}: {said}"
            say(line)
