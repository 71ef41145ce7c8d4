"""`jobs/extract.py`: a table of descriptors of any images, and the people in it that look most like one."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pyarrow import feather

from reid import jobs
from reid.data import map_in_process, open_dataset, prepare
from reid.data.descriptors import DescriptorTable
from reid.embedded import SIZES, render_market1501

main = partial(jobs.extract.main, standalone_mode=False)


Save = Callable[..., Path]


@pytest.fixture(scope="session")
def checkpoint(save_untrained: Save) -> str:
    return str(save_untrained("baseline"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six images of different sizes, two of them the same but for their place."""
    folder = tmp_path / "images"
    (folder / "night").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index, name in enumerate(("a.jpg", "b.png", "c.JPG", "night/a.jpg", "night/b.png")):
        Image.fromarray(rng.integers(0, 256, (70 + index, 30 + index, 3), np.uint8)).save(folder / name)
    (folder / "night" / "b again.png").write_bytes((folder / "b.png").read_bytes())
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    render_market1501(root / "market1501", size=SIZES["smoke"], seed=0, map_tasks=map_in_process)
    return prepare("embedded", root / "market1501", root / "reid", height=32, width=16).path


def extract(*arguments: object) -> None:
    main([*map(str, arguments), "--set", "scaling.num_workers=0", "--set", "precision=fp32"])


