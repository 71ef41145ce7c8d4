import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from reid.data import DataError
from reid.data.descriptors import BLOCK_ROWS, DescriptorTable, Origin, image_place, list_images, rows_of, write_table

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


def test_a_table_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    shares = [described(3, 1), described(BLOCK_ROWS + 2, 2)]
    names = [f"{row}.jpg" for row in range(BLOCK_ROWS + 2)]
    pids = np.arange(3)
    batches = [
        rows_of(shares[0], ["a.jpg", "b/c.jpg", "1.jpg"], split="query", pids_R=pids, camids_R=pids + 1),
        rows_of(shares[1], names),
    ]
    assert write_table(path, ORIGIN, batches) == 3 + len(names)
    assert [file.name for file in tmp_path.iterdir()] == ["d.parquet"]
    table = DescriptorTable(path)
    assert (len(table), table.dim, table.origin) == (3 + len(names), 4, ORIGIN)
    assert pq.read_schema(path).field("descriptor").type == pa.list_(pa.float32(), 4)
    np.testing.assert_array_equal(torch.cat(list(table.blocks())).numpy(), np.concatenate(shares))
    assert max(len(block) for block in table.blocks()) <= BLOCK_ROWS
    assert table.row(1) == {"split": "query", "name": "b/c.jpg", "pid": 1, "camid": 2}
    assert table.row(3) == {"split": None, "name": "0.jpg", "pid": None, "camid": None}
    assert (table.find("1.jpg"), table.find("no.jpg")) == ([2, 4], [])
    assert (table.find("query/1.jpg"), table.find("query/b/c.jpg"), table.find("gallery/1.jpg")) == ([2], [1], [])
    assert (table.place_in_split(0), table.place_in_split(2)) == (0, 2)
    for row in (0, 2, 3, len(table) - 1):
        np.testing.assert_array_equal(table.descriptor(row).numpy(), np.concatenate(shares)[row])


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
