"""Attribute annotations by Lin et al. (Pattern Recognition 2019): MATLAB structs, one row per identity.

Legend: I identities, A attributes.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reid.config import Attribute, DataError, Manifest
from reid.data.readers.checks import some_of
from reid.data.readers.mat_file import load_mat
from reid.data.readers.records import Records

Unclear = Literal["refused", "missing"]


@dataclass(frozen=True, kw_only=True)
class IdentityAttributes:
    """Classes of the attributes of each annotated identity."""

    path: Path
    pids: NDArray[np.int64]
    """Identities, ascending."""
    classes: NDArray[np.int8]
    """I × A; -1 = none of the classes."""

    def of_images(self, pids: NDArray[np.int64], distractors: NDArray[np.int64]) -> NDArray[np.int8]:
        """N × A classes of images by their identities; -1 for distractors without annotation.

        Raises:
            DataError: another identity is not annotated.
        """
        missing = np.setdiff1d(pids, np.concatenate([self.pids, distractors]))
        if missing.size:
            raise DataError(f"{self.path} lacks identities {some_of(missing)}: use the annotation file of this dataset")
        labels = np.full((len(pids), self.classes.shape[1]), -1, np.int8)
        annotated = np.isin(pids, self.pids)
        labels[annotated] = self.classes[np.searchsorted(self.pids, pids[annotated])]
        return labels


def attribute_file(source: Path, name: str, manifest: Manifest) -> Path:
    """Where the annotation file is: in the source folder, or in `attribute/` there.

    Raises:
        DataError: in neither.
    """
    places = (name, f"attribute/{name}")
    for place in places:
        if os.path.lexists(source / place):
            return source / place
    raise DataError(
        f"{source} has neither {' nor '.join(places)}, which supervises the attributes: put it there; "
        f"where to get it: {manifest.url}"
    )


def annotate(
    splits: Mapping[str, Records], annotated: Mapping[str, IdentityAttributes], distractors: NDArray[np.int64]
) -> dict[str, Records]:
    """Label the images with the classes of their identities, which all but `distractors` must have.

    Raises:
        DataError: an identity is not annotated.
    """
    return {
        split: replace(
            records,
            attributes_NA=annotated["train" if split == "train" else "test"].of_images(records.pids_N, distractors),
        )
        for split, records in splits.items()
    }


def read_attributes(
    path: Path, variable: str, attributes: Sequence[Attribute], *, unclear: Unclear = "refused"
) -> dict[str, IdentityAttributes]:
    """Read the structs `train` and `test` by field name; their fields are ordered differently.

    Args:
        unclear: what several classes at once, or the value 0, mean.

    Raises:
        DataError: the file is unreadable, a field is missing, or a value has no meaning, with the identity's number.
    """
    try:
        content = load_mat(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable MATLAB file, download it again: {error}") from error
    structs = content.get(variable)
    if not isinstance(structs, dict) or not {"train", "test"} <= structs.keys():
        raise DataError(
            f"{path} holds no struct {variable} with train and test: use the annotation file of this dataset"
        )
    return {
        split: _read_struct(path, f"{variable}.{split}", structs[split], attributes, unclear)
        for split in ("train", "test")
    }


def _read_struct(
    path: Path, place: str, struct: Any, attributes: Sequence[Attribute], unclear: Unclear
) -> IdentityAttributes:
    wanted = ["image_index", *(field for attribute in attributes for field in attribute.fields)]
    missing = [field for field in wanted if not isinstance(struct, dict) or field not in struct]
    if missing:
        raise DataError(f"{path}: {place} lacks the fields {some_of(missing)}: use the annotation file of this dataset")
    names = [str(name).strip() for name in np.atleast_1d(struct["image_index"])]
    strange = [name for name in names if not re.fullmatch("[0-9]{1,9}", name)]
    if strange:
        raise DataError(
            f"{path}: {place}.image_index must hold identity numbers, and {some_of(strange)} are none: use the "
            "annotation file of this dataset"
        )
    pids = np.array([int(name) for name in names], np.int64)
    listed, times = np.unique(pids, return_counts=True)
    if (times > 1).any():
        raise DataError(f"{path}: {place} has identities {some_of(listed[times > 1])} several times: keep one of each")
    columns = []
    for attribute in attributes:
        values = [np.atleast_1d(struct[field]) for field in attribute.fields]
        if any(value.shape != pids.shape for value in values):
            raise DataError(f"{path}: {place} has no value of {attribute.name} for some identities: download it again")
        columns.append(_classes_of(path, place, attribute, np.stack(values, axis=1), pids, unclear))
    order = np.argsort(pids)
    classes = np.stack(columns, axis=1) if columns else np.empty((len(pids), 0), np.int8)
    return IdentityAttributes(path=path, pids=pids[order], classes=classes[order])


def _classes_of(
    path: Path,
    place: str,
    attribute: Attribute,
    values_IF: NDArray[Any],
    pids: NDArray[np.int64],
    unclear: Unclear,
) -> NDArray[np.int8]:
    largest = len(attribute.classes) if len(attribute.fields) == 1 else 2
    smallest = 0 if unclear == "missing" else 1
    wrong = ~np.isin(values_IF, np.arange(smallest, largest + 1)).all(axis=1)
    if wrong.any():
        raise DataError(
            f"{path}: {place}: {attribute.name} of identities {some_of(pids[wrong])} is outside 1..{largest}: fix it"
        )
    if len(attribute.fields) == 1:
        return (values_IF[:, 0] - 1).astype(np.int8)
    chosen = values_IF == 2
    several = chosen.sum(axis=1) > 1
    if several.any() and unclear == "refused":
        raise DataError(f"{path}: {place}: identities {some_of(pids[several])} have several {attribute.name}: keep one")
    return np.where(chosen.sum(axis=1) == 1, chosen.argmax(axis=1), -1).astype(np.int8)
