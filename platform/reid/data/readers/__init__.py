"""Readers of original dataset formats: from a source folder to `Records` by split, without touching pixels."""

from collections.abc import Callable
from pathlib import Path

from reid.data.manifests import Manifest
from reid.data.readers.coco import read_coco
from reid.data.readers.market1501 import read_market1501
from reid.data.readers.records import CropRecords, Records

Reader = Callable[[Path, Manifest, tuple[int, int]], dict[str, Records]]
"""(source folder, manifest, (height, width) of the stored images) → records by split."""

READERS: dict[str, Reader] = {"coco": read_coco, "market1501": read_market1501}

__all__ = ["READERS", "CropRecords", "Reader", "Records"]
