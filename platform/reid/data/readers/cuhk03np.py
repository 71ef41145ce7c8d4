"""CUHK03 in the folders of the new protocol (Zhong et al., CVPR 2017): boxes found by a detector, or drawn by hand."""

from pathlib import Path

from reid.config import Manifest
from reid.data.readers.folders import read_folders
from reid.data.readers.records import Records


def read_cuhk03np_detected(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `train`, `query` and `gallery` below `detected/`.

    Raises:
        DataError: folders or images are missing or contradict each other.
    """
    return read_folders(source, manifest, "detected/")


def read_cuhk03np_labelled(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `train`, `query` and `gallery` below `labeled/`.

    Raises:
        DataError: folders or images are missing or contradict each other.
    """
    return read_folders(source, manifest, "labeled/")
