"""Pictures of an evaluation, as PNG files: what single queries find, where the branches look.

Legend: B images, H × W stored pixels, h × w cells of a map.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch.nn.functional as F
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reid.data import Split
from reid.evaluation import Neighbours
from reid.pictures.sheet import FAINT, Sheet

MATCH, MISTAKE = "#22B573", "#B00020"
"""Green and red, the red much darker: the colour-blind tell them apart as well."""
RANKED_HEIGHT, PARTS_HEIGHT = 128, 160
"""Pixels that images are scaled to."""
HEAT_COLOURS, HEAT_WEIGHT = "turbo", 0.85


def ranked_picture(rows: Sequence[Neighbours], query: Split, gallery: Split, *, aspect: float) -> bytes:
    """A row for each query: its image, then its nearest gallery images, matches framed in green and others in red.

    Args:
        aspect: width of the images over their height.
    """
    longest = max(len(row.gallery_K) for row in rows)
    sheet = Sheet(
        title=f"The {longest} nearest gallery images of {len(rows)} queries, from the worst average precision (AP) up",
        columns=["query", *map(str, range(1, longest + 1))],
        rows=[_standing(row) for row in rows],
        cell=(round(RANKED_HEIGHT * aspect), RANKED_HEIGHT),
        legend=[
            (MATCH, "the query's identity"),
            (MISTAKE, "another identity"),
            (None, "below each image: identity (0 = distractor) · camera"),
        ],
    )
    queries_BHW3 = query.gather([row.query for row in rows]).numpy()
    for place, (row, image_HW3) in enumerate(zip(rows, queries_BHW3, strict=True)):
        sheet.place(place, 0, image_HW3, frame=FAINT, caption=_who(query, row.query))
        found_KHW3 = gallery.gather(row.gallery_K).numpy()
        for rank, (index, is_match) in enumerate(zip(row.gallery_K, row.is_match_K, strict=True)):
            colour = MATCH if is_match else MISTAKE
            sheet.place(place, 1 + rank, found_KHW3[rank], frame=colour, caption=_who(gallery, index))
    return sheet.png()


def parts_picture(shown: Sequence[int], query: Split, maps: Mapping[str, Tensor], *, aspect: float) -> bytes:
    """A row for each query: its image, then every branch's map laid over it (paper, Fig. 6).

    Args:
        shown: indices of the B queries.
        maps: maps (B, h, w) by branch.
        aspect: width of the images over their height.
    """
    width, height = round(PARTS_HEIGHT * aspect), PARTS_HEIGHT
    strongest = max(maps_Bhw.max().item() for maps_Bhw in maps.values()) or 1.0
    sheet = Sheet(
        title="Where each branch looks: the strength of its pose channels",
        columns=["query", *(name.replace("_", "\n", 1).replace("_", " ") for name in maps)],
        rows=[""] * len(shown),
        cell=(width, height),
        legend=[(_colour_bar(), f"from 0 to {strongest:.2g}, one scale for all; the weaker, the less it covers")],
    )
    images_BHW3 = query.gather(shown).numpy()
    for row, index in enumerate(shown):
        image = Image.fromarray(images_BHW3[row]).resize((width, height), Image.Resampling.BICUBIC)
        sheet.place(row, 0, np.asarray(image), frame=FAINT, caption=_who(query, index))
        for column, maps_Bhw in enumerate(maps.values(), start=1):
            covered = _covered(np.asarray(image), maps_Bhw[row] / strongest)
            sheet.place(row, column, covered, frame=FAINT)
    return sheet.png()


def _standing(row: Neighbours) -> str:
    """A query's average precision and, where none of its true matches is shown, where the first is."""
    lines = ["AP", f"{row.average_precision:.1%}"]
    if not row.is_match_K.any():
        lines += ["", "first true", f"match: {row.first_match:,}."]
    return "\n".join(lines)


def _who(split: Split, index: int) -> str:
    return f"{split.pids_N[index]} · c{split.camids_N[index]}"


def _covered(image_HW3: NDArray[np.uint8], map_hw: Tensor) -> NDArray[np.uint8]:
    """An image under the colours of a map of values 0..1, interpolated to its size: the higher, the more is covered."""
    size = image_HW3.shape[:2]
    values_HW = F.interpolate(map_hw.float().cpu()[None, None], size, mode="bilinear")[0, 0].clamp(0, 1).numpy()
    cover_HW1 = HEAT_WEIGHT * values_HW[..., None]
    covered_HW3: NDArray[np.uint8] = ((1 - cover_HW1) * image_HW3 + cover_HW1 * _colours(values_HW)).astype(np.uint8)
    return covered_HW3


def _colour_bar() -> Image.Image:
    return Image.fromarray(_colours(np.linspace(0, 1, 256)[None]))


def _colours(values_HW: NDArray[np.floating]) -> NDArray[np.uint8]:
    colours_HW4: NDArray[np.uint8] = colormaps[HEAT_COLOURS](values_HW, bytes=True)
    return np.ascontiguousarray(colours_HW4[..., :3])
