"""DukeMTMC-reID in its original folders, with the attributes by Lin et al. (Pattern Recognition 2019)."""

from pathlib import Path

import numpy as np

from reid.config import Manifest
from reid.data.readers.attributes import annotate, attribute_file, read_attributes
from reid.data.readers.folders import read_folders
from reid.data.readers.records import Records


def read_dukemtmc(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `train`, `query` and `gallery`; distractors are gallery identities (ordinary numbers) without a query.

    Some annotations name no single class: several lower-body colours, or 0 for the length of upper-body clothing. Such
    a label is missing (-1), as are all labels of a distractor that has no annotation.

    Raises:
        DataError: folders, images or annotations are missing or contradict each other.
    """
    splits = read_folders(source, manifest)
    path = attribute_file(source, "duke_attribute.mat", manifest)
    annotated = read_attributes(path, "duke_attribute", manifest.attributes, unclear="missing")
    distractors = np.setdiff1d(splits["gallery"].pids_N, splits["query"].pids_N)
    return annotate(splits, annotated, distractors)
