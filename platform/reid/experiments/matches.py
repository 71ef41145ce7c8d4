"""Finds the nearest of a table's images to every image of another, spread over the cluster.

Legend: Q queries of a share, D length of a descriptor, K nearest images.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import torch

from reid.cluster import connect, map_on_workers, require_placeable, uses_gpu
from reid.config import RunConfig
from reid.data import DataError, DescriptorTable, write_rows
from reid.evaluation import nearest
from reid.experiments.extraction import require_writable
from reid.progress import say_result, track
from reid.storage import Place
from reid.training import choose_device

QUERIES_AT_ONCE = 1024
"""Of a task, which reads all of the table once for them."""
COLUMNS = pa.schema(
    [
        *(("query", pa.int64()), ("query_split", pa.string()), ("query_name", pa.string())),
        *(("rank", pa.int64()), ("distance", pa.float64())),
        *(
            ("row", pa.int64()),
            ("split", pa.string()),
            ("name", pa.string()),
            ("pid", pa.int64()),
            ("camid", pa.int64()),
        ),
    ]
)
"""Of the file: query and image by their rows, `rank` from 1, Euclidean `distance`; the rest as in the tables."""


@dataclass(frozen=True, kw_only=True)
class Matching:
    """What is looked for, where, and where the matches are written."""

    queries: Place
    table: Place
    matches: Place
    top: int
    """How many to find for each query."""


def match_tables(config: RunConfig, matching: Matching) -> None:
    """Write a row for each query and each image that is nearest to it: see `Matcher`.

    Raises:
        ValueError: a table is none, their models differ, or the file cannot be written.
    """
    queries, table = DescriptorTable(matching.queries), DescriptorTable(matching.table)
    if queries.origin.digest != table.origin.digest:
        raise DataError(
            f"{queries.path} and {table.path} were written with different models: describe both with the same"
        )
    require_writable(matching.matches)
    every = range(len(queries))
    shares = [every[start : start + QUERIES_AT_ONCE] for start in every[::QUERIES_AT_ONCE]]

    def rows(found: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with track("looking up", len(queries), "queries") as advance:
            for share, batch in zip(shares, found, strict=True):
                advance(len(share))
                yield batch

    if config.scaling.num_workers:
        connect(config.extensions)
        require_placeable(config.scaling)
        device = torch.device("cuda" if uses_gpu(config.scaling) else "cpu")
        make = functools.partial(Matcher, matching, device)
        found = map_on_workers(make, shares, config.scaling)
    else:
        found = map(Matcher(matching, choose_device(config.scaling)), shares)
    try:
        with matching.matches.from_this_node() as file:
            count = write_rows(file, rows(found))
    except OSError as error:
        raise DataError(f"{matching.matches} cannot be written ({error}): choose another --output") from error
    say_result(f"matches: {count:,} rows in {matching.matches}")


class Matcher:
    """Looks up one share of the queries after another.

    It gives a row for each query and each of the images nearest to it: `COLUMNS`.
    """

    def __init__(self, matching: Matching, device: torch.device) -> None:
        self._queries, self._table = DescriptorTable(matching.queries), DescriptorTable(matching.table)
        self._top, self._device = matching.top, device

    def __call__(self, share: range) -> pa.RecordBatch:
        query_QD = torch.cat(list(self._queries.blocks(share[0], share[-1] + 1))).to(self._device)
        found = nearest(query_QD, self._table.blocks(), self._top)
        labels = iter(self._table.rows(found.rows_QK.ravel()))
        return pa.RecordBatch.from_pylist(
            [
                {"query": query, "query_split": asked["split"], "query_name": asked["name"], "rank": rank}
                | {"distance": distance, "row": row, **next(labels)}
                for query, asked, rows_K, distances_K in zip(
                    share, self._queries.rows(share), found.rows_QK.tolist(), found.distances_QK.tolist(), strict=True
                )
                for rank, (row, distance) in enumerate(zip(rows_K, distances_K, strict=True), start=1)
            ],
            COLUMNS,
        )
