"""Market-1501 in its original folders."""

from pathlib import Path

import numpy as np

from reid.config import Manifest
from reid.data.readers.attributes import annotate, attribute_file, read_attributes
from reid.data.readers.folders import read_folders
from reid.data.readers.records import Records

DISTRACTORS = np.array([0])


def read_market1501(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `train`, `query` and `gallery` as the benchmark's protocol has it: junk dropped, distractors kept.

    Raises:
        DataError: folders, images or annotations are missing or contradict each other.
    """
    splits = read_folders(source, manifest)
    path = attribute_file(source, "market_attribute.mat", manifest)
    annotated = read_attributes(path, "market_attribute", manifest.attributes)
    return annotate(splits, annotated, DISTRACTORS)
