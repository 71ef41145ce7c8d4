"""A picture of a dataset's people: identities by cameras."""

import numpy as np

from reid.data import Split
from reid.pictures.sheet import FAINT, Sheet

HEIGHT = 128
"""Pixels that images are scaled to."""
MOST_CAMERAS = 12


def identities_picture(split: Split, title: str, *, aspect: float, identities: int = 8) -> bytes:
    """A row for each of the first identities of a split, distractors left out, and a column for each camera.

    A cell has the first image of someone by a camera, or says that there is none. Of many cameras the first are shown.

    Args:
        aspect: width of the images over their height.
    """
    cameras = np.unique(split.camids_N).tolist()[:MOST_CAMERAS]
    people = np.unique(split.pids_N[split.pids_N > 0])[:identities].tolist()
    sheet = Sheet(
        title=title,
        columns=[f"camera {camera}" for camera in cameras],
        rows=[f"identity {pid}" for pid in people],
        cell=(round(HEIGHT * aspect), HEIGHT),
        legend=[],
        first_apart=False,
    )
    for row, pid in enumerate(people):
        for column, camera in enumerate(cameras):
            shots = np.flatnonzero((split.pids_N == pid) & (split.camids_N == camera))
            if len(shots):
                sheet.place(row, column, split.gather(shots[:1])[0].numpy(), frame=FAINT)
            else:
                sheet.place_words(row, column, "not seen\nhere")
    return sheet.png()
