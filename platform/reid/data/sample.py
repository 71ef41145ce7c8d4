"""A small part of what a model is scored on, to follow a training by.

Legend: N images of a split, I identities.
"""

import numpy as np
from numpy.typing import NDArray

from reid.data.dataset import Dataset, Split
from reid.data.views import View

IMAGES_PER_IDENTITY = 16
"""Of splits without identities to choose by, so many images are taken for each identity asked for."""


def evenly_spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many indices of so many things, each once, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def sample_of(dataset: Dataset, identities: int) -> Dataset:
    """Of query and gallery all images of the first identities, of other splits a few images, evenly spread.

    Identities that follow each other may look alike, as in the embedded benchmark: apart from each other they would be
    told apart too easily.

    Args:
        identities: at most so many, of those with a query that another camera saw too.
    """
    splits = dataset.splits
    if {"query", "gallery"} <= splits.keys():
        pids_I = _answerable(splits["query"], splits["gallery"])[:identities]
        rows = {name: np.flatnonzero(np.isin(splits[name].pids_N, pids_I)) for name in ("query", "gallery")}
    else:
        rows = {}
    others = (name for name in splits if name not in rows)
    few = {name: evenly_spread(len(splits[name]), identities * IMAGES_PER_IDENTITY) for name in others}
    return View(dataset, {name: (name, rows_N) for name, rows_N in (rows | few).items()})


def _answerable(query: Split, gallery: Split) -> NDArray[np.int64]:
    """Identities (I,) of the queries that have a match in the gallery, by another camera."""
    cameras = {pid: set(gallery.camids_N[gallery.pids_N == pid].tolist()) for pid in np.unique(query.pids_N).tolist()}
    seen = zip(query.pids_N.tolist(), query.camids_N.tolist(), strict=True)
    return np.unique(np.array([pid for pid, camera in seen if cameras[pid] - {camera}], dtype=np.int64))
