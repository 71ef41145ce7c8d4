"""The embedded benchmark: rendered pedestrians in the original on-disk formats of Market-1501 and COCO, and textures.

So that the platform can be tried, tested and compared without any data set at hand.
"""

from reid.embedded.coco import render_coco
from reid.embedded.market1501 import render_market1501
from reid.embedded.pairs import render_pairs
from reid.embedded.sizes import SIZES, BenchmarkSize

EDITION = 2
"""Counts up when other files are rendered, so that those of an older version are not taken for whole."""

__all__ = ["EDITION", "SIZES", "BenchmarkSize", "render_coco", "render_market1501", "render_pairs"]
