"""Looking people up in a table of descriptors that stays in its file, against a table that is held in memory.

    python benchmarks/lookup.py --rows 1000000 --dim 512 --threads 1

The naive way reads the whole table and sorts all distances, in float64. Both look up the same queries one by one, each
way in a process of its own, and must find the same rows. Time is that of one query once the table is open, or read;
memory is by how much the process grew at its largest. The file is written first, to the system's temporary folder, and
so it is read from the page cache.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from comparison import Row, forget_peak_memory, main, peak_memory
from pyarrow import feather

from reid.data import DescriptorTable, Origin, rows_of, write_table
from reid.evaluation import nearest

QUICK: dict[str, Any] = {"rows": 9000, "dim": 32, "queries": 2, "threads": 1}
TOP = 10
BATCH = 4096
ORIGIN = Origin(
    images="/images", kind="folder", checkpoint="/model", digest="0", phase="final", height=64, width=32, settings={}
)
Search = Callable[[np.ndarray[Any, Any]], list[int]]
"""Rows that are nearest to a query."""


class Measured(NamedTuple):
    """Of one way."""

    rows: list[list[int]]
    seconds: float
    """Of a query, the median."""
    mib: float


def run(rows: int = 1_000_000, dim: int = 512, queries: int = 5, threads: int = 1) -> list[Row]:
    """Writes a table of random unit vectors and looks up some that are near to rows of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.arrow"
        write_table(path, ORIGIN, _batches(rows, dim))
        ours, theirs = (_measured(way, path, queries, threads) for way in (_in_file, _in_memory))
    name, equal = f"look-up among {rows:,} × {dim}", ours.rows == theirs.rows
    return [
        Row(
            name=f"{name}, a query", ours=1e3 * ours.seconds, theirs=1e3 * theirs.seconds, unit="ms", aim=1, equal=equal
        ),
        Row(name=f"{name}, memory", ours=ours.mib, theirs=theirs.mib, unit="MiB", aim=10, equal=equal),
    ]


def _batches(rows: int, dim: int) -> Iterator[Any]:
    rng = np.random.default_rng(0)
    for start in range(0, rows, BATCH):
        names = [f"{row:07}.jpg" for row in range(start, min(start + BATCH, rows))]
        descriptors = rng.standard_normal((len(names), dim), np.float32)
        yield rows_of(descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True), names)


def _in_file(path: Path) -> Search:
    table = DescriptorTable(path)
    return lambda query: nearest(query[None], table.blocks(), TOP).rows_QK[0].tolist()


def _in_memory(path: Path) -> Search:
    column = feather.read_table(path, memory_map=False)["descriptor"].combine_chunks()
    descriptors = np.asarray(column.flatten()).reshape(len(column), -1)

    def search(query: np.ndarray[Any, Any]) -> list[int]:
        differences = descriptors.astype(np.float64)
        differences -= query
        squares = np.einsum("ij,ij->i", differences, differences)
        return squares.argsort(kind="stable")[:TOP].tolist()

    return search


def _measured(way: Callable[[Path], Search], path: Path, queries: int, threads: int) -> Measured:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured_here, (way, path, queries, threads))


def _measured_here(way: Callable[[Path], Search], path: Path, queries: int, threads: int) -> Measured:
    torch.set_num_threads(threads)
    before = forget_peak_memory()
    table = DescriptorTable(path)
    rng = np.random.default_rng(1)
    asked = [table.descriptor(int(row)).numpy() for row in rng.integers(0, len(table), queries)]
    asked = [query + rng.standard_normal(len(query), np.float32) / len(query) for query in asked]
    search = way(path)
    search(asked[0])
    found, seconds = [], []
    for query in asked:
        started = time.perf_counter()
        found.append(search(query))
        seconds.append(time.perf_counter() - started)
    return Measured(found, statistics.median(seconds), peak_memory() - before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main(run, _parser(), QUICK)
