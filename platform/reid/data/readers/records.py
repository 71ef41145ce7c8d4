# ruff: noqa: N802, N815 - fields carry their shape as a suffix
"""What a reader finds in a dataset: everything but the pixels.

Legend: N images of a split, A attributes, M people in a crop at most, J = 18 joints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.config import Attribute


@dataclass(frozen=True, kw_only=True)
class CropRecords:
    """How each stored image is cut from its source image, and who is seen in it."""

    boxes_N4: NDArray[np.int64]
    """(left, top, right, bottom) in pixels of the source image; may reach beyond it."""
    keypoints_NMJ3: NDArray[np.float32]
    """(x, y, v) in pixels of the stored image, pixel centres at whole numbers; v = 0 not labelled."""
    ignored: tuple[tuple[Any, ...], ...]
    """For each crop the COCO segmentations (polygons or run lengths) of people who are not annotated."""

    def __getitem__(self, rows: slice) -> "CropRecords":
        return CropRecords(
            boxes_N4=self.boxes_N4[rows], keypoints_NMJ3=self.keypoints_NMJ3[rows], ignored=self.ignored[rows]
        )


@dataclass(frozen=True, kw_only=True)
class Records:
    """The images of one split, in a fixed order."""

    paths: tuple[str, ...]
    """Image files, relative to the source folder."""
    names: tuple[str, ...]
    """Unique name of each image within the split."""
    pids_N: NDArray[np.int64]
    """Identities; 0 = distractor, -1 = unknown."""
    camids_N: NDArray[np.int64]
    """Cameras from 1; negative = unknown."""
    attributes_NA: NDArray[np.int8]
    """Classes in the order of the attributes; -1 = missing."""
    attributes: tuple[Attribute, ...] | None = None
    """Those that the reader has found in the source, the same for all splits; None = the manifest's."""
    crops: CropRecords | None = None
    """None where a whole file is one image."""
    keypoints_N1J3: NDArray[np.float32] | None = None
    """(x, y, v) of the person that a whole file shows, in pixels of the stored image; None where they are unknown."""
    textures: tuple[str | None, ...] | None = None
    """File of the texture of the person in each image, relative to the source folder; None where there is none."""
    seen: tuple[str, ...] | None = None
    """File with the texels of it that each image shows, likewise; None where they are unknown."""

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice) -> "Records":
        return Records(
            paths=self.paths[rows],
            names=self.names[rows],
            pids_N=self.pids_N[rows],
            camids_N=self.camids_N[rows],
            attributes_NA=self.attributes_NA[rows],
            attributes=self.attributes,
            crops=None if self.crops is None else self.crops[rows],
            keypoints_N1J3=None if self.keypoints_N1J3 is None else self.keypoints_N1J3[rows],
            textures=None if self.textures is None else self.textures[rows],
            seen=None if self.seen is None else self.seen[rows],
        )

    @cached_property
    def distinct_textures(self) -> tuple[str, ...]:
        """Files of textures, each once."""
        return tuple(sorted({file for file in self.textures or () if file is not None}))

    @property
    def keypoints_NMJ3(self) -> NDArray[np.float32] | None:
        """(x, y, v) of everyone in the stored images, the subject first; None where they are unknown."""
        return self.keypoints_N1J3 if self.crops is None else self.crops.keypoints_NMJ3

    @property
    def num_identities(self) -> int:
        """Distinct identities, distractors not counted."""
        return int(np.unique(self.pids_N[self.pids_N > 0]).size)


def number_unknown_cameras(splits: Mapping[str, Records]) -> dict[str, Records]:
    """Give every image of an unknown camera (-1) a number of its own: -1, -2, and so on through all splits.

    Evaluation leaves out matches by the query's own camera. With one number for all, it would leave out every match.
    """
    numbered: dict[str, Records] = {}
    given = 0
    for split, records in splits.items():
        unknown_N = records.camids_N == -1
        numbers_N = -given - np.cumsum(unknown_N)
        numbered[split] = replace(records, camids_N=np.where(unknown_N, numbers_N, records.camids_N))
        given += int(unknown_N.sum())
    return numbered
