"""Train, query and gallery of a user's own images: as the user has divided them, or by identity.

Legend: N images, I identities.
"""

import logging
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid.config import DataError
from reid.data.readers.checks import some_of
from reid.data.readers.listing import SPLIT_WORDS, UNKNOWN_CAMERA, Listing, Problems, numbers, shown
from reid.progress import say

SPLITS = ("train", "query", "gallery")
SPLIT_SEED = 0
DISTRACTOR = 0
OUT, DIVIDED = "out", "divided"
"""In place of a split: left out, and made into query and gallery."""
Rows = dict[str, NDArray[np.int64]]
"""Rows of a listing by split, ascending."""

logger = logging.getLogger(__name__)


def number_identities(listing: Listing) -> NDArray[np.int64]:
    """Identities from 1. Zeros are distractors (0) where they are in the gallery or `test` alone, else an identity."""
    splits = listing.splits or ["train"] * len(listing)
    zeros = {identity for identity in listing.identities if identity and not identity.strip("0")}
    if any(split in ("train", "query") for split, pid in zip(splits, listing.identities, strict=True) if pid in zeros):
        zeros = set()
    number_of = numbers(set(listing.identities) - zeros) | dict.fromkeys(zeros, DISTRACTOR)
    return np.array([number_of[identity] for identity in listing.identities], np.int64)


def check_people(listing: Listing, pids_N: NDArray[np.int64], problems: Problems) -> None:
    """Identities and splits that cannot be meant, and identities on both sides."""
    for row, identity in enumerate(listing.identities):
        if not identity:
            problems.of_row(listing, row, "pid is empty: name who is seen, or leave the image out")
        elif identity[0] == "-" and identity[1:].isdecimal():
            what = f"pid is {shown(identity)}, which names nobody: name who is seen, or leave the image out"
            problems.of_row(listing, row, what)
    if listing.splits is None:
        return
    known = tuple(dict.fromkeys(SPLIT_WORDS.values()))
    in_train: dict[int, int] = {}
    for row, split in enumerate(listing.splits):
        if split == "train":
            in_train.setdefault(int(pids_N[row]), row)
        elif split not in known:
            problems.of_row(listing, row, f"invalid split {shown(split)}, expected one of {', '.join(known)}")
    tested = {"query", "gallery", "test"} & set(listing.splits) or {"val"}
    told: set[int] = set()
    for row, split in enumerate(listing.splits):
        pid = int(pids_N[row])
        if split in tested and pid in in_train and pid not in told:
            told.add(pid)
            first = in_train[pid]
            where = listing.paths[first] if listing.lines is None else f"line {listing.lines[first]}"
            what = (
                f"{shown(listing.identities[row])} is in {split}, and in train ({where}) too: keep each identity "
                "on one side, or leave the splits out, and the identities are divided"
            )
            problems.of_row(listing, row, what)


