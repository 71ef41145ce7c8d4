"""Damage of every kind to every format that a user can hand us: a clear error or a result, never anything else.

`REID_FUZZ_EXAMPLES` is how many cases of each format are tried; where it is set, they are others every time.
"""

import copy
import csv
import json
import os
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reid.config import ConfigError, load_config, load_manifest
from reid.data import (
    READERS,
    DataError,
    DescriptorTable,
    Origin,
    UnreadableImageError,
    load_image,
    open_dataset,
    prepare,
    rows_of,
    write_table,
)
from reid.data.readers.person_keypoints import with_keypoints
from reid.data.readers.texture_files import with_textures
from reid.data.shards import map_shard, write_batch
from reid.data.store import content_digest
from reid.experiments.runs import PHASES, Run
from reid.search.database import open_study, with_layouts_of
from reid.storage import Storage
from reid.training import CheckpointError, EpochRecord, PhaseState, Save
from reid.training.checkpoint import restore

EXAMPLES = os.environ.get("REID_FUZZ_EXAMPLES")
CLEAR = (ConfigError, DataError, CheckpointError, UnreadableImageError)
LONGEST_MESSAGE = 5000
SLOWEST = 20
"""Seconds that a case may take."""
MOST_MEMORY = 4 * 2**30
"""Bytes that a case may take beyond what is in use."""
OWN = {"title": "Mine", "attributes": [{"name": "hat", "region": "head", "classes": ["no", "yes"], "fields": ["hat"]}]}
SETTINGS = {
    "seed": 1,
    "data": {"height": 64, "width": 32, "augmentation": {"pad": 2}},
    "phases": {"final": {"epochs": 2, "learning_rate": 0.001, "rates": {"trunk": 0.1}}},
    "model": {"layout": {"plenary_dim": 8, "parts": [{"name": "face", "joints": ["nose"], "dim": 4}]}},
    "scaling": {"num_workers": [1, 2], "cpus_per_worker": 1.5},
    "search": {"objectives": ["mAP"], "layouts": ["six_parts"]},
}
LABELS = "path,split,pid,camid\n" + "".join(
    f"{number}.jpg,{split},{pid},{number}\n"
    for number, (split, pid) in enumerate((("train", 1), ("train", 1), ("query", 2), ("gallery", 2)), start=1)
)


def image(path: Path, seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 16, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_configuration(root: Path) -> None:
    (root / "run.yaml").write_text(yaml.safe_dump(SETTINGS))


def write_manifest(root: Path) -> None:
    (root / "manifest.yaml").write_text(yaml.safe_dump(OWN))


def write_images(root: Path) -> None:
    image(root / "a.jpg")
    image(root / "a.png")


def write_csv(root: Path) -> None:
    for number in range(1, 5):
        image(root / f"{number}.jpg", number)
    (root / "labels.csv").write_text(LABELS)


def write_own_csv(root: Path) -> None:
    """As people have it: names, no splits, attributes, another delimiter."""
    lines = ["Person;Camera;Coat;File"]
    for number in range(1, 17):
        image(root / f"{number}.jpg", number)
        lines.append(f"person {number // 4};{('door', 'hall')[number % 2]};{('red', 'blue')[number % 2]};{number}.jpg")
    (root / "people.csv").write_text("\n".join(lines), encoding="utf-8-sig")


def write_own_folders(root: Path) -> None:
    for folder in ("train/anna", "train/bob", "test/cleo"):
        (root / folder).mkdir(parents=True)
        image(root / folder / "1.jpg")
        image(root / folder / "2.jpg")


def write_checkpoint(root: Path) -> None:
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters())
    torch.autograd.backward(model(torch.ones(1, 2)).sum())
    optimizer.step()
    config = load_config(preset="smoke")
    history = (EpochRecord(epoch=1, time=1.0, metrics={"train/total": 0.5}),)
    state = PhaseState(phase="final", config=config, num_identities=2, attributes={}, history=history)
    Save.of(model, optimizer, state, {})(root)


