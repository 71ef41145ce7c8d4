"""Run on a small disk: what each way of writing says when it is full, and what it leaves; a line of JSON for each."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import sqlalchemy
import torch

from reid.data.shards import write_shard
from reid.storage import DiskFullError, Place, room_for, whole_file, whole_folder, write_whole

NUMBERS = np.arange(100_000, dtype=np.int64)
BYTES = NUMBERS.nbytes


def in_a_folder(place: Path) -> None:
    with whole_folder(place) as folder:
        (folder / "small").write_bytes(b"small")
        (folder / "large").write_bytes(NUMBERS.tobytes())


def as_parquet(place: Path) -> None:
    with whole_file(place) as partial:
        pq.write_table(pa.table({"numbers": NUMBERS}), partial, compression="none", use_dictionary=False)


def by_arrow(place: Path) -> None:
    (place.parent / "source").symlink_to(sys.argv[2])
    try:
        Place(place).upload(place.parent / "source")
    finally:
        (place.parent / "source").unlink()
        place.unlink(missing_ok=True)


def as_tensors(place: Path) -> None:
    with whole_file(place) as partial:
        safetensors.torch.save_file({"numbers": torch.from_numpy(NUMBERS)}, partial)


def in_a_database(place: Path) -> None:
    with whole_file(place) as partial:
        connection = sqlite3.connect(partial)
        try:
            connection.execute("CREATE TABLE numbers (number BLOB)")
            connection.execute("INSERT INTO numbers VALUES (?)", (NUMBERS.tobytes(),))
            connection.commit()
        finally:
            connection.close()


def by_sqlalchemy(place: Path) -> None:
    with whole_file(place) as partial:
        engine = sqlalchemy.create_engine(f"sqlite:///{partial}", poolclass=sqlalchemy.NullPool)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE numbers (number BLOB)"))
            connection.execute(sqlalchemy.text("INSERT INTO numbers VALUES (:blob)"), {"blob": NUMBERS.tobytes()})


WAYS: dict[str, Callable[[Path], None]] = {
    "file": lambda place: write_whole(place, NUMBERS.tobytes()),
    "folder": in_a_folder,
    "shard": lambda place: write_shard(place, {"numbers": NUMBERS}),
    "parquet": as_parquet,
    "arrow": by_arrow,
    "safetensors": as_tensors,
    "sqlite": in_a_database,
    "sqlalchemy": by_sqlalchemy,
}


def attempt(way: Callable[[Path], None], place: Path) -> str:
    try:
        with room_for(place, BYTES):
            way(place)
    except DiskFullError as error:
        return str(error)
    return "written"


if __name__ == "__main__":
    disk = Path(sys.argv[1])
    for name, way in WAYS.items():
        said = attempt(way, disk / "place")
        left = sorted(path.name for path in disk.rglob("*") if not path.name.endswith(".lock"))
        subprocess.run(["mount", "-o", "remount,size=8000k", disk], check=True)
        again = attempt(way, disk / "place")
        if (disk / "place").is_dir():
            (disk / "place" / "large").unlink()
            (disk / "place" / "small").unlink()
            (disk / "place").rmdir()
        else:
            (disk / "place").unlink(missing_ok=True)
        subprocess.run(["mount", "-o", "remount,size=64k", disk], check=True)
        print(json.dumps({"way": name, "said": said, "left": left, "again": again}), flush=True)
