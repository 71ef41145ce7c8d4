"""MATLAB files, held to SciPy's reader."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from reid.data.readers.mat_file import load_mat


def require_equal(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert isinstance(ours, dict)
        assert list(ours) == list(theirs)
        for name in theirs:
            require_equal(ours[name], theirs[name])
    elif isinstance(theirs, np.ndarray) and theirs.dtype == object:
        assert ours.shape == theirs.shape
        for mine, other in zip(ours.ravel(), theirs.ravel(), strict=True):
            require_equal(mine, other)
    else:
        assert np.array_equal(np.atleast_1d(ours), np.atleast_1d(theirs))


def contents(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = scipy.io.loadmat(path, simplify_cells=True)
    return {name: value for name, value in found.items() if not name.startswith("__")}


@pytest.mark.parametrize("compressed", [True, False])
def test_what_annotations_hold_is_read(tmp_path: Path, compressed: bool) -> None:
    cell = np.empty((1, 3), object)
    cell[0] = ["0001", "0002", "é"]
    struct = {"hat": np.array([[1, 2, 1]], np.uint8), "index": cell, "one": 3, "deep": {"x": np.eye(3)}}
    same = np.empty((1, 2), object)
    same[0, 0], same[0, 1] = np.arange(3), np.arange(3)
    numbers = {
        f"of_{kind}": np.arange(6).reshape(2, 3).astype(kind)
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
    }
    written = {
        "annotation": {"train": struct, "test": struct},
        "rows": np.array(["ab", "cd"]),
        "text": "all",
        "cells": same,
        **numbers,
    }
    scipy.io.savemat(tmp_path / "a.mat", written, do_compression=compressed)
    require_equal(load_mat(tmp_path / "a.mat"), contents(tmp_path / "a.mat"))


@pytest.mark.protocol
def test_published_files_are_read() -> None:
    files = sorted(Path(os.environ["REID_PROTOCOL_DATA"]).glob("*.mat"))
    assert files
    for file in files:
        require_equal(load_mat(file), contents(file))


@pytest.mark.parametrize(
    "value",
    [np.array([1 + 2j]), scipy.sparse.eye(3).tocsc(), np.array([(1, 2), (3, 4)], [("a", "i4"), ("b", "i4")])],
    ids=["complex", "sparse", "structs"],
)
def test_what_no_annotation_holds_is_refused(tmp_path: Path, value: Any) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"a": value})
    with pytest.raises(ValueError, match=r"it holds|a struct has"):
        load_mat(tmp_path / "a.mat")


def test_a_file_cut_anywhere_is_refused_or_lacks_variables(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"a": {"x": np.arange(4), "y": "text"}})
    whole = (tmp_path / "a.mat").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "a.mat").write_bytes(whole[:size])
        if size == 128:
            assert load_mat(tmp_path / "a.mat") == {}
            continue
        with pytest.raises(ValueError, match=r".+"):
            load_mat(tmp_path / "a.mat")
