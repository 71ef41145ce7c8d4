"""Damaged annotation files, field by field; what their values mean is tested with the dataset they belong to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from reid.config import Attribute
from reid.data import DataError
from reid.data.readers.attributes import read_attributes

HAT = Attribute(name="hat", region="head", classes=("no", "yes"), fields=("hat",))
PIDS = np.array(["0002", "0007", "0011"], object)


def write(path: Path, **changes: Any) -> Path:
    """Both structs alike, with `changes` in `train` alone."""
    good = {"image_index": PIDS, "hat": np.array([1, 2, 1])}
    scipy.io.savemat(path, {"worn": {"train": good | changes, "test": good}})
    return path


def test_identities_are_sorted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", image_index=PIDS[[2, 0, 1]])
    assert read_attributes(path, "worn", [HAT])["train"].classes.tolist() == [[1], [0], [0]]
    assert read_attributes(path, "worn", [HAT])["train"].pids.tolist() == [2, 7, 11]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_index": PIDS[[0, 0, 2]]}, "worn.train has identities 2 several times: keep one"),
        ({"image_index": np.array(["0002", "²", "0011"], object)}, "image_index must hold identity numbers, and ² are"),
        ({"image_index": np.array(["0002", "9" * 30, "-1"], object)}, f"and {'9' * 30}, -1 are none"),
        ({"image_index": np.array([], object)}, "worn.train has no value of hat for some identities"),
        ({"hat": np.array([1, 2])}, "worn.train has no value of hat for some identities"),
        ({"hat": {"nested": 1}}, "worn.train has no value of hat for some identities"),
        ({"hat": np.array([1, 1.5, np.nan])}, "hat of identities 7, 11 is outside 1..2"),
        ({"hat": np.array([1, 1e300, -np.inf])}, "hat of identities 7, 11 is outside 1..2"),
        ({"hat": np.array(["yes", "no", "no"], object)}, "hat of identities 2, 7, 11 is outside 1..2"),
    ],
)
def test_a_senseless_field_is_named(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", **changes)
    with pytest.raises(DataError) as error:
        read_attributes(path, "worn", [HAT])
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("image_index,hat\n")


def other_struct(path: Path) -> None:
    scipy.io.savemat(path, {"worn": {"train": 1}})


def bare_numbers(path: Path) -> None:
    scipy.io.savemat(path, {"worn": {"train": 1, "test": 2}})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "is no readable MATLAB file, download it again"),
        (empty, "is no readable MATLAB file, download it again"),
        (text, "is no readable MATLAB file, download it again"),
        (other_struct, "holds no struct worn with train and test"),
        (bare_numbers, "worn.train lacks the fields image_index, hat"),
    ],
)
def test_a_file_that_is_no_annotation_is_named(damage: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat")
    damage(path)
    with pytest.raises(DataError) as error:
        read_attributes(path, "worn", [HAT])
    assert str(error.value).startswith(str(path))
    assert said in str(error.value)
