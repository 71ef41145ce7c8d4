import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from reid.config import load_manifest
from reid.data import DataError
from reid.data.readers import READERS, Records
from reid.evaluation import evaluate_retrieval


@dataclass(frozen=True, kw_only=True)
class Labels:
    features: NDArray[np.float64]
    pids: NDArray[np.int64]
    cameras: NDArray[np.int64]


EMBEDDED = load_manifest("embedded")


def read(source: Path, name: str = "embedded") -> dict[str, Records]:
    manifest = load_manifest(name)
    return READERS[manifest.reader](source, manifest, (128, 64))


def test_the_protocol_is_applied(market_once: Path) -> None:
    splits = read(market_once)
    assert splits["train"].pids_N.tolist() == [2] * 4 + [7] * 4 + [11] * 4
    assert splits["train"].camids_N.tolist() == [1, 2, 3, 6] * 3
    assert splits["query"].pids_N.tolist() == [1, 3]
    assert splits["gallery"].pids_N.tolist() == [0, 0, 1, 1, 3, 3], "junk is dropped, distractors stay"
    assert splits["gallery"].names[3] == "0001_c3s3_076719_01.jpg.jpg"
    assert splits["gallery"].num_identities == 2
    assert all((market_once / path).is_file() for split in splits.values() for path in split.paths)
    assert splits["train"].pids_N.dtype == np.int64
    assert splits["train"].attributes_NA.dtype == np.int8


def test_a_slice_is_the_same_records(market_once: Path) -> None:
    train = read(market_once)["train"]
    part = train[3:7]
    assert len(part) == 4
    assert part.names == train.names[3:7]
    assert part.attributes_NA.tolist() == train.attributes_NA[3:7].tolist()


def test_distractors_have_no_attributes(market_once: Path) -> None:
    gallery = read(market_once)["gallery"]
    assert (gallery.attributes_NA[:2] == -1).all()
    assert (gallery.attributes_NA[2:] == 0).all()


def test_fields_are_read_by_name_and_colours_become_one_class(
    market: Path, rewrite_attributes: Callable[..., None]
) -> None:
    changes = {(3, "upblack"): 1, (3, "upgreen"): 2, (1, "downblack"): 1, (7, "age"): 4, (11, "clothes"): 2}
    rewrite_attributes(market / "market_attribute.mat", changes)
    splits = read(market)
    columns = {attribute.name: (row, attribute) for row, attribute in enumerate(EMBEDDED.attributes)}

    def value(split: str, pid: int, name: str) -> str:
        column, attribute = columns[name]
        labels = set(splits[split].attributes_NA[splits[split].pids_N == pid, column].tolist())
        assert len(labels) == 1
        label = labels.pop()
        return "missing" if label == -1 else attribute.classes[label]

    assert value("gallery", 3, "upper_colour") == "green"
    assert value("gallery", 1, "upper_colour") == "black"
    assert value("query", 1, "lower_colour") == "missing"
    assert (value("train", 7, "age"), value("train", 2, "age")) == ("old", "child")
    assert (value("train", 11, "lower_type"), value("train", 7, "lower_type")) == ("pants", "dress")


def test_the_annotation_file_may_lie_in_its_folder(market: Path) -> None:
    (market / "attribute").mkdir()
    (market / "market_attribute.mat").rename(market / "attribute" / "market_attribute.mat")
    assert len(read(market)["train"]) == 12


def remove_split(market: Path) -> None:
    shutil.rmtree(market / "query")


def empty_split(market: Path) -> None:
    for path in (market / "query").glob("*.jpg"):
        path.unlink()


def junk_alone(market: Path) -> None:
    empty_split(market)
    (market / "query" / "-1_c1s1_000401_03.jpg").write_bytes(b"")


def misname(market: Path) -> None:
    (market / "query" / "holiday.jpg").write_bytes(b"")


def strange_camera(market: Path) -> None:
    (market / "query" / "0001_c1s1_000151_00.jpg").rename(market / "query" / "0001_c7s1_000151_00.jpg")


