"""Nodes on one machine, to try on what needs several: `Bed`, for tests and for `make cluster`."""

from bed.cluster import Bed

__all__ = ["Bed"]
