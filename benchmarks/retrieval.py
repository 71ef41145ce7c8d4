"""Streamed retrieval scores: their time against the matrix product alone, and their memory at two gallery sizes.

    python benchmarks/retrieval.py --queries 3368 --gallery 15913 --dim 2048 --threads 1 2

The product of the features, written into memory that is already there, is the least that any evaluation computes. In
"clusters" matches are mostly near the top, as with a trained model; in "random" they lie anywhere, the most work there
is short of ties. Scores are compared with those of a sorted float64 distance matrix for some of the queries.
"""

import argparse
import multiprocessing
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from comparison import Row, forget_peak_memory, main, medians, peak_memory
from torch import Tensor

from reid.evaluation import score_queries

QUICK: dict[str, Any] = {"queries": 60, "gallery": 300, "dim": 32, "threads": (1,), "repeats": 1}
CHECKED_QUERIES = 100
LONGEST = 1.3
"""Times as long as the matrix product alone, at most."""
MOST_GROWTH = 1.1
"""Times the memory for twice the gallery, at most."""
IMAGES_PER_IDENTITY, CAMERAS = 21, 6  # Market-1501's gallery


class Items(NamedTuple):
    """Images to score: L2-normalised features and their labels."""

    features: Tensor
    pids: Tensor
    camids: Tensor


def run(
    queries: int = 3368,
    gallery: int = 15913,
    dim: int = 2048,
    threads: Sequence[int] = (1, 2),
    repeats: int = 3,
) -> list[Row]:
    """Times two kinds of features with each number of threads, then measures memory in fresh processes."""
    rows = []
    for kind in ("clusters", "random"):
        query, items = make_items(kind, queries, gallery, dim)
        expected = sorted_average_precision(Items(*(values[:CHECKED_QUERIES] for values in query)), items)
        product = torch.empty(queries, gallery)
        for count in threads:
            torch.set_num_threads(count)
            ours, theirs = medians(
                partial(score, query, items),
                partial(torch.mm, query.features, items.features.T, out=product),
                repeats=repeats,
            )
            found = score(Items(*(values[:CHECKED_QUERIES] for values in query)), items)
            rows.append(
                Row(
                    name=f"retrieval, {kind}, {count} threads, against the matrix product alone",
                    ours=1e3 * ours,
                    theirs=1e3 * theirs,
                    unit="ms",
                    aim=1 / LONGEST,
                    equal=torch.allclose(found, expected, rtol=1e-9, atol=0, equal_nan=True),
                )
            )
    once, twice = (extra_memory(queries, size, dim) for size in (gallery, 2 * gallery))
    name = "retrieval, extra memory for twice the gallery against once"
    return [*rows, Row(name=name, ours=twice, theirs=once, unit="MiB", aim=1 / MOST_GROWTH, equal=None)]


def score(query: Items, gallery: Items) -> Tensor:
    """Average precision of every query."""
    return score_queries(query.features, gallery.features, query.pids, gallery.pids, query.camids, gallery.camids).ap_Q


def sorted_average_precision(query: Items, gallery: Items) -> Tensor:
    """The same from the whole distance matrix, sorted, in float64."""
    distances = gallery.features.double().square().sum(1) - 2 * query.features.double() @ gallery.features.double().T
    scores = []
    for order, pid, camid in zip(distances.argsort(dim=1, stable=True), query.pids, query.camids, strict=True):
        same_pid, same_camid = gallery.pids[order] == pid, gallery.camids[order] == camid
        hits = same_pid[~(same_pid & same_camid)].double()
        scores.append((hits * hits.cumsum(0) / torch.arange(1, len(hits) + 1)).sum() / hits.sum())
    return torch.stack(scores)


def make_items(kind: str, queries: int, gallery: int, dim: int) -> tuple[Items, Items]:
    """Queries and gallery with identities and cameras at random, always the same."""
    generator = torch.Generator().manual_seed(0)
    identities = max(1, gallery // IMAGES_PER_IDENTITY)
    centres = torch.randn(identities, dim, generator=generator)
    sides = []
    for count in (queries, gallery):
        pids = torch.randint(identities, (count,), generator=generator)
        features = torch.randn(count, dim, generator=generator)
        if kind == "clusters":
            for start in range(0, count, 1024):
                features[start : start + 1024].mul_(3).add_(centres[pids[start : start + 1024]])
        features.div_(torch.linalg.vector_norm(features, dim=1, keepdim=True))
        sides.append(Items(features, pids, torch.randint(CAMERAS, (count,), generator=generator)))
    return sides[0], sides[1]


def extra_memory(queries: int, gallery: int, dim: int) -> float:
    """MiB by which scoring raises the peak resident memory above that of the features, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_extra_memory_here, (queries, gallery, dim))


def _extra_memory_here(queries: int, gallery: int, dim: int) -> float:
    query, items = make_items("random", queries, gallery, dim)
    before = forget_peak_memory()
    score(query, items)
    return peak_memory() - before


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15913)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2), help="each is measured")
    parser.add_argument("--repeats", type=int, default=3)
    return parser


if __name__ == "__main__":
    main(run, _parser(), QUICK)
