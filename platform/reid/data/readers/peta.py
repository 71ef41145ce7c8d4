"""PETA (Deng et al., ACM MM 2014): ten older datasets, annotated anew with what each person wears and carries.

Legend: N images, I identities, A attributes.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.config import Attribute, DataError, Manifest
from reid.data.readers.checks import check_counts, check_identities, names_in, read_lines, require_folders, some_of
from reid.data.readers.records import Records, number_unknown_cameras

SUBSETS = ("3DPeS", "CAVIAR4REID", "CUHK", "GRID", "i-LID", "MIT", "PRID", "SARC3D", "TownCentre", "VIPeR")
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")
SPLIT_SEED = 20140
"""Seed of our split; part of every result on PETA, so it never changes."""


@dataclass(frozen=True, kw_only=True)
class _Person:
    subset: str
    key: str
    """What the names of the person's images begin with."""
    labels: frozenset[str]
    files: tuple[str, ...]


def read_peta(source: Path, manifest: Manifest, image_size: tuple[int, int]) -> dict[str, Records]:
    """Read all subsets and divide them into `train`, `query` and `gallery`.

    PETA has no public split for re-identification: **this one is ours**. It is disjoint in identity and drawn with
    `SPLIT_SEED`. Of the identities with two images or more, half (rounded down) are `train`; of each of the others
    one image is in `query`, the rest in `gallery`. Identities with one image, among them all of CUHK, whose images
    PETA numbers one by one, are in the gallery as distractors with ordinary numbers. Cameras are unknown: a match may
    be a neighbouring frame of the query.

    `Label.txt` names only what holds. A manifest's field lists labels, separated by `|`, of which any one will do. An
    attribute with one field is `yes` where it holds, else `no`; one with a field for each class is missing (-1) where
    none or several hold. Several lines about one person are united.

    Raises:
        DataError: folders, images or labels are missing, not as many as expected, or nobody has an attribute.
    """
    require_folders(source, (f"{subset}/archive" for subset in SUBSETS), manifest.title)
    people = [person for subset in SUBSETS for person in _read_subset(source, subset)]
    everything = _records(people, _classes(people, manifest.attributes, source))
    subset_N = np.array([path.partition("/")[0] for path in everything.paths])
    check_counts(manifest, {name: _rows(everything, np.flatnonzero(subset_N == name)) for name in SUBSETS}, source)
    splits = {split: _rows(everything, rows) for split, rows in _split(everything.pids_N).items()}
    check_identities(splits, source)
    return number_unknown_cameras(splits)


def _read_subset(source: Path, subset: str) -> list[_Person]:
    """The people of a subset who have an image, by key."""
    folder = source / subset / "archive"
    labels: dict[str, set[str]] = {}
    for _, line in read_lines(folder / "Label.txt"):
        token, *names = line.split()
        labels.setdefault(_key(token), set()).update(names)
    files: dict[str, list[str]] = {}
    for name in names_in(folder):
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            files.setdefault(_key(name), []).append(name)
    unlabelled = [name for key in files.keys() - labels.keys() for name in files[key]]
    if unlabelled:
        raise DataError(f"{folder / 'Label.txt'} says nothing about {some_of(sorted(unlabelled))}: unpack PETA again")
    return [
        _Person(subset=subset, key=key, labels=frozenset(labels[key]), files=tuple(sorted(files[key])))
        for key in sorted(files)
    ]


def _key(name: str) -> str:
    """Person of an image (`0012_3_FRAME_25_RGB.bmp`, `0012.png`) or of a line in `Label.txt` (`0012`, `0012.png`)."""
    return name.partition("_")[0].partition(".")[0]


def _classes(people: list[_Person], attributes: tuple[Attribute, ...], source: Path) -> NDArray[np.int8]:
    classes_IA = np.array(
        [[_class(attribute, person.labels) for attribute in attributes] for person in people], np.int8
    )
    for attribute, classes_I in zip(attributes, classes_IA.T, strict=True):
        if (classes_I == (0 if len(attribute.fields) == 1 else -1)).all():
            raise DataError(
                f"{source}: no Label.txt names {', '.join(attribute.fields)}, which {attribute.name} is read from: use "
                "the annotation that PETA comes with"
            )
    return classes_IA


def _class(attribute: Attribute, labels: frozenset[str]) -> int:
    holds = [not labels.isdisjoint(field.split("|")) for field in attribute.fields]
    if len(holds) == 1:
        return int(holds[0])
    return holds.index(True) if sum(holds) == 1 else -1


def _records(people: list[_Person], classes_IA: NDArray[np.int8]) -> Records:
    """All images; people are numbered from 1."""
    owner_N = np.repeat(np.arange(len(people)), [len(person.files) for person in people])
    names = [(person.subset, file) for person in people for file in person.files]
    return Records(
        paths=tuple(f"{subset}/archive/{file}" for subset, file in names),
        names=tuple(f"{subset}/{file}" for subset, file in names),
        pids_N=owner_N + 1,
        camids_N=np.full(len(names), -1),
        attributes_NA=classes_IA[owner_N],
    )


def _split(pids_N: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Rows of each split, ascending."""
    rng = np.random.default_rng(SPLIT_SEED)
    pids_I, images_I = np.unique(pids_N, return_counts=True)
    matchable = rng.permutation(pids_I[images_I > 1])
    train, test = np.split(matchable, [len(matchable) // 2])
    shuffled_N = rng.permutation(len(pids_N))
    candidates = shuffled_N[np.isin(pids_N[shuffled_N], test)]
    query = np.sort(candidates[np.unique(pids_N[candidates], return_index=True)[1]])
    in_train = np.flatnonzero(np.isin(pids_N, train))
    return {
        "train": in_train,
        "query": query,
        "gallery": np.setdiff1d(np.arange(len(pids_N)), np.concatenate([in_train, query])),
    }


def _rows(records: Records, rows: NDArray[np.int64]) -> Records:
    return replace(
        records,
        paths=tuple(records.paths[row] for row in rows),
        names=tuple(records.names[row] for row in rows),
        pids_N=records.pids_N[rows],
        camids_N=records.camids_N[rows],
        attributes_NA=records.attributes_NA[rows],
    )