def lonely_identity(market: Path) -> None:
    for camera in (2, 3, 6):
        (market / "bounding_box_train" / f"0007_c{camera}s1_{100 * camera:06d}_0{camera}.jpg").unlink()


def unanswerable_query(market: Path) -> None:
    for path in (market / "bounding_box_test").glob("0003_*"):
        path.unlink()


def shared_identity(market: Path) -> None:
    for camera in (1, 2):
        (market / "bounding_box_train" / f"0003_c{camera}s1_000001_00.jpg").write_bytes(b"")


def distractor_in_query(market: Path) -> None:
    (market / "query" / "0000_c1s1_000151_00.jpg").write_bytes(b"")


def no_attributes(market: Path) -> None:
    (market / "market_attribute.mat").unlink()


def damaged_attributes(market: Path) -> None:
    (market / "market_attribute.mat").write_bytes(b"MATLAB 5.0 MAT-file" * 3)


def foreign_attributes(market: Path) -> None:
    scipy.io.savemat(market / "market_attribute.mat", {"duke_attribute": {"train": 1}})


def unknown_identity(market: Path) -> None:
    for camera in (1, 2):
        (market / "bounding_box_train" / f"0055_c{camera}s1_000001_00.jpg").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "there is no folder"),
        (remove_split, "lacks query/"),
        (empty_split, "query holds no .jpg"),
        (junk_alone, "has no images of query"),
        (misname, "holiday.jpg"),
        (strange_camera, "0001_c7s1_000151_00.jpg"),
        (lonely_identity, "train identities 7 have a single image"),
        (unanswerable_query, "query identities 3 have no image in the gallery"),
        (shared_identity, "identities 3 are in train and in the test splits"),
        (distractor_in_query, "0000_c1s1_000151_00.jpg"),
        (no_attributes, "attribute/market_attribute.mat"),
        (damaged_attributes, "no readable MATLAB file"),
        (foreign_attributes, "no struct market_attribute"),
        (unknown_identity, "lacks identities 55"),
    ],
)
def test_what_is_wrong_is_named(market: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(market)
    with pytest.raises(DataError) as error:
        read(market)
    assert said in str(error.value)
    assert str(market) in str(error.value)


@pytest.mark.parametrize(
    ("changes", "drop", "said"),
    [
        ({}, "upred", "train lacks the fields upred"),
        ({(7, "upred"): 2}, None, "identities 7 have several upper_colour"),
        ({(3, "age"): 5}, None, "age of identities 3 is outside 1..4"),
        ({(2, "hat"): 0}, None, "hat of identities 2 is outside 1..2"),
    ],
)
def test_senseless_annotations_are_named(
    market: Path,
    rewrite_attributes: Callable[..., None],
    changes: dict[tuple[int, str], int],
    drop: str | None,
    said: str,
) -> None:
    rewrite_attributes(market / "market_attribute.mat", changes, drop)
    with pytest.raises(DataError, match=r"market_attribute\.mat") as error:
        read(market)
    assert said in str(error.value)


def test_counts_are_checked_against_the_manifest(market_once: Path) -> None:
    with pytest.raises(DataError) as error:
        read(market_once, "market1501")
    assert "train has 12 images of 3 identities instead of 12936 of 751" in str(error.value)
    assert "gallery has 6 images of 2 identities instead of 15913 of 750" in str(error.value)
    assert "counts: null" in str(error.value)


@pytest.fixture(scope="module")
def real_lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Market-1501 with its real identities, cameras and annotations; every image is a link to the same small one."""
    public = Path(os.environ["REID_PROTOCOL_DATA"])
    root = tmp_path_factory.mktemp("market1501")
    image = root / "image.jpg"
    Image.new("RGB", (64, 128), (90, 120, 60)).save(image)

    def numbers(file: str, variable: str) -> list[int]:
        return [int(value) for value in scipy.io.loadmat(public / f"{file}.mat")[variable].ravel()]

    lists = {
        "bounding_box_train": (("market_train_label", "label"), ("market_train_cam", "cam")),
        "query": (("market_queryID", "queryID"), ("market_queryCAM", "queryCAM")),
        "bounding_box_test": (("market_testID", "testID"), ("market_testCAM", "testCAM")),
    }
    for folder, (pids, cameras) in lists.items():
        (root / folder).mkdir()
        for frame, (pid, camera) in enumerate(zip(numbers(*pids), numbers(*cameras), strict=True)):
            identity = "-1" if pid == -1 else f"{pid:04d}"
            os.link(image, root / folder / f"{identity}_c{camera}s1_{frame:06d}_00.jpg")
    shutil.copy(public / "market_attribute.mat", root)
    return root


@pytest.mark.protocol
def test_the_real_annotations_and_file_lists(real_lists: Path) -> None:
    splits = read(real_lists, "market1501")  # compares every count with the manifest's

    sizes = {split: (len(records), records.num_identities) for split, records in splits.items()}
    assert sizes == {"train": (12936, 751), "query": (3368, 750), "gallery": (15913, 750)}
    assert (splits["gallery"].pids_N == 0).sum() == 2798
    assert (splits["gallery"].pids_N > 0).sum() == 13115

    names = [attribute.name for attribute in load_manifest("market1501").attributes]
    for split, uncoloured in (("train", (78, 30)), ("query", (69, 44))):
        _, first = np.unique(splits[split].pids_N, return_index=True)
        labels = splits[split].attributes_NA[first]
        found = tuple(int((labels[:, names.index(name)] == -1).sum()) for name in ("upper_colour", "lower_colour"))
        assert found == uncoloured
        assert (np.delete(labels, [names.index("upper_colour"), names.index("lower_colour")], axis=1) >= 0).all()


def naive_scores(query: Labels, gallery: Labels) -> dict[str, NDArray[np.float64]]:
    """The protocol's scores of one query after another, each ranked by sorting the whole gallery."""
    scores: dict[str, list[float]] = {"rectangle": [], "trapezoid": [], "inp": [], "rank": []}
    for feature, pid, camera in zip(query.features, query.pids, query.cameras, strict=True):
        order = np.argsort(((gallery.features - feature) ** 2).sum(axis=1), kind="stable")
        kept = order[(gallery.pids[order] != pid) | (gallery.cameras[order] != camera)]
        ranks = 1 + np.flatnonzero(gallery.pids[kept] == pid)
        found = np.arange(1, len(ranks) + 1)
        before = np.where(ranks == 1, 1.0, (found - 1) / np.maximum(ranks - 1, 1))
        scores["rectangle"].append((found / ranks).mean())
        scores["trapezoid"].append(((before + found / ranks) / 2).mean())
        scores["inp"].append(len(ranks) / ranks[-1])
        scores["rank"].append(ranks[0])
    return {name: np.array(values) for name, values in scores.items()}


@pytest.mark.protocol
def test_scores_over_the_real_protocol_equal_a_naive_loop(real_lists: Path) -> None:
    splits = read(real_lists, "market1501")
    rng = np.random.default_rng(0)
    people = rng.normal(size=(1502, 6))
    query, gallery = (
        Labels(
            features=(people[records.pids_N] + 0.4 * rng.normal(size=(len(records), 6))),
            pids=records.pids_N,
            cameras=records.camids_N,
        )
        for records in (splits["query"], splits["gallery"])
    )
    expected = naive_scores(query, gallery)
    for form in ("rectangle", "trapezoid"):
        result = evaluate_retrieval(
            query.features, gallery.features, query.pids, gallery.pids, query.cameras, gallery.cameras,
            average_precision=form,
        )  # fmt: skip
        assert (result.num_valid_queries, result.num_skipped_queries) == (3368, 0)
        np.testing.assert_allclose(result.scores.ap_Q, expected[form], rtol=0, atol=1e-6)
        np.testing.assert_allclose(result.scores.inp_Q, expected["inp"], rtol=0, atol=1e-6)
        assert result.mAP == pytest.approx(expected[form].mean(), abs=1e-6)
        assert result.mINP == pytest.approx(expected["inp"].mean(), abs=1e-6)
        np.testing.assert_allclose(result.cmc, [(expected["rank"] <= k).mean() for k in range(1, 51)], atol=1e-6)
        assert 0.05 < result.mAP < 0.95, "neither all right nor all wrong"
