"""Workers of a node share one copy of the images: memory counted where the kernel counts it, in PSS."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reid.data.shards import sha256_of, write_shard
from reid.data.store import SCHEMA_VERSION, Shard, StoredSplit, StoreManifest, content_digest

ROOT = Path(__file__).parents[2]
ROWS, HEIGHT, WIDTH = 5000, 128, 64
WORKER = """
import sys
import numpy as np
from reid.data import open_dataset

def held():
    # bytes: this process's share of the mapped shards, and all memory of its own
    shards = own = 0
    for line in open("/proc/self/smaps"):
        name, *rest = line.split()
        if not name.endswith(":"):
            is_shard = line.rstrip().endswith(".arrow")
        elif name == "Pss:" and is_shard:
            shards += int(rest[0]) * 1024
        elif name == "Anonymous:":
            own += int(rest[0]) * 1024
    return shards, own

def read(store):
    split = open_dataset(store, verify="sizes").splits["train"]
    return split, sum(int(split.gather(rows).numpy().sum()) for rows in np.array_split(np.arange(len(split)), 100))

read(sys.argv[1])  # a small store, for what the libraries set up at first use
before = held()[1]
split, total = read(sys.argv[2])
print(total, flush=True)
for _ in sys.stdin:
    shards, own = held()
    print(shards + own - before, flush=True)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw store of 120 MB in three shards."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    shards = []
    for number in range(3):
        path = folder / f"train-{number:05d}.arrow"
        rows = ROWS // 3
        write_shard(
            path,
            {
                "image": rng.integers(0, 256, (rows, HEIGHT, WIDTH, 3), np.uint8),
                "pid": np.arange(rows),
                "camid": np.ones(rows, np.int64),
                "name": [f"{row}.jpg" for row in range(rows)],
            },
        )
        shards.append(Shard(file=path.name, rows=rows, bytes=path.stat().st_size, sha256=sha256_of(path)))
    manifest = StoreManifest(
        schema_version=SCHEMA_VERSION,
        name="large",
        source="",
        plan="",
        digest="",
        encoding="raw",
        height=HEIGHT,
        width=WIDTH,
        max_people=0,
        attributes=(),
        splits={"train": StoredSplit(rows=len(shards) * rows, identities=rows, shards=tuple(shards))},
    )
    digest = content_digest(manifest.model_dump(mode="json"))
    (folder / "manifest.json").write_text(manifest.model_copy(update={"digest": digest}).model_dump_json())
    return folder


def ask(worker: subprocess.Popen[str], question: str = "") -> str:
    """The worker's next line."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    if question:
        print(question, file=worker.stdin, flush=True)
    return worker.stdout.readline()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the kernel counts no PSS")
@pytest.mark.slow
def test_another_worker_costs_next_to_nothing_of_the_images(stores: dict[str, Path], store: Path) -> None:
    size = sum(file.stat().st_size for file in store.glob("*.arrow"))
    assert size > 100 * 2**20
    workers: list[subprocess.Popen[str]] = []
    totals, memory = set(), []
    try:
        for _ in range(3):
            workers.append(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER, stores["reid"], store],
                    cwd=ROOT / "platform",
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            totals.add(int(ask(workers[-1])))
            memory.append(sum(int(ask(worker, "how much?")) for worker in workers))
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert len(totals) == 1, "every worker has seen every image"
    assert memory[0] > 0.9 * size, "the first worker does not map the images, so this measures something else"
    assert memory[1] - memory[0] < 0.15 * size
    assert memory[2] - memory[1] < 0.15 * size
