"""Readers of original dataset formats: from a source folder to `Records` by split, without touching pixels."""

from collections.abc import Callable
from pathlib import Path

from reid.config import Manifest
from reid.data.readers.coco import read_coco, read_coco_whole
from reid.data.readers.cuhk03np import read_cuhk03np_detected, read_cuhk03np_labelled
from reid.data.readers.dukemtmc import read_dukemtmc
from reid.data.readers.folder_csv import read_folder_csv
from reid.data.readers.market1501 import read_market1501
from reid.data.readers.msmt17 import read_msmt17
from reid.data.readers.peta import read_peta
from reid.data.readers.records import CropRecords, Records
from reid.data.readers.texture_pairs import read_texture_pairs

Reader = Callable[[Path, Manifest, tuple[int, int]], dict[str, Records]]
"""(source folder, manifest, (height, width) of the stored images) → records by split."""

READERS: dict[str, Reader] = {
    "coco": read_coco,
    "coco_whole": read_coco_whole,
    "cuhk03np_detected": read_cuhk03np_detected,
    "cuhk03np_labelled": read_cuhk03np_labelled,
    "dukemtmc": read_dukemtmc,
    "folder_csv": read_folder_csv,
    "market1501": read_market1501,
    "msmt17": read_msmt17,
    "peta": read_peta,
    "texture_pairs": read_texture_pairs,
}

__all__ = ["READERS", "CropRecords", "Reader", "Records"]