def refused(*arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        extract(*arguments)
    assert isinstance(caught.value.code, str)
    assert "\n" not in caught.value.code
    return caught.value.code


@pytest.fixture
def table(checkpoint: str, images: Path, tmp_path: Path, storage: Path) -> Path:
    extract("--checkpoint", checkpoint, "--images", images, "--output", tmp_path / "out")
    return tmp_path / "out" / "descriptors.arrow"


def test_a_folder_becomes_a_table_and_is_searched(
    table: Path, images: Path, checkpoint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = feather.read_table(table)
    names = ["a.jpg", "b.png", "c.JPG", "night/a.jpg", "night/b again.png", "night/b.png"]
    assert columns["name"].to_pylist() == names
    assert columns["pid"].to_pylist() == columns["camid"].to_pylist() == columns["split"].to_pylist() == [None] * 6
    opened = DescriptorTable(table)
    assert (opened.origin.checkpoint, opened.origin.kind, opened.origin.images) == (checkpoint, "folder", str(images))
    assert (opened.origin.height, opened.origin.width) == (64, 32)
    torch.testing.assert_close(torch.cat(list(opened.blocks())).norm(dim=1), torch.ones(6))

    capsys.readouterr()
    extract("--descriptors", table, "--query", "b.png", "--top", "3")
    printed = capsys.readouterr().out
    first = next(line for line in printed.splitlines() if "0.0000" in line)
    assert "night/b again.png" in first
    sheet = table.with_name("descriptors-b.png")
    assert f"sheet: {sheet}" in printed
    assert Image.open(sheet).format == "PNG"

    elsewhere = images.parent / "moved"
    os.rename(images, elsewhere)
    message = refused("--descriptors", table, "--query", "b.png")
    assert f"the image {images}/b.png is not there any more: say with --images where" in message
    extract("--descriptors", table, "--query", "b.png", "--images", elsewhere)

    monkeypatch.chdir(elsewhere.parent)
    capsys.readouterr()
    extract("--descriptors", table, "--query", "moved/c.JPG", "--images", elsewhere, "--sheet", "found.png")
    first = next(line for line in capsys.readouterr().out.splitlines() if "0.0000" in line)
    assert "c.JPG" in first  # a file is described anew, and finds itself
    assert (elsewhere.parent / "found.png").is_file()


def test_a_store_keeps_its_splits_identities_and_cameras(
    store: Path, checkpoint: str, storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "d.parquet"
    extract("--checkpoint", checkpoint, "--images", store, "--output", table)
    columns = pq.read_table(table).to_pydict()
    start = 0
    for name, split in open_dataset(store).splits.items():
        rows = slice(start, start + len(split))
        assert set(columns["split"][rows]) == {name}
        assert columns["name"][rows] == split.names
        assert columns["pid"][rows] == split.pids_N.tolist()
        assert columns["camid"][rows] == split.camids_N.tolist()
        start += len(split)
    assert start == len(columns["name"])
    query = open_dataset(store).splits["query"].names[2]
    capsys.readouterr()
    extract("--descriptors", table, "--query", query, "--top", "12")
    assert "gallery" in capsys.readouterr().out
    assert (tmp_path / f"d-{Path(query).stem}.png").is_file()


def test_images_that_cannot_be_read_are_all_named_and_the_others_kept(
    images: Path, checkpoint: str, storage: Path, tmp_path: Path
) -> None:
    (images / "cut.jpg").write_bytes((images / "a.jpg").read_bytes()[:200])
    (images / "night" / "page.png").write_text("<html>not found</html>")
    table = tmp_path / "d.parquet"
    message = refused("--checkpoint", checkpoint, "--images", images, "--output", table)
    assert message.startswith(f"error: 2 images cannot be read and are not in {table}: ")
    assert f"{images}/cut.jpg" in message
    assert f"{images}/night/page.png" in message
    assert len(DescriptorTable(table)) == 6


def test_what_a_user_can_get_wrong(
    save_untrained: Save, checkpoint: str, images: Path, table: Path, tmp_path: Path
) -> None:
    rest = ("--images", images, "--output", tmp_path / "d.parquet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    pose = save_untrained("pose")
    for arguments, complaint in {
        ("--checkpoint", pose, *rest): "is of stage pose, which has no descriptor: take another phase's",
        ("--checkpoint", tmp_path / "nowhere", *rest): "is no checkpoint: it has no phase.json",
        ("--checkpoint", checkpoint, *rest, "--set", "model.trunk=resnet34"): "is of another architecture",
        ("--checkpoint", checkpoint, *rest, "--top", 0): "--top is 0: ask for at least 1",
        ("--checkpoint", checkpoint, "--images", tmp_path / "empty", "--output", "d.parquet"): "empty holds no image",
        ("--checkpoint", checkpoint, "--images", tmp_path / "none", "--output", "d.parquet"): "there is no folder",
        ("--checkpoint", checkpoint, "--images", images, "--output", tmp_path / "file" / "d.parquet"): (
            "cannot be written"
        ),
        ("--descriptors", table, "--query", "nobody.jpg"): "nobody.jpg is neither a name in",
        ("--descriptors", table, "--query", tmp_path / "file"): "file is no image (JPEG or PNG): choose another image",
        ("--descriptors", tmp_path / "file", "--query", "a.jpg"): "is no table of descriptors",
        ("--descriptors", table, "--query", "a.jpg", "--sheet", tmp_path / "file" / "s.png"): "choose another --sheet",
    }.items():
        assert complaint in refused(*arguments)
    assert not (tmp_path / "d.parquet").exists()


def test_a_model_that_was_trained_on_is_not_taken_for_the_tables(
    save_untrained: Save, images: Path, storage: Path, tmp_path: Path
) -> None:
    checkpoint, other = save_untrained("baseline", seed=1), save_untrained("baseline", seed=2)
    table = tmp_path / "d.parquet"
    extract("--checkpoint", checkpoint, "--images", images, "--output", table)
    for file in other.iterdir():
        (checkpoint / file.name).write_bytes(file.read_bytes())
    message = refused("--descriptors", table, "--query", images / "a.jpg")
    assert f"{checkpoint} holds another model than the one that {table} was written with: write it anew" in message


def test_a_table_of_queries_is_looked_up_in_another(
    images: Path, store: Path, checkpoint: str, save_untrained: Save, storage: Path, tmp_path: Path
) -> None:
    queries, table, found = tmp_path / "queries.parquet", tmp_path / "people.arrow", tmp_path / "found"
    extract("--checkpoint", checkpoint, "--images", images, "--output", queries)
    extract("--checkpoint", checkpoint, "--images", store, "--output", table)
    extract("--descriptors", table, "--queries", queries, "--top", 3, "--output", found)
    matches = feather.read_table(found / "matches.arrow").to_pylist()
    sought, seen = pq.read_table(queries).to_pylist(), feather.read_table(table).to_pylist()
    seen_ND = np.array([row["descriptor"] for row in seen], np.float64)
    assert len(matches) == 3 * len(sought)
    for place, row in enumerate(sought):
        distances_N = np.linalg.norm(seen_ND - np.array(row["descriptor"], np.float64), axis=1)
        nearest_K = distances_N.argsort(kind="stable")[:3].tolist()
        of_query = matches[3 * place : 3 * place + 3]
        assert [match["row"] for match in of_query] == nearest_K
        assert [(match["query"], match["query_name"], match["rank"]) for match in of_query] == [
            (place, row["name"], rank) for rank in (1, 2, 3)
        ]
        np.testing.assert_allclose([match["distance"] for match in of_query], distances_N[nearest_K], atol=1e-9)
        for match, index in zip(of_query, nearest_K, strict=True):
            assert {key: match[key] for key in ("split", "name", "pid", "camid")}.items() <= seen[index].items()

    other = tmp_path / "other.arrow"
    extract("--checkpoint", save_untrained("baseline", seed=5), "--images", images, "--output", other)
    message = refused("--descriptors", table, "--queries", other, "--output", found)
    assert "were written with different models: describe both with the same" in message


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--checkpoint is missing"),
        (["--checkpoint", "c", "--images", "i"], "--output is missing"),
        (["--descriptors", "d"], "--query is missing"),
        (["--descriptors", "d", "--query", "q", "--checkpoint", "c"], "leave --checkpoint out"),
        (["--queries", "q"], "--descriptors is missing"),
        (["--descriptors", "d", "--queries", "q"], "--output is missing"),
        (["--descriptors", "d", "--queries", "q", "--output", "o", "--query", "q"], "leave --query out"),
    ],
)
def test_arguments_that_do_not_go_together(arguments: list[str], complaint: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        main(arguments)
    assert complaint in str(caught.value)


@pytest.mark.cluster
def test_two_workers_write_what_one_process_writes(
    start: Callable[..., Any], store: Path, checkpoint: str, storage: Path, tmp_path: Path
) -> None:
    place = ("--checkpoint", checkpoint, "--images", store)
    settings = ("--set", "scaling.num_workers=2", "--set", "precision=fp32")
    job = start(sys.executable, "jobs/extract.py", *place, "--output", tmp_path / "two.parquet", *settings)
    printed = job.finish()
    assert "rows in" in printed
    extract(*place, "--output", tmp_path / "one.parquet")
    assert pq.read_table(tmp_path / "two.parquet").equals(pq.read_table(tmp_path / "one.parquet"))
    tables = ("--descriptors", tmp_path / "one.parquet", "--queries", tmp_path / "two.parquet")
    start(sys.executable, "jobs/extract.py", *tables, "--output", tmp_path / "two.arrow", *settings).finish()
    extract(*tables, "--output", tmp_path / "one.arrow")
    assert feather.read_table(tmp_path / "two.arrow").equals(feather.read_table(tmp_path / "one.arrow"))
