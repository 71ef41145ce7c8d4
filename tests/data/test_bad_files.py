"""Files that crash a reader, hang it, eat the machine or pass for good: an error that names place and remedy."""

import itertools
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from reid.config import ConfigError, load_config, load_manifest
from reid.data import READERS, DataError, DescriptorTable, UnreadableImageError, load_image, open_dataset, prepare
from reid.data.shards import map_shard, write_batch
from reid.data.store import content_digest
from reid.experiments.describing import shares_of
from reid.experiments.runs import PHASES, Run
from reid.search.database import open_study
from reid.storage import Storage
from reid.training.checkpoint import CheckpointError, load_state, load_weights

MakeCoco = Callable[..., Path]
Person = Callable[..., dict[str, Any]]
SIZE = (32, 16)
ODD: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}
"""What may lie in the place of a file."""


def write_image(path: Path, form: str) -> Path:
    Image.new("RGB", (16, 32), (90, 120, 60)).save(path, form)
    return path


BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{former}'] * 8)}]\n" for former, name in itertools.pairwise("abcdefg")
)
"""Seven lines of YAML that stand for half a million values."""


@pytest.fixture
def coco(tmp_path: Path, person: Person, make_coco: MakeCoco) -> Callable[..., Path]:
    """Two people, of whom the second is not annotated; changes go to that one."""

    def write(**changes: Any) -> Path:
        people = [person(1, 1, [100.0, 40.0, 50.0, 120.0]), person(1, 2, [90.0, 40.0, 60.0, 90.0], joints=0) | changes]
        return make_coco(tmp_path / "coco", people)

    return write


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"segmentation": {"counts": [10**10], "size": [10**5, 10**5]}}, "run lengths of 10,000,000,000 pixels"),
        ({"segmentation": {"counts": [5, 6], "size": [200, 300]}}, "need polygons or run lengths as segmentation"),
        ({"segmentation": {"counts": [-1, 60001], "size": [200, 300]}}, "need polygons or run lengths as segmentation"),
        ({"segmentation": {"counts": "oooooooooooo", "size": [200, 300]}}, "need polygons or run lengths"),
        ({"segmentation": {"counts": [100 * 300], "size": [100, 300]}}, "belong to no image of [200, 300]"),
        ({"segmentation": [[1e9, 0, 0, 1e9, 1e9, 1e9]]}, "need polygons or run lengths as segmentation"),
        ({"segmentation": [[0, 0, 1e5, 1e5] * 99]}, "a polygon is longer than 1,000,000 pixels"),
        ({"segmentation": [[0, 0, 1, 1, 2, 2, 3]]}, "need polygons or run lengths as segmentation"),
        ({"bbox": [1e30, 0, 50, 120]}, "annotations 2 need four numbers as bbox, none of them vast"),
        ({"bbox": [0, 0, 50, 1e30]}, "annotations 2 need four numbers as bbox, none of them vast"),
        ({"bbox": [100, 40, -50, -120]}, "annotations 2 need four numbers as bbox, none of them vast and no size neg"),
        ({"bbox": [True, 40, 50, 120]}, "annotations 2 need four numbers as bbox"),
        ({"keypoints": [1e30] * 51}, "annotations 2 need 51 numbers as keypoints, none of them vast"),
        ({"id": 1}, "annotations 1 are there several times"),
    ],
)
def test_an_annotation_that_cannot_be_meant(
    coco: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    source = coco(**changes)
    with pytest.raises(DataError) as error:
        prepare("coco", source, tmp_path / "store", height=32, width=16)
    assert said in str(error.value)
    assert str(source) in str(error.value)


def test_run_lengths_may_be_compressed(coco: Callable[..., Path], tmp_path: Path) -> None:
    from pycocotools import mask as run_lengths

    mask = np.zeros((200, 300), np.uint8, order="F")
    mask[40:150, 100:160] = 1
    plain = np.diff(np.flatnonzero(np.diff(np.r_[2, mask.ravel(order="F"), 2])))
    counts = {"plain": plain.tolist(), "compressed": run_lengths.encode(mask)["counts"].decode()}
    masks = {}
    for name, given in counts.items():
        source = coco(segmentation={"counts": given, "size": [200, 300]})
        masks[name] = prepare("coco", source, tmp_path / name, height=32, width=16).splits["train"].ignore([0])
        shutil.rmtree(source)
    assert masks["plain"].any()
    assert masks["plain"].equal(masks["compressed"])


def test_a_crop_larger_than_any_image(tmp_path: Path, person: Person, make_coco: MakeCoco) -> None:
    source = make_coco(tmp_path / "coco", [person(1, 1, [0.0, 0.0, 9e4, 9e4])])
    with pytest.raises(DataError, match="pixels are more than"):
        prepare("coco", source, tmp_path / "store", height=32, width=16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image_height: 20000\nimage_width: 64\n", "image_height: Input should be less than or equal to 1024"),
        (BOMB, "more than 100,000 values once its aliases are written out"),
        ("a: &a [*a]\n", "the alias *a stands for what it is part of"),
        ("title: " + "[" * 300 + "]" * 300, "nested more than 64 deep"),
        (f"cameras: {'9' * 5000}", "a number of 5,000 digits"),
        (f"cameras: 0x{'9' * 5000}", "a number of 5,002 digits"),
        ("file_name: '('", "file_name: is no regular expression"),
        ("file_name: '((a{999}){999}){999}'", "file_name: is no regular expression"),
        ("title: 2001-99-99", "month must be in 1..12"),
        ("cameras: true", "cameras: must be a number, and neither true nor false"),
        ("7", "it holds no fields"),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_meant(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "manifest.yaml").write_text(text)
    with pytest.raises(DataError) as error:
        load_manifest("folder", tmp_path)
    assert said in str(error.value)
    assert f"{tmp_path}/manifest.yaml is malformed, correct it" in str(error.value)


def test_a_rule_that_would_try_every_way_to_match_a_name(market: Path) -> None:
    (market / "bounding_box_train" / f"{'a' * 200}.jpg").touch()
    rule = {"file_name": r"^(?P<pid>(\w|\w\w)+)_c(?P<camid>\d)s\d_\d+_\d+\.jpg$"}
    with pytest.raises(DataError, match=r"the names of a{200}\.jpg tell no identity and camera"):
        READERS["market1501"](market, load_manifest("market1501").model_copy(update=rule), SIZE)


def test_a_manifest_without_the_expression_that_its_reader_needs(market_once: Path) -> None:
    with pytest.raises(DataError, match="the manifest folder lacks file_name, which folder_csv needs"):
        READERS["market1501"](market_once, load_manifest("folder"), SIZE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("7", "must hold a mapping of settings"),
        ("[" * 300 + "]" * 300, "nested more than 64 deep"),
        (f"seed: {'9' * 5000}", "a number of 5,000 digits"),
        ("seed: true", "seed: must be a number, and neither true nor false"),
        ("scaling: {cpus_per_worker: .inf}", "scaling.cpus_per_worker: must be less than or equal to 4096"),
        ("scaling: {cpus_per_worker: true}", "scaling.cpus_per_worker: must be a number, and neither true nor false"),
        ("scaling: {num_workers: [true, 2]}", "scaling.num_workers: must be a number, and neither true nor false"),
        ("phases: {final: {rates: {trunk: false}}}", "rates: must be a number, and neither true nor false"),
        (f"phases: {{final: {{epochs: 1{'0' * 30}}}}}", "phases.final.epochs: must be less than 2147483648"),
        (f"tracking: {{experiment: {'x' * 600}}}", "tracking.experiment: must match pattern"),
        ("extensions: ['']", "extensions:  cannot be imported"),
        ("name: " + "${seed}" * 33, "more than 32 interpolations"),
    ],
)
def test_a_configuration_that_cannot_be_meant(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(preset="smoke", file=tmp_path / "run.yaml")
    assert said in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 300 + "]" * 300])
