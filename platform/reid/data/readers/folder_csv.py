"""Anyone's own images: a folder with a CSV that lists them, or with a folder for each identity.

Legend: N images, A attributes.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.config import DataError, Manifest
from reid.data.readers.checks import check_counts, require_printable
from reid.data.readers.division import check_people, divide, number_identities
from reid.data.readers.identity_folders import read_folders_of_identities
from reid.data.readers.labels_file import find_labels, read_labels
from reid.data.readers.listing import Listing, Problems
from reid.data.readers.own_attributes import declared_classes, declares, found_classes
from reid.data.readers.records import Records, number_unknown_cameras


def read_folder_csv(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read `labels.csv`, or the one CSV that is there, else the folders of identities; see `datasets/README.md`.

    Raises:
        DataError: naming every line that is wrong, as far as they are shown; or what cannot be divided, trained or
            tested on.
    """
    if not source.is_dir():
        raise DataError(f"there is no folder {source}: set data.source to the folder of your images")
    labels = find_labels(source)
    problems = Problems(str(source if labels is None else labels))
    if labels is None:
        listing = read_folders_of_identities(source, manifest)
    else:
        listing = read_labels(labels, manifest, problems)
    pids_N, camids_N = number_identities(listing), listing.numbered_cameras()
    classes_NA = declared_classes(listing, manifest, problems)
    check_people(listing, pids_N, problems)
    _check_cameras(listing, camids_N, manifest, problems)
    problems.raise_any()
    require_printable(listing.paths, source)
    rows = divide(listing, pids_N, camids_N)
    attributes = None
    if not declares(manifest):
        attributes, classes_NA = found_classes(listing, rows["train"])
    splits = {}
    for split, own in rows.items():
        paths = tuple(listing.paths[row] for row in own)
        splits[split] = Records(
            paths=paths,
            names=paths,
            pids_N=pids_N[own],
            camids_N=camids_N[own],
            attributes_NA=classes_NA[own],
            attributes=attributes,
        )
    check_counts(manifest, splits, source)
    return number_unknown_cameras(splits)


def _check_cameras(listing: Listing, camids_N: NDArray[np.int64], manifest: Manifest, problems: Problems) -> None:
    for row in np.flatnonzero(camids_N > (manifest.cameras or np.inf)).tolist():
        assert listing.cameras is not None
        what = f"camid is {listing.cameras[row]}, but the manifest has cameras 1..{manifest.cameras}: correct one"
        problems.of_row(listing, row, what)