def write_phases(root: Path) -> None:
    (root / "runs" / "a").mkdir(parents=True)
    (root / "runs" / "a" / PHASES).write_text(json.dumps({"pose": "/somewhere/pose", "final": "/somewhere/final"}))


def write_descriptors(root: Path) -> None:
    origin = Origin(
        images="/i",
        kind="folder",
        checkpoint="/c",
        digest="d",
        phase="final",
        height=64,
        width=32,
        settings={"seed": 1},
    )
    rows = rows_of(np.eye(3, 4, dtype=np.float32), ["a.jpg", "b.jpg", "c.jpg"], split="query")
    for name in ("d.parquet", "d.arrow"):
        write_table(root / name, origin, [rows])


def study_of(root: Path) -> Any:
    return open_study(f"sqlite:///{root}/study.db", "a", ["mAP"])


def write_study(root: Path) -> None:
    (root / "live").mkdir()
    study = study_of(root / "live")
    for value in (0.1, 0.2):
        trial = study.ask()
        trial.suggest_float("loss.alpha", 0, 1)
        trial.report(value, 1)
        trial.set_user_attr("epochs", 1)
        study.tell(trial, value)
    with_layouts_of(study, load_config(preset="smoke"))
    live, copy = (sqlite3.connect(place) for place in (root / "live" / "study.db", root / "study.db"))
    live.backup(copy)  # one file holds it all
    live.close()
    copy.close()


def read_market(root: Path) -> None:
    manifest = load_manifest("embedded")
    splits = with_keypoints(READERS["market1501"](root, manifest, (128, 64)), root, manifest, (128, 64))
    with_textures(splits, root, manifest)


def read_coco(root: Path) -> None:
    prepare("coco", root, root.with_name("prepared"), height=32, width=16)


def read_pairs(root: Path) -> None:
    prepare("texture_pairs", root, root.with_name("prepared"), height=32, width=16)


def read_own(root: Path) -> None:
    splits = READERS["folder_csv"](root, load_manifest("folder"), (32, 16))
    for records in splits.values():
        assert len(records) == len(set(records.paths)) == len(records.pids_N) == len(records.attributes_NA) > 0


def read_store(root: Path) -> None:
    for split in open_dataset(root, verify="sizes").splits.values():
        everything = np.arange(len(split))
        assert len(split.names) == len(split.pids_N) == len(split.camids_N) == len(split.attributes_NA)
        assert split.gather(everything).shape == (len(split), 128, 64, 3)
        assert len(split.keypoints(everything)) == len(split.ignore(everything))
        textured = np.flatnonzero(split.texture_rows_N >= 0)
        assert split.textures(textured).shape == (len(textured), 128, 128, 3) or not split.has_textures


def read_checkpoint(root: Path) -> None:
    model = torch.nn.Linear(2, 3)
    state = restore(str(root), model, torch.optim.Adam(model.parameters()))
    assert state.stage
    assert isinstance(state.labels.num_identities, int)


def read_descriptors(root: Path) -> None:
    for name in ("d.parquet", "d.arrow"):
        table = DescriptorTable(root / name)
        assert sum(map(len, table.blocks())) == len(table)
        for row in range(len(table)):
            assert row in table.find(table.row(row)["name"])
            assert table.place_in_split(row) <= row


def read_study(root: Path) -> None:
    with_layouts_of(study_of(root), load_config(preset="smoke"))


def read_phases(root: Path) -> None:
    assert all(
        isinstance(place, str)
        for place in Run(key="a", kind="pipeline", storage=Storage(str(root))).checkpoints().values()
    )


@dataclass(frozen=True, kw_only=True)
class Format:
    """What a user hands us."""

    read: Callable[[Path], object]
    """Reads all of a folder that holds it."""
    files: tuple[str, ...]
    """Those in the folder that are damaged."""
    write: Callable[[Path], None] | None = None
    """Makes a folder as it should be; none = a fixture does."""


