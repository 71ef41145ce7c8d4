"""What the benchmarks share: rows that set ours against theirs, times taken in turns, memory, and the command line."""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison on this machine."""

    name: str
    ours: float
    theirs: float
    unit: Literal["ms", "MiB", "images/s", "trials/s"]
    aim: float | None
    """The ratio to reach; None where the row only informs."""
    equal: bool | None
    """Whether both computed the same; None where there is nothing to compare."""

    @property
    def ratio(self) -> float:
        """How many times better ours is: a higher rate, a shorter time, less memory."""
        return self.ours / self.theirs if self.unit.endswith("/s") else self.theirs / self.ours

    @property
    def verdict(self) -> str:
        if self.equal is False:
            return "NOT EQUAL"
        return "below aim" if self.aim is not None and self.ratio < self.aim else ""


Run = Callable[..., list[Row]]
"""A benchmark: sizes by name in, rows out."""


def medians(
    *functions: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Median seconds of each function. They take turns, so that a busy spell of the machine meets all of them alike.

    Args:
        functions: each is called once more, beforehand, to warm up.
        repeats: rounds that count.
        clock: `time.process_time` for work on one thread, which other processes then disturb less.
    """
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(1 + repeats):
        for function, times in zip(functions, seconds, strict=True):
            start = clock()
            function()
            times.append(clock() - start)
    return [statistics.median(times[1:]) for times in seconds]


def peak_memory() -> float:
    """Peak resident memory of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def forget_peak_memory() -> float:
    """Have the peak start again from what is resident now (Linux), which is returned."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def show(rows: Sequence[Row]) -> None:
    """Print one table; at its full width where the output is a file."""
    table = Table("", "ours", "theirs", "unit", "ratio", "aim", "equal", "", box=None, pad_edge=False)
    for column in table.columns[1:6]:
        column.justify = "right"
    for row in rows:
        figures = [f"{value:,.1f}" if value < 1000 else f"{value:,.0f}" for value in (row.ours, row.theirs)]
        aim = "–" if row.aim is None else f"{row.aim:g}"
        equal = {True: "yes", False: "no", None: "–"}[row.equal]
        table.add_row(row.name, *figures, row.unit, f"{row.ratio:.2f}", aim, equal, row.verdict)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def main(run: Run, parser: argparse.ArgumentParser, quick: dict[str, Any]) -> None:
    """The command line of one benchmark; exit status 1 where results are not equal.

    Args:
        run: called with the parser's arguments.
        parser: knows the benchmark's sizes.
        quick: the smallest sizes, in place of the defaults.
    """
    parser.add_argument(
        "--quick", action="store_true", help="the smallest sizes: shows that all works, measures little"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there instead of printing them")
    if "--quick" in sys.argv:
        parser.set_defaults(**quick)
    given = vars(parser.parse_args())
    file, is_quick = given.pop("json"), given.pop("quick")
    rows = run(**given)
    if is_quick:  # aims are for the real sizes
        rows = [dataclasses.replace(row, aim=None) for row in rows]
    if file is None:
        show(rows)
    else:
        file.write_text(json.dumps([dataclasses.asdict(row) for row in rows]))
    sys.exit(any(row.equal is False for row in rows))


def read_rows(file: Path) -> list[Row]:
    """What `--json` wrote."""
    return [Row(**row) for row in json.loads(file.read_text())]
