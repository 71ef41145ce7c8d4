"""Every benchmark, one after another in a process of its own, and one table of what they found.

    python benchmarks/run.py --only pooling --quick

Exit status 1 where a benchmark crashed or its results were not equal; a missed aim is shown, and no more.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from comparison import Row, read_rows, show

BENCHMARKS = (
    "input_pipeline",
    "pooling",
    "training_step",
    "known_maps",
    "retrieval",
    "lookup",
    "workers",
    "sweep_throughput",
)


def measure(name: str, options: list[str]) -> tuple[list[Row], bool]:
    """Rows of a benchmark, and whether it ran to its end with equal results."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), "--json", str(file), *options]
        status = subprocess.run(command, check=False).returncode  # noqa: S603 - our own scripts
        return read_rows(file) if file.exists() else [], status == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="run this one; repeatable")
    parser.add_argument(
        "--quick", action="store_true", help="the smallest sizes: shows that all works, measures little"
    )
    given = parser.parse_args()
    rows, failed = [], []
    for name in given.only or BENCHMARKS:
        start = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        found, is_good = measure(name, ["--quick"] if given.quick else [])
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        rows += found
        failed += [] if is_good else [name]
    show(rows)
    if failed:
        sys.exit(f"crashed or not equal: {', '.join(failed)}")


if __name__ == "__main__":
    main()