def divide(listing: Listing, pids_N: NDArray[np.int64], camids_N: NDArray[np.int64]) -> Rows:
    """Rows of `train`, `query` and `gallery`.

    Where nobody has divided the images, half of the identities that can be retrieved are train; of the others, one
    image for each camera is in query, as far as the gallery keeps a match by another camera, and the rest in gallery.
    Where there is `test` and no query, that is divided in the latter way; else `val` is. All of it is drawn from
    `SPLIT_SEED`, whatever the order of the images. Train identities of a single image and queries without a match are
    left out.

    Raises:
        DataError: a split is empty, or no query can be answered.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    if listing.splits is None:
        split_N = _by_identity(listing, pids_N, camids_N, rng)
    else:
        meaning = _meanings(listing)
        split_N = np.array([meaning[split] for split in listing.splits], "U7")
    divided_N = split_N == DIVIDED
    if divided_N.any():
        split_N[divided_N] = "gallery"
        split_N[_queries(np.flatnonzero(divided_N), listing, pids_N, camids_N, rng)] = "query"
    split_N[_useless(listing, split_N, pids_N)] = OUT
    rows = {split: np.flatnonzero(split_N == split) for split in SPLITS}
    _check(listing, rows, pids_N, camids_N)
    _say(listing, rows, pids_N, camids_N)
    return rows


def _meanings(listing: Listing) -> dict[str, str]:
    """What each of the user's splits becomes.

    Raises:
        DataError: they contradict each other, or nothing is there to test on.
    """
    assert listing.splits is not None
    words = set(listing.splits)
    if "query" in words and not {"gallery", "test"} <= words:  # as Market-1501's bounding_box_test is its gallery
        return {"train": "train", "query": "query", "gallery": "gallery", "test": "gallery", "val": OUT}
    if "gallery" in words and "test" in words:
        raise DataError(f"{listing.place} has images of gallery and of test: call them all by one of the two names")
    if "gallery" in words:
        raise DataError(
            f"{listing.place} has no images of query: add some, or call its gallery test, and it is divided"
        )
    if "test" in words:
        return {"train": "train", "test": DIVIDED, "val": OUT}
    if "val" in words:
        return {"train": "train", "val": DIVIDED}
    raise DataError(
        f"{listing.place} has images of train alone: add query and gallery, or test, or leave the splits out, and "
        "the identities are divided"
    )


def _by_identity(
    listing: Listing, pids_N: NDArray[np.int64], camids_N: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.str_]:
    """`train` or `DIVIDED` for each image.

    Raises:
        DataError: there are too few identities.
    """
    pids_I, images_I = np.unique(pids_N, return_counts=True)
    places_N = np.where(camids_N == UNKNOWN_CAMERA, -1 - np.arange(len(camids_N)), camids_N)
    seen = np.unique(pids_N << 32 | places_N & 0xFFFFFFFF) >> 32
    retrievable_I = pids_I[np.unique(seen, return_counts=True)[1] > 1]
    half = math.ceil(len(retrievable_I) / 2)
    if half < 2:
        cameras = "" if (camids_N == UNKNOWN_CAMERA).all() else " by two cameras (without a column camid, by any)"
        raise DataError(
            f"{listing.place}: {len(retrievable_I)} identities have two images{cameras}, and 3 are needed to divide "
            "them into train and test: add images"
        )
    train = rng.permutation(retrievable_I)[:half]
    by_one_camera = np.setdiff1d(pids_I[images_I > 1], retrievable_I)
    return np.where(np.isin(pids_N, np.concatenate([train, by_one_camera])), "train", DIVIDED)


def _queries(
    rows: NDArray[np.int64],
    listing: Listing,
    pids_N: NDArray[np.int64],
    camids_N: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[int]:
    """Rows that become queries: one for each identity and camera, as far as all keep a match by another camera."""
    rows = np.array(sorted(rows[pids_N[rows] != DISTRACTOR], key=lambda row: listing.paths[row]), np.int64)
    rows = rows[np.lexsort((camids_N[rows], pids_N[rows]))]
    chosen: list[int] = []
    for own in np.split(rows, np.flatnonzero(np.diff(pids_N[rows])) + 1):
        cameras, starts, counts = np.unique(camids_N[own], return_index=True, return_counts=True)
        left = dict(zip(cameras.tolist(), counts.tolist(), strict=True))
        asked: list[int] = []
        for place in np.argsort(counts, kind="stable"):
            camera = int(cameras[place])
            left[camera] -= 1
            if _all_answered([*asked, camera], left):
                asked.append(camera)
                chosen.append(int(own[starts[place] + rng.integers(counts[place])]))
            else:
                left[camera] += 1
    return chosen


def _all_answered(asked: list[int], left: dict[int, int]) -> bool:
    """Whether a query by each of some cameras has a match among the images left of its identity, by camera."""
    answering = {camera for camera, images in left.items() if images}
    return len(answering) > 1 or all(answering - ({camera} - {UNKNOWN_CAMERA}) for camera in asked)


def _useless(listing: Listing, split_N: NDArray[np.str_], pids_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Train identities of a single image, and queries of nobody in the gallery."""
    pids_I, images_I = np.unique(pids_N[split_N == "train"], return_counts=True)
    single_N: NDArray[np.bool_] = (split_N == "train") & np.isin(pids_N, pids_I[images_I < 2])
    unmatched_N: NDArray[np.bool_] = (split_N == "query") & ~np.isin(pids_N, pids_N[split_N == "gallery"])
    for useless_N, what in (
        (single_N, "train identities with a single image, where two are needed"),
        (unmatched_N, "queries whose identity has no image in the gallery"),
        (split_N == OUT, "images of val, which nothing is trained or scored on"),
    ):
        if useless_N.any():
            files = some_of(shown(listing.paths[row]) for row in np.flatnonzero(useless_N).tolist())
            logger.warning("%s: left out are %d %s: %s", listing.place, useless_N.sum(), what, files)
    return single_N | unmatched_N


def _check(listing: Listing, rows: Rows, pids_N: NDArray[np.int64], camids_N: NDArray[np.int64]) -> None:
    """
    Raises:
        DataError: a split is empty, or no query can be answered.
    """
    empty = [split for split, own in rows.items() if not len(own)]
    if empty:
        raise DataError(f"{listing.place} has no images of {some_of(empty)} that can be used: add some")
    query, gallery = rows["query"], rows["gallery"]
    matches_Q = _times(pids_N[query], pids_N[gallery])
    keys_N = pids_N << 32 | np.maximum(camids_N, 0)
    matches_Q -= np.where(camids_N[query] == UNKNOWN_CAMERA, 0, _times(keys_N[query], keys_N[gallery]))
    if not matches_Q.any():
        raise DataError(
            f"{listing.place}: no query has a match in the gallery by another camera, and others do not count: add "
            "such images, or leave the column camid out, and all count"
        )


def _times(values: NDArray[np.int64], among: ArrayLike) -> NDArray[np.int64]:
    """How often each value is among others."""
    ordered = np.sort(among)
    return np.searchsorted(ordered, values, side="right") - np.searchsorted(ordered, values)


def _say(listing: Listing, rows: Rows, pids_N: NDArray[np.int64], camids_N: NDArray[np.int64]) -> None:
    """How the images were divided, where the user has not said so, and what unknown cameras mean."""
    if listing.splits is None or "query" not in listing.splits:
        counts = ", ".join(
            f"{split} {len(own):,} images of {len(np.unique(pids_N[own])):,} identities" for split, own in rows.items()
        )
        what = "by identity" if listing.splits is None else "into query and gallery"
        how = "the column split" if listing.lines is not None else "the folders train/, query/ and gallery/"
        say(f"{listing.place}: divided {what} with seed {SPLIT_SEED}: {counts}; to divide them yourself, use {how}")
    if (camids_N == UNKNOWN_CAMERA).all():
        say(
            f"{listing.place}: cameras are unknown, so any other image of an identity counts as its match, a "
            "neighbouring frame too: expect scores that are too good"
        )
