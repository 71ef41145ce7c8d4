"""A small part of what a model is scored on, to follow a training by.

Legend: N images of a split, I identities.
"""

import numpy as np
from numpy.typing import NDArray

from reid.data.dataset import Dataset, Split
from reid.data.views import View

IMAGES_PER_IDENTITY = 16
"""Of splits without identities to choose by, so many images are taken for each identity asked for."""


def sample_of(dataset: Dataset, identities: int) -> Dataset:
    """Of query and gallery all images of a few identities, of other splits a few images; evenly spread, not drawn.

    Args:
        identities: at most so many, of those with a query that another camera saw too.
    """
    splits = dataset.splits
    if {"query", "gallery"} <= splits.keys():
        pids_I = _spread(_answerable(splits["query"], splits["gallery"]), identities)
        rows = {name: np.flatnonzero(np.isin(splits[name].pids_N, pids_I)) for name in ("query", "gallery")}
    else:
        rows = {}
    others = (name for name in splits if name not in rows)
    few = {name: _spread(np.arange(len(splits[name])), identities * IMAGES_PER_IDENTITY) for name in others}
    return View(dataset, {name: (name, rows_N) for name, rows_N in (rows | few).items()})


def _answerable(query: Split, gallery: Split) -> NDArray[np.int64]:
    """Identities (I,) of the queries that have a match in the gallery, by another camera."""
    cameras = {pid: set(gallery.camids_N[gallery.pids_N == pid].tolist()) for pid in np.unique(query.pids_N).tolist()}
    seen = zip(query.pids_N.tolist(), query.camids_N.tolist(), strict=True)
    return np.unique(np.array([pid for pid, camera in seen if cameras[pid] - {camera}], dtype=np.int64))


def _spread(values: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the values, each once, the first and the last among them."""
    if len(values) <= most:
        return values
    return values[np.unique(np.linspace(0, len(values) - 1, most).round().astype(np.int64))]
