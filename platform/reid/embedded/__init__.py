"""The embedded benchmark: rendered pedestrians in the original on-disk formats of Market-1501 and COCO.

So that the platform can be tried, tested and compared without any data set at hand.
"""

from reid.embedded.coco import render_coco
from reid.embedded.market1501 import render_market1501
from reid.embedded.sizes import SIZES, BenchmarkSize

__all__ = ["SIZES", "BenchmarkSize", "render_coco", "render_market1501"]
