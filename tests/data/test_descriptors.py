import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather

from reid.data import DataError, image_place, list_images
from reid.data.descriptors import BLOCK_ROWS, DescriptorTable, Origin, rows_of, write_table

ORIGIN = Origin(
    images="/data/crops", kind="store", checkpoint="/data/c", digest="ab", phase="final", height=64, width=32,
    settings={"seed": 3},
)  # fmt: skip


def described(count: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, 4), np.float32)


def test_a_table_says_no_password(tmp_path: Path) -> None:
    path, place = tmp_path / "d.parquet", "s3://key:s3/cr et@bucket/x?secret_key=t0p"
    origin = ORIGIN.model_copy(update={"checkpoint": place, "images": place})
    write_table(path, origin, [rows_of(described(1), ["a.jpg"])])
    assert DescriptorTable(path).origin.checkpoint == "s3://key:***@bucket/x?secret_key=***"
    assert not [secret for secret in (b"cr et", b"t0p") if secret in path.read_bytes()]


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_a_table_reads_back_as_it_was_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"d{suffix}"
    shares = [described(3, 1), described(BLOCK_ROWS + 2, 2)]
    names = [f"{row}.jpg" for row in range(BLOCK_ROWS + 2)]
    pids = np.arange(3)
    batches = [
        rows_of(shares[0], ["a.jpg", "b/c.jpg", "1.jpg"], split="query", pids_R=pids, camids_R=pids + 1),
        rows_of(shares[1], names),
    ]
    assert write_table(path, ORIGIN, batches) == 3 + len(names)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    table = DescriptorTable(path)
    assert (len(table), table.dim, table.origin) == (3 + len(names), 4, ORIGIN)
    others = {".arrow": feather.read_table, ".parquet": pq.read_table}
    assert others[suffix](path).schema.field("descriptor").type == pa.list_(pa.float32(), 4)
    np.testing.assert_array_equal(torch.cat(list(table.blocks())).numpy(), np.concatenate(shares))
    assert max(len(block) for block in table.blocks()) <= BLOCK_ROWS
    assert table.row(1) == {"split": "query", "name": "b/c.jpg", "pid": 1, "camid": 2}
    assert table.row(3) == {"split": None, "name": "0.jpg", "pid": None, "camid": None}
    assert (table.find("1.jpg"), table.find("no.jpg")) == ([2, 4], [])
    assert (table.find("query/1.jpg"), table.find("query/b/c.jpg"), table.find("gallery/1.jpg")) == ([2], [1], [])
    assert (table.place_in_split(0), table.place_in_split(2)) == (0, 2)
    for row in (0, 2, 3, len(table) - 1):
        np.testing.assert_array_equal(table.descriptor(row).numpy(), np.concatenate(shares)[row])
    with pytest.raises(IndexError, match=f"has no row {len(table)}"):
        table.row(len(table))


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=8),
    splits=st.lists(st.sampled_from([None, "query", "gallery"]), min_size=8, max_size=8),
    data=st.data(),
)
def test_rows_are_found_wherever_the_parts_of_a_file_end(
    sizes: list[int], splits: list[str | None], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As by one list of all rows, for files of any parts: those of former versions have small ones."""
    folder = tmp_path_factory.mktemp("parts")
    rows = [(split, f"{place % 3}.jpg") for size, split in zip(sizes, splits, strict=False) for place in range(size)]
    descriptors_ND = described(len(rows))
    edges = np.cumsum([0, *sizes])
    batches = [
        rows_of(descriptors_ND[start:stop], [name for _, name in rows[start:stop]], split=split)
        for start, stop, split in zip(edges[:-1], edges[1:], splits, strict=False)
    ]
    schema = batches[0].schema.with_metadata({"reid": ORIGIN.model_dump_json()})
    with (
        pq.ParquetWriter(folder / "d.parquet", schema) as parquet,
        pa.ipc.new_file(folder / "d.arrow", schema) as arrow,
    ):
        for batch in batches:
            parquet.write_batch(batch)
            arrow.write_batch(batch)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    for name in ("d.parquet", "d.arrow"):
        table = DescriptorTable(folder / name)
        assert [(row["split"], row["name"]) for row in table.rows(wanted)] == [rows[row] for row in wanted]
        found = torch.cat([torch.empty(0, 4), *table.blocks(start, stop)])
        np.testing.assert_array_equal(found.numpy(), descriptors_ND[start:stop])
        assert table.find("1.jpg") == [index for index, row in enumerate(rows) if row[1] == "1.jpg"]
        assert table.find("query/2.jpg") == [index for index, row in enumerate(rows) if row == ("query", "2.jpg")]
        for index in set(wanted):
            assert table.place_in_split(index) == [split for split, _ in rows[:index]].count(rows[index][0])
            np.testing.assert_array_equal(table.descriptor(index).numpy(), descriptors_ND[index])


LOOK_UP = """
import sys
from pathlib import Path
from reid.data import DescriptorTable
from reid.evaluation import nearest

def look_up(path):
    table = DescriptorTable(Path(path))
    table.find("nobody.jpg"), table.place_in_split(len(table) - 1)
    nearest(table.descriptor(0)[None], table.blocks(), 10)
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

print(look_up(sys.argv[1]), look_up(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_a_look_up_takes_no_more_memory_in_a_larger_file(suffix: str, tmp_path: Path) -> None:
    few, many = tmp_path / f"few{suffix}", tmp_path / f"many{suffix}"
    block = rows_of(np.random.default_rng(0).standard_normal((BLOCK_ROWS, 512), np.float32), ["a.jpg"] * BLOCK_ROWS)
    write_table(few, ORIGIN, [block] * 4)
    write_table(many, ORIGIN, [block] * 40)
    found = subprocess.run([sys.executable, "-c", LOOK_UP, few, many], capture_output=True, text=True, check=True)
    of_few, of_many = map(float, found.stdout.split())
    larger = (many.stat().st_size - few.stat().st_size) / 2**20
    assert of_many - of_few < larger / 4


def test_a_table_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def breaking() -> list[pa.RecordBatch]:
        yield rows_of(described(3), ["a", "b", "c"])
        raise KeyboardInterrupt

    write_table(tmp_path / "d.parquet", ORIGIN, [rows_of(described(1), ["a"])])
    with pytest.raises(KeyboardInterrupt):
        write_table(tmp_path / "d.parquet", ORIGIN, breaking())
    assert len(DescriptorTable(tmp_path / "d.parquet")) == 1
    assert write_table(tmp_path / "none.parquet", ORIGIN, []) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["d.parquet"]
    with pytest.raises(DataError, match=r"d\.parquet/e cannot be written .*: choose another place"):
        write_table(tmp_path / "d.parquet" / "e", ORIGIN, [rows_of(described(1), ["a"])])


def test_what_a_killed_extraction_left_is_removed_by_the_next(
    in_processes: Callable[..., list[int]], tmp_path: Path
) -> None:
    def killed(_: int) -> None:
        def batches() -> Iterator[pa.RecordBatch]:
            yield rows_of(described(3), ["a", "b", "c"])
            os.kill(os.getpid(), signal.SIGKILL)

        write_table(tmp_path / "d.parquet", ORIGIN, batches())

    assert in_processes(1, killed) == [-signal.SIGKILL]
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith(".")] == []
    assert list(tmp_path.iterdir()) != []
    write_table(tmp_path / "another.parquet", ORIGIN, [rows_of(described(1), ["a"])])
    assert [file.name for file in tmp_path.iterdir()] == ["another.parquet"]


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist: write it with --checkpoint and --images first"):
        DescriptorTable(tmp_path / "d.parquet")
    (tmp_path / "d.parquet").write_bytes(b"PAR1 something else PAR1")
    with pytest.raises(DataError, match=r"d\.parquet is no table of descriptors \(.*\): write it anew"):
        DescriptorTable(tmp_path / "d.parquet")
    for table in (
        pa.table({"x": [1]}),
        pa.table({"x": [1]}).replace_schema_metadata({"reid": "{}"}),
        pa.table({"x": [1]}).replace_schema_metadata({"reid": ORIGIN.model_dump_json()}),
    ):
        pq.write_table(table, tmp_path / "d.parquet")
        with pytest.raises(DataError, match="is no table of descriptors"):
            DescriptorTable(tmp_path / "d.parquet")


def test_images_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/z.jpeg", "a/B.jpg", "a.jpg", "Thumbs.db", ".hidden.jpg", ".cache/c.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.symlink(tmp_path, tmp_path / "loop")
    assert list_images(tmp_path) == ["a.jpg", "a/B.jpg", "a/z.jpeg", "b.PNG"]
    (tmp_path / "new\nline.jpg").touch()
    with pytest.raises(DataError, match=r"'new\\nline.jpg': rename it"):
        list_images(tmp_path)
    (tmp_path / "a" / "b").mkdir()
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path))}/a/b holds no image"):
        list_images(tmp_path / "a" / "b")
    with pytest.raises(DataError, match=r"there is no folder .*nowhere: set --images"):
        list_images(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "a/../../b.jpg", "a/.."])
def test_a_name_that_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    assert image_place(tmp_path, "a/b..c.jpg") == tmp_path / "a" / "b..c.jpg"
    with pytest.raises(DataError, match="leads out of the folder of images"):
        image_place(tmp_path, name)