FORMATS = {
    "attributes": Format(read=read_market, files=("market_attribute.mat",)),
    "market1501": Format(
        read=read_market, files=("query/0001_c1s1_000151_00.jpg", "query", "bounding_box_train", "textures")
    ),
    "person_keypoints": Format(read=read_market, files=("person_keypoints.json",)),
    "coco": Format(read=read_coco, files=("annotations/person_keypoints_train2017.json",)),
    "texture_pairs": Format(
        read=read_pairs,
        files=(
            "manifest.yaml",
            "train/images/a_1.jpg",
            "train/textures/b.png",
            "train/textures",
            "val/seen/d_1.png",
            "val/seen",
        ),
    ),
    "store": Format(
        read=read_store, files=("manifest.json", "train-00000.arrow", "query-00000.arrow", "train-textures-00000.arrow")
    ),
    "configuration": Format(
        read=lambda root: load_config(preset="smoke", file=root / "run.yaml"),
        files=("run.yaml",),
        write=write_configuration,
    ),
    "manifest": Format(read=lambda root: load_manifest("folder", root), files=("manifest.yaml",), write=write_manifest),
    "images": Format(
        read=lambda root: [load_image(root / name).getdata() for name in ("a.jpg", "a.png")],
        files=("a.jpg", "a.png"),
        write=write_images,
    ),
    "folder_csv": Format(read=read_own, files=("labels.csv", "1.jpg"), write=write_csv),
    "own_csv": Format(read=read_own, files=("people.csv",), write=write_own_csv),
    "own_folders": Format(
        read=read_own, files=("train", "test", "train/bob", "test/cleo/1.jpg"), write=write_own_folders
    ),
    "checkpoint": Format(
        read=read_checkpoint,
        files=("phase.json", "model.safetensors", "optimizer.safetensors"),
        write=write_checkpoint,
    ),
    "phases": Format(read=read_phases, files=(f"runs/a/{PHASES}",), write=write_phases),
    "descriptors": Format(read=read_descriptors, files=("d.parquet", "d.arrow"), write=write_descriptors),
    "study": Format(read=read_study, files=("study.db",), write=write_study),
}


def replace_by(make: Callable[[Path], object]) -> Callable[[Path, st.DataObject], None]:
    def replace(path: Path, data: st.DataObject) -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return replace


def change_bytes(path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, max(len(content) - 1, 0)))
        match data.draw(st.sampled_from(["set", "cut", "insert", "remove"])):
            case "set" if content:
                content[start] = data.draw(st.integers(0, 255))
            case "cut":
                del content[start:]
            case "insert":
                content[start:start] = data.draw(st.binary(min_size=1, max_size=64))
            case _:
                del content[start : start + data.draw(st.integers(1, 64))]
    path.write_bytes(content)


DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]
VALUES = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1, 3, 2.5, 1e30, -1e30, 10**18, 2**63, 2**64, 10**200, 10**5, 20000, 100_000),
        *(float("nan"), float("inf"), "", "x", "0", "../x", "/dev/zero", "\0", "é" * 600, "a" * 5000, "(", "(a+)+$"),
        *("(?P<pid>x)(?P<camid>y)", "(?P<pid>a{99999999999})", "${a}", "2001-99-99", [], {}, [1], [[1]], [None]),
        *({"a": 1}, {"counts": [1], "size": [1, 1]}, {"counts": "04", "size": [10**5, 10**5]}, [[1e9] * 6], [[0] * 7]),
        *({"counts": [10**10], "size": [10**5, 10**5]}, {"counts": "P" * 99, "size": [64, 96]}, DEEP),
    ]
).map(copy.deepcopy)


