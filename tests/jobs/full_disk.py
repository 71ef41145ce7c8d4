"""Run on a small disk: jobs that meet its end at different stages, and go on when it is larger; a line of JSON each."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from reid import jobs
from reid.storage import DiskFullError
from reid.tracking import Recorder, RunRecord

export = partial(jobs.export.main, standalone_mode=False)
extract = partial(jobs.extract.main, standalone_mode=False)
full_pipeline = partial(jobs.pipeline.main, standalone_mode=False)
prepare_data = partial(jobs.prepare.main, standalone_mode=False)


DISK = Path(sys.argv[1])
TOY = Path(__file__).with_name("toy.py")
STORAGE = DISK / "reid"
SETTINGS = (f"extensions=[{TOY}]", "scaling.num_workers=0", "data.name=embedded", "phases.second.epochs=3")
Main = Callable[[Sequence[str]], None]


def attempt(stage: str, main: Main, *arguments: object, free: int, storage: Path = STORAGE) -> None:
    """Run a job with so many kB left on the disk."""
    status = os.statvfs(DISK)
    size = (status.f_blocks - status.f_bavail) * status.f_frsize // 1024 + free
    subprocess.run(["mount", "-o", f"remount,size={size}k", DISK], check=True)
    settings = [part for setting in (*SETTINGS, f"storage={storage}") for part in ("--set", setting)]
    said: object = None
    try:
        main([*map(str, arguments), *settings])
    except SystemExit as error:
        said = error.code
    partial = [str(path) for path in DISK.rglob("*.partial*")]
    print(json.dumps({"stage": stage, "said": said, "partial": partial}), flush=True)


def put_away(_: Sequence[str]) -> None:
    recorder = Recorder(
        uri="http://127.0.0.1:9", experiment="away", artifacts=None, outbox=DISK / "outbox", storage="/data"
    )
    try:
        recorder.put(RunRecord(key="walk-1", name="walk-1", status="RUNNING", params={"long": "x" * 10_000}))
    except DiskFullError as error:
        sys.exit(f"error: {error}")


def weights(storage: Path) -> str:
    (checkpoint,) = storage.glob("runs/*/second/epoch_0003")
    return hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()


if __name__ == "__main__":
    preset = ("--preset", "toy")
    attempt("rendering", prepare_data, *preset, free=400)
    attempt("preparing", prepare_data, *preset, free=2_000)
    attempt("merging", prepare_data, *preset, free=4_500)
    attempt("prepared", prepare_data, *preset, free=9_000)
    attempt("database", full_pipeline, *preset, free=300)
    attempt("training", full_pipeline, *preset, free=1_300)
    attempt("trained", full_pipeline, *preset, free=40_000)
    (checkpoint,) = STORAGE.glob("runs/*/second/epoch_0003")
    exporting = ("--checkpoint", checkpoint, "--output", DISK / "out", "--alias", "again")
    attempt("exporting", export, *exporting, free=60)
    attempt("exported", export, *exporting, free=4_000)
    (images,) = STORAGE.glob("sources/*/market1501/query")
    extracting = ("--checkpoint", checkpoint, "--images", images, "--output", DISK / "table.parquet")
    attempt("extracting", extract, *extracting, free=4)
    attempt("extracted", extract, *extracting, free=4_000)
    attempt("recording", put_away, free=4)
    attempt("undisturbed", full_pipeline, *preset, free=40_000, storage=DISK / "whole")
    print(
        json.dumps(
            {"stage": "weights", "said": None, "partial": [], "same": weights(STORAGE) == weights(DISK / "whole")}
        )
    )