def test_a_setting_that_cannot_be_meant(value: str) -> None:
    with pytest.raises(ConfigError, match=r"invalid setting 'seed=.*put the value in quotes") as error:
        load_config(preset="smoke", overrides=[f"seed={value}"])
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(("form", "name"), [("BMP", "a.jpg"), ("TIFF", "a.jpg"), ("GIF", "a.png"), ("TIFF", "a.bmp")])
def test_an_image_of_a_format_that_no_dataset_has(tmp_path: Path, form: str, name: str) -> None:
    with pytest.raises(UnreadableImageError, match=rf"{name} is no image \(JPEG or PNG"):
        load_image(write_image(tmp_path / name, form))


@pytest.mark.parametrize(("form", "name"), [("BMP", "a.bmp"), ("PNG", "a.jpg"), ("JPEG", "a.png")])
def test_an_image_of_a_format_that_datasets_have(tmp_path: Path, form: str, name: str) -> None:
    assert load_image(write_image(tmp_path / name, form)).size == (16, 32)


READS: dict[str, tuple[str, type[Exception], Callable[[Path], object]]] = {
    "an image": ("a.jpg", UnreadableImageError, lambda folder: load_image(folder / "a.jpg")),
    "a configuration": ("run.yaml", ConfigError, lambda folder: load_config(preset="smoke", file=folder / "run.yaml")),
    "a manifest": ("manifest.yaml", DataError, lambda folder: load_manifest("folder", folder)),
    "labels": ("labels.csv", DataError, lambda folder: READERS["folder_csv"](folder, load_manifest("folder"), SIZE)),
    "a state": ("phase.json", CheckpointError, lambda folder: load_state(str(folder))),
    "weights": ("model.safetensors", CheckpointError, lambda folder: load_weights(str(folder))),
    "a checkpoint": ("checkpoint", CheckpointError, lambda folder: load_state(str(folder / "checkpoint"))),
    "descriptors": ("d.parquet", DataError, lambda folder: DescriptorTable(folder / "d.parquet")),
    "a store": ("manifest.json", DataError, lambda folder: open_dataset(folder)),
    "a study": ("study.db", ConfigError, lambda folder: open_study(f"sqlite:///{folder}/study.db", "a", ["mAP"])),
    "a source": ("notes.txt", DataError, lambda folder: prepare("folder", folder, folder.with_name("store"))),
}