def change_tree(load: Callable[[str], Any], dump: Callable[[Any], str]) -> Callable[[Path, st.DataObject], None]:
    """Sets or removes something anywhere in a tree of lists and mappings."""

    def change(path: Path, data: st.DataObject) -> None:
        tree = load(path.read_text())
        for _ in range(data.draw(st.integers(1, 3))):
            here, keys = tree, list(range(len(tree))) if isinstance(tree, list) else list(tree)
            while keys:
                key = data.draw(st.sampled_from(keys))
                below = here[key]
                keys = (
                    list(below) if isinstance(below, dict) else list(range(len(below))) if type(below) is list else []
                )
                if not keys or data.draw(st.integers(0, 3)) == 0:
                    if data.draw(st.integers(0, 3)) == 0:
                        del here[key]
                    else:
                        here[key] = data.draw(VALUES)
                    break
                here = below
        path.write_text(dump(data.draw(VALUES) if data.draw(st.integers(0, 9)) == 0 else tree))

    return change


def change_columns(path: Path, data: st.DataObject) -> None:
    """Other rows or another type of a column of an Arrow or Parquet file; the file itself is whole."""
    arrow = path.suffix == ".arrow"
    table = pa.Table.from_batches([map_shard(path)]) if arrow else pq.read_table(path)
    name = data.draw(st.sampled_from(table.schema.names))
    place, rows = table.schema.get_field_index(name), len(table)
    match data.draw(st.sampled_from(["fewer", "more", "other", "null", "gone", "metadata"])):
        case "fewer":
            table = table.slice(0, data.draw(st.integers(0, rows - 1)))
        case "more":
            table = pa.concat_tables([table, table])
        case "other":
            wrong = [pa.array(range(rows)), pa.array(["x"] * rows), pa.array([[1.0]] * rows), pa.array([b"x"] * rows)]
            table = table.set_column(place, name, data.draw(st.sampled_from(wrong)))
        case "null":
            table = table.set_column(place, name, pa.nulls(rows, table.schema.field(name).type))
        case "gone":
            table = table.remove_column(place)
        case "metadata":
            origin = json.loads((table.schema.metadata or {}).get(b"reid", b"{}")) | {
                data.draw(st.sampled_from(["height", "width", "kind", "settings"])): data.draw(VALUES)
            }
            table = table.replace_schema_metadata({"reid": json.dumps(origin)})
    if not arrow:
        pq.write_table(table, path)
        return
    batches = table.combine_chunks().to_batches()
    write_batch(path, batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema))
    if not path.with_name("manifest.json").exists():
        return
    manifest = json.loads(path.with_name("manifest.json").read_text())
    for split in manifest["splits"].values():
        for shard in split["shards"] + split["textures"]:
            if shard["file"] == path.name:
                shard["bytes"] = path.stat().st_size
    manifest["digest"] = content_digest(manifest)
    path.with_name("manifest.json").write_text(json.dumps(manifest))


CELLS = st.sampled_from(
    [*("", "0", "-1", "x", "train", "test", "val", "query", "gallery", "path", "pid", "1.jpg", "../x", "/dev/zero"),
     *("é" * 600, "a" * 200_000, '"', 'x"y', "\n", "\0", "９", "9" * 5000, "1e9", "nan")]
)  # fmt: skip


def change_cells(path: Path, data: st.DataObject) -> None:
    """Other cells, or cells and lines that are gone or there twice."""
    text = path.read_text(encoding="utf-8-sig")
    delimiter = max(",;", key=text.count)
    rows = list(csv.reader(text.splitlines(), delimiter=delimiter))
    for _ in range(data.draw(st.integers(1, 4))):
        row = rows[data.draw(st.integers(0, len(rows) - 1))]
        place = data.draw(st.integers(0, len(row) - 1)) if row else 0
        match data.draw(st.sampled_from(["set", "set", "set", "gone", "twice", "line"])):
            case "set" if row:
                row[place] = data.draw(CELLS)
            case "gone" if row:
                del row[place]
            case "twice":
                rows.append(row)
            case _:
                row.clear()
    path.write_text("\n".join(delimiter.join(row) for row in rows), encoding="utf-8")


