"""Run on a small disk, which MLflow's artifacts do not fit on: what a recorder says and keeps, as a line of JSON."""

import json
import subprocess
import sys
from pathlib import Path

from reid.storage import DiskFullError
from reid.tracking import Recorder, RunRecord

DISK, ELSEWHERE = Path(sys.argv[1]), Path(sys.argv[2])

if __name__ == "__main__":
    recorder = Recorder(
        uri=f"sqlite:///{ELSEWHERE}/mlflow.db",
        experiment="reid",
        artifacts=str(DISK / "artifacts"),
        outbox=ELSEWHERE / "outbox",
        storage="/data",
    )
    picture = ELSEWHERE / "ranked.png"
    picture.write_bytes(bytes(300_000))
    said = None
    try:
        with recorder:
            recorder.put(
                RunRecord(key="walk-1", name="walk-1", status="FINISHED", artifacts={str(picture): "pictures"})
            )
    except DiskFullError as error:
        said = str(error)
    kept = len(recorder.kept())
    subprocess.run(["mount", "-o", "remount,size=1000k", DISK], check=True)
    again = recorder.send()
    sizes = [file.stat().st_size for file in DISK.rglob("ranked.png")]
    print(json.dumps({"said": said, "kept": kept, "again": again, "left": len(recorder.kept()), "sizes": sizes}))
