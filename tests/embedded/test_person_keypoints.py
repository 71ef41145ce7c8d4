"""The joints beside the benchmark's images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.embedded import SIZES, market1501
from reid.embedded.draw import Canvas
from reid.embedded.keypoints import KEYPOINTS, keypoints_in
from reid.embedded.market1501 import ShotsTask, render_shots
from reid.embedded.plan import GALLERY, QUERY, TRAIN, plan_market1501

FOLDERS = (TRAIN, QUERY, GALLERY)
People = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def content(market: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((market / "person_keypoints.json").read_text())
    return content


@pytest.fixture(scope="module")
def people(content: dict[str, Any]) -> People:
    """x, y, v of the 17 joints by the image's path."""
    paths = {image["id"]: image["file_name"] for image in content["images"]}
    people = {paths[person["image_id"]]: np.reshape(person["keypoints"], (17, 3)) for person in content["annotations"]}
    assert len(people) == len(content["annotations"]), "one annotation an image"
    return people


def test_everyone_has_joints_and_mere_background_has_none(
    market: Path, content: dict[str, Any], people: People
) -> None:
    files = sorted(path.relative_to(market).as_posix() for path in market.glob("*/*.jpg"))
    assert sorted(image["file_name"] for image in content["images"]) == files
    assert {(image["height"], image["width"]) for image in content["images"]} == {(128, 64)}
    shots = plan_market1501(SIZES["smoke"], seed=0).shots
    assert people.keys() == {shot.path for shot in shots if shot.person is not None}
    assert len(people) < len(shots)
    assert len({person["id"] for person in content["annotations"]}) == len(people)
    for person in content["annotations"]:
        assert person["num_keypoints"] == sum(visibility > 0 for visibility in person["keypoints"][2::3])


def test_joints_are_within_the_image_and_in_the_order_of_a_body(people: People) -> None:
    everyone = np.stack([joints for path, joints in people.items() if "/-1" not in path])
    x, y, visibility = np.moveaxis(everyone, -1, 0)
    assert set(np.unique(visibility)) == {0, 1, 2}
    labelled = visibility > 0
    assert (everyone[~labelled] == 0).all()
    assert ((x >= 0) & (x <= 63) & (y >= 0) & (y <= 127)).all()
    assert labelled.mean() > 0.85
    for upper, lower in (("eye", "shoulder"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle")):
        above, below = ([KEYPOINTS.index(f"{side}_{name}") for side in ("left", "right")] for name in (upper, lower))
        both = labelled[:, above].all(axis=1) & labelled[:, below].all(axis=1)
        assert both.mean() > 0.6
        assert (y[both][:, above].mean(axis=1) < y[both][:, below].mean(axis=1)).mean() > 0.98
    eyes, shoulders = [1, 2], [5, 6]
    facing = (visibility[:, eyes + shoulders] == 2).all(axis=1)
    assert facing.sum() > 10
    assert (x[facing, 5] > x[facing, 6]).all(), "left is the person's left"


def test_seen_joints_lie_on_the_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[NDArray[np.int16]] = []

    def remember(canvas: Canvas, *arguments: Any) -> list[float]:
        owners.append(canvas.owners())
        return keypoints_in(canvas, *arguments)

    monkeypatch.setattr(market1501, "keypoints_in", remember)
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    shots = tuple(shot for shot in plan_market1501(SIZES["smoke"], seed=0).shots if shot.pid > 0)[::3]
    people = render_shots(ShotsTask(root=str(tmp_path), seed=0, shots=shots))
    assert len(people) == len(owners)
    on_person: dict[int, list[bool]] = {1: [], 2: []}
    for person, owner_HW in zip(people, owners, strict=True):
        assert person is not None
        for x, y, visibility in np.reshape(person["keypoints"], (17, 3)):
            if visibility:
                on_person[int(visibility)].append(bool(owner_HW[round(y), round(x)] == market1501.SUBJECT))
    assert len(on_person[1]) > 50
    assert np.mean(on_person[2]) > 0.95
    assert np.mean(on_person[1]) < np.mean(on_person[2])


def test_each_person_belongs_to_the_image(market: Path, people: People, tmp_path: Path) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    for shot in plan_market1501(SIZES["smoke"], seed=0).shots[5::40]:
        (person,) = render_shots(ShotsTask(root=str(tmp_path), seed=0, shots=(shot,)))
        assert (tmp_path / shot.path).read_bytes() == (market / shot.path).read_bytes()
        assert person is not None
        assert np.reshape(person["keypoints"], (17, 3)).tolist() == people[shot.path].tolist()