def change_rows(path: Path, data: st.DataObject) -> None:
    """Another value in a column of a database, or a table that is gone."""
    connection = sqlite3.connect(path)
    try:
        tables = sorted(row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        table = data.draw(st.sampled_from(tables))
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        value = data.draw(st.sampled_from([None, -1, 0, 7, 10**12, 0.5, "", "x", "v9.9.9", "{}", "[1", b"\0"]))
        column = data.draw(st.sampled_from(columns))
        with connection:
            match data.draw(st.sampled_from(["set", "set", "set", "empty", "drop"])):
                case "set":
                    connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))  # noqa: S608
                case "empty":
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608
                case "drop":
                    connection.execute(f"DROP TABLE {table}")
    except sqlite3.IntegrityError:
        pass  # the database itself does not permit it
    finally:
        connection.close()


Damage = Callable[[Path, st.DataObject], None]
KINDS: tuple[Damage, ...] = (
    replace_by(os.mkfifo),
    replace_by(Path.mkdir),
    replace_by(lambda path: None),
    replace_by(Path.touch),
    replace_by(lambda path: path.symlink_to(path.with_name("nowhere"))),
    replace_by(lambda path: path.symlink_to(path)),
    replace_by(lambda path: path.symlink_to("/dev/zero")),
    replace_by(lambda path: path.write_bytes(b"x")),
)
BY_SUFFIX: dict[str, Damage] = {
    ".json": change_tree(json.loads, json.dumps),
    ".yaml": change_tree(yaml.safe_load, yaml.safe_dump),
    ".parquet": change_columns,
    ".arrow": change_columns,
    ".csv": change_cells,
    ".db": change_rows,
}


@st.composite
def damages(draw: st.DrawFn, path: Path) -> Damage:
    if path.is_dir() or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(KINDS))
    inner = BY_SUFFIX.get(path.suffix)
    return inner if inner is not None and draw(st.integers(0, 2)) else change_bytes


@pytest.fixture(scope="session")
def samples(
    tmp_path_factory: pytest.TempPathFactory, person: Any, make_coco: Any, market_once: Path, pairs_once: Path
) -> dict[str, Path]:
    """A folder of every format that is as it should be."""
    root = tmp_path_factory.mktemp("samples")
    crowd = {"size": [64, 96], "counts": [100, 200, 64 * 96 - 300]}
    people = [
        person(1, 1, [10.0, 8.0, 30.0, 50.0]),
        person(1, 2, [30.0, 10.0, 20.0, 40.0], joints=0),
        person(1, 3, [0.0, 0.0, 96.0, 64.0], joints=0, iscrowd=1, segmentation=crowd),
    ]
    found = {
        **dict.fromkeys(("attributes", "market1501", "person_keypoints"), market_once),
        "coco": make_coco(root / "coco", people, height=64, width=96),
        "texture_pairs": pairs_once,
        "store": prepare("embedded", market_once, root / "store").path,
    }
    for name, kind in FORMATS.items():
        if kind.write is not None:
            (root / name).mkdir()
            kind.write(root / name)
            found[name] = root / name
    return found


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """Whatever eats the machine gets a MemoryError, which is no clear error."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MOST_MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def complaint(form: Format, folder: Path) -> str | None:
    try:
        form.read(folder)
    except CLEAR as error:
        return str(error)
    return None


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_an_error_that_names_the_place_or_does_no_harm(
    name: str, samples: dict[str, Path], tmp_path: Path, storage: Path, bounded_memory: None
) -> None:
    form = FORMATS[name]
    form.read(Path(shutil.copytree(samples[name], tmp_path / "whole")))

    @settings(
        max_examples=int(EXAMPLES or 60),
        derandomize=EXAMPLES is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def damaged(data: st.DataObject) -> None:
        shutil.rmtree(tmp_path / "cases", ignore_errors=True)
        folder = Path(shutil.copytree(samples[name], tmp_path / "cases" / "case"))
        path = folder / data.draw(st.sampled_from(form.files))
        data.draw(damages(path))(path, data)
        began = time.monotonic()
        message = complaint(form, folder)
        assert message is None or str(folder) in message or name == "configuration", f"no place: {message}"
        assert message is None or len(message.encode()) < LONGEST_MESSAGE
        assert time.monotonic() - began < SLOWEST

    damaged()
