"""Masks as COCO stores them: polygons along the pixels' edges, and uncompressed run lengths."""

import numpy as np
from numpy.typing import NDArray


def mask_to_polygons(mask_HW: NDArray[np.bool_]) -> list[list[float]]:
    """Outer outlines [x0, y0, x1, y1, …] of a mask's regions, in pixels; corners only. Holes are filled.

    Boundary edges run clockwise (in image coordinates) around the mask; each is followed until the loop closes.
    """
    padded = np.pad(mask_HW, 1).astype(np.int8)
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    down, right = np.diff(padded, axis=0), np.diff(padded, axis=1)
    for y, x in np.argwhere(down).tolist():  # top edges go right, bottom edges go left
        a, b = (x - 1, y), (x, y)
        start, end = (a, b) if down[y, x] > 0 else (b, a)
        following.setdefault(start, []).append(end)
    for y, x in np.argwhere(right).tolist():  # left edges go up, right edges go down
        a, b = (x, y), (x, y - 1)
        start, end = (a, b) if right[y, x] > 0 else (b, a)
        following.setdefault(start, []).append(end)
    polygons = []
    while following:
        first = point = next(iter(following))
        loop: list[tuple[int, int]] = []
        while True:
            ends = following[point]
            after = ends.pop()
            if not ends:
                del following[point]
            loop.append(point)
            point = after
            if point == first:
                break
        corners_P2 = _corners(np.array(loop))
        if _signed_area(corners_P2) > 0:
            polygons.append([float(value) for value in corners_P2.ravel()])
    return polygons


def _corners(loop_P2: NDArray[np.int64]) -> NDArray[np.int64]:
    steps_P2 = np.diff(loop_P2, axis=0, append=loop_P2[:1])
    corners: NDArray[np.int64] = loop_P2[(steps_P2 != np.roll(steps_P2, 1, axis=0)).any(axis=1)]
    return corners


def _signed_area(corners_P2: NDArray[np.int64]) -> float:
    """Positive for outlines, negative for holes."""
    x, y = corners_P2.T
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def mask_to_rle(mask_HW: NDArray[np.bool_]) -> dict[str, list[int]]:
    """COCO's uncompressed run-length encoding: column by column, zeros first."""
    flat = mask_HW.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0] if not flat[0] else [0, 0], changes, [flat.size]])
    return {"counts": [int(run) for run in np.diff(bounds)], "size": list(mask_HW.shape)}