@pytest.mark.parametrize("place", READS)
@pytest.mark.parametrize("odd", ODD)
def test_what_lies_in_the_place_of_a_file_is_no_file(tmp_path: Path, place: str, odd: str) -> None:
    name, kind, read = READS[place]
    folder = tmp_path / "folder"
    folder.mkdir()
    ODD[odd](folder / name)
    with pytest.raises(kind) as error:
        read(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("place", [place for place in READS if place != "a source"])
def test_a_file_without_permission(place: str) -> None:
    name, kind, read = READS[place]
    folder = Path(tempfile.mkdtemp())  # unlike pytest's, one that others may enter
    try:
        folder.chmod(0o755)
        (folder / name).write_text("secret")
        (folder / name).chmod(0)
        with unprivileged(), pytest.raises(kind) as error:
            read(folder)
        assert str(folder) in str(error.value)
    finally:
        shutil.rmtree(folder)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root, who may read everything, acts as somebody else."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(
    "text", ["[]", "7", "null", '"text"', '{"pose": 7}', '{"pose": null}', "{", "\0", "[" * 5000, f"1{'0' * 5000}"]
)
def test_finished_phases_that_are_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "runs" / "walk" / PHASES
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(DataError, match=rf"{PHASES} is damaged \(.*\): delete the folder .*/walk to begin anew"):
        Run(key="walk", kind="pipeline", storage=Storage(str(tmp_path))).checkpoints()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": None}, "checkpoint format None is not 2: use the release that wrote it"),
        ({"num_identities": True}, "num_identities: must be a number, and neither true nor false"),
        ({"num_identities": "many"}, "num_identities: Input should be a valid integer"),
        ({"attributes": []}, "attributes: Input should be a valid dictionary"),
        ({"history": [{"epoch": 1}]}, r"history.0.time: Field required"),
        ({"phase": "other"}, "there is no phase other"),
        ({"config": {"seed": 1}}, "was written with other settings than this version has"),
    ],
)
def test_a_state_that_cannot_be_meant(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    config = load_config(preset="smoke").model_dump(mode="json")
    state = {"format": 2, "phase": "final", "config": config, "num_identities": 1, "attributes": {}, "history": []}
    (tmp_path / "phase.json").write_text(json.dumps(state))
    assert load_state(str(tmp_path)).epoch == 0
    (tmp_path / "phase.json").write_text(json.dumps(state | changes))
    with pytest.raises(CheckpointError) as error:
        load_state(str(tmp_path))
    assert said in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_file_of_one_byte_is_no_study_and_stays(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"search\.study: .*study\.db cannot be opened .*the file is not a database"):
        open_study(f"sqlite:///{tmp_path}/study.db", "a", ["mAP"])
    assert (tmp_path / "study.db").read_bytes() == b"x"


def test_a_study_of_another_version_of_optuna(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/study.db"
    open_study(address, "a", ["mAP"])
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99'")
    connection.close()
    with pytest.raises(ConfigError, match=r"search\.study: .*study\.db cannot be opened and written"):
        open_study(address, "a", ["mAP"])


ORIGIN = {
    "images": "/i", "kind": "folder", "checkpoint": "/c", "digest": "d", "phase": "final", "height": 64, "width": 32,
    "settings": {},
}  # fmt: skip
COLUMNS = {
    "split": pa.array([None, None], pa.string()),
    "name": pa.array(["a.jpg", "b.jpg"]),
    "pid": pa.nulls(2, pa.int64()),
    "camid": pa.nulls(2, pa.int64()),
    "descriptor": pa.array([[0.0, 1.0], [1.0, 0.0]], pa.list_(pa.float32(), 2)),
}


@pytest.mark.parametrize(
    ("origin", "columns", "said"),
    [
        ({"height": 100_000}, {}, "height: Input should be less than or equal to 1024"),
        ({"width": True}, {}, "width: must be a number, and neither true nor false"),
        ({}, {"name": pa.array([1, 2])}, "its columns are split string, name int64"),
        ({}, {"name": pa.array(["a.jpg", None])}, "some images have no name"),
        ({}, {"descriptor": pa.array([[0.0], [1.0]])}, "its descriptors are list"),
        (
            {},
            {"descriptor": pa.array([[0.0], [1.0]], pa.list_(pa.float64(), 1))},
            "its descriptors are fixed",
        ),
        ({}, {"descriptor": pa.array([[0.0], None], pa.list_(pa.float32(), 1))}, "Expected all lists to be of size=1"),
        ({}, {"descriptor": pa.array([[0.0], [np.nan]], pa.list_(pa.float32(), 1))}, "some descriptors are not finite"),
    ],
)
def test_a_table_that_cannot_be_meant(
    tmp_path: Path, origin: dict[str, Any], columns: dict[str, pa.Array], said: str
) -> None:
    table = pa.table(COLUMNS | columns).replace_schema_metadata({"reid": json.dumps(ORIGIN | origin)})
    pq.write_table(table, tmp_path / "d.parquet")
    feather.write_feather(table, tmp_path / "d.arrow", compression="uncompressed")
    for name in ("d.parquet", "d.arrow"):
        with pytest.raises(DataError) as error:
            list(DescriptorTable(tmp_path / name).blocks())
        reason = "some images have no descriptor" if name == "d.arrow" and "all lists" in said else said
        assert f"{tmp_path / name} is no table of descriptors ({reason}" in str(error.value)


PAIRS_PLACES = ("train/images/a_1.jpg", "train/textures/b.png", "val/seen/d_1.png", "val/seen", "train/textures", "val")


@pytest.mark.parametrize("place", PAIRS_PLACES)
@pytest.mark.parametrize("odd", ODD)
def test_what_lies_in_the_place_of_a_texture_is_none(pairs: Path, tmp_path: Path, place: str, odd: str) -> None:
    path = pairs / place
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    ODD[odd](path)
    with pytest.raises(DataError) as error:
        prepare("texture_pairs", pairs, tmp_path / "store", height=32, width=16)
    assert str(pairs) in str(error.value)
    assert not (tmp_path / "store").exists()


def test_a_texture_larger_than_any_image(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid.data.pixels.MAX_PIXELS", 64 * 64 - 1)
    with pytest.raises(DataError, match=r"5 textures are not what they should be.*4,096 pixels are more than 4,095"):
        prepare("texture_pairs", pairs, tmp_path / "store", height=32, width=16)


@pytest.fixture
def store(market_once: Path, tmp_path: Path) -> Path:
    return prepare("embedded", market_once, tmp_path / "store").path


def test_a_shard_with_fewer_rows_than_its_manifest_says(store: Path) -> None:
    shard, manifest = store / "train-00000.arrow", json.loads((store / "manifest.json").read_text())
    write_batch(shard, map_shard(shard).slice(0, 5))
    manifest["splits"]["train"]["shards"][0]["bytes"] = shard.stat().st_size
    (store / "manifest.json").write_text(json.dumps(manifest | {"digest": content_digest(manifest)}))
    with pytest.raises(DataError, match=r"a shard is damaged, delete the folder .*: it has 5 rows instead of 12"):
        open_dataset(store, verify="sizes").splits["train"].gather([11])


def test_a_shard_that_is_damaged_is_described_by_nobody(store: Path, storage: Path) -> None:
    content = bytearray((store / "query-00000.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (store / "query-00000.arrow").write_bytes(content)
    with pytest.raises(DataError, match=r"query-00000\.arrow is damaged \(its checksum is another\)"):
        shares_of(str(store), Storage(str(storage)), None)
