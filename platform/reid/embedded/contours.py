"""Masks as COCO stores them: polygons along the pixels' edges, and uncompressed run lengths."""

import numpy as np
from numpy.typing import NDArray

Vertex = tuple[int, int]  # x, y of a pixel's corner


def mask_to_polygons(mask_HW: NDArray[np.bool_]) -> list[list[float]]:
    """Outer outlines [x0, y0, x1, y1, …] of a mask's regions, in pixels; corners only. Holes are filled.

    The straight boundary edges run clockwise (in image coordinates) around the mask; each is followed until its loop
    closes.
    """
    padded = np.pad(mask_HW, 1).astype(np.int8)
    following: dict[Vertex, list[Vertex]] = {}
    for y, left, right, sign in _straight_edges(np.diff(padded, axis=0)[:, 1:-1]):  # tops go right, bottoms left
        start, end = ((left, y), (right, y)) if sign > 0 else ((right, y), (left, y))
        following.setdefault(start, []).append(end)
    for x, top, bottom, sign in _straight_edges(np.diff(padded, axis=1)[1:-1].T):  # left sides go up, right sides down
        start, end = ((x, bottom), (x, top)) if sign > 0 else ((x, top), (x, bottom))
        following.setdefault(start, []).append(end)
    loops = []
    while following:
        loops.append(_follow(following, next(iter(following))))
    return [[float(value) for vertex in loop for value in vertex] for loop in loops if _signed_area(loop) > 0]


def _straight_edges(steps_LP: NDArray[np.int8]) -> list[list[int]]:
    """Maximal runs of equal non-zero steps along each line: [line, first, past the last, step]."""
    changes = np.diff(steps_LP, axis=1, prepend=0, append=0) != 0
    first, last = (np.argwhere(ends & (steps_LP != 0)) for ends in (changes[:, :-1], changes[:, 1:]))
    steps = steps_LP[first[:, 0], first[:, 1]]
    runs: list[list[int]] = np.column_stack([first, last[:, 1] + 1, steps]).tolist()
    return runs


def _follow(following: dict[Vertex, list[Vertex]], start: Vertex) -> list[Vertex]:
    """Takes one closed loop out of the edges."""
    loop, vertex = [start], following[start].pop()
    while vertex != start:
        loop.append(vertex)
        vertex = following[vertex].pop()
    for passed in loop:
        if passed in following and not following[passed]:
            del following[passed]
    return loop


def _signed_area(loop: list[Vertex]) -> float:
    """Positive for outlines, negative for holes."""
    x, y = np.array(loop).T
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def mask_to_rle(mask_HW: NDArray[np.bool_]) -> dict[str, list[int]]:
    """COCO's uncompressed run-length encoding: column by column, zeros first."""
    flat = mask_HW.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0] if not flat[0] else [0, 0], changes, [flat.size]])
    return {"counts": [int(run) for run in np.diff(bounds)], "size": list(mask_HW.shape)}
