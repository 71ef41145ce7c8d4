"""Jobs whose storage is an S3 server that its URI alone tells how to find, in this process."""

import io
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import feather

import reid
from reid import jobs
from reid.data import DescriptorTable, open_store
from reid.page.finder import Finder
from reid.storage import Place, Storage

SETTINGS = (
    "data.height=32",
    "data.width=16",
    "scaling.num_workers=0",
    "precision=fp32",
    "tracking.uri=http://127.0.0.1:9",
)
"""No MLflow is within reach: what it would hold of files is tested by `tests/tracking/`."""


def command(name: str) -> Callable[..., None]:
    main = partial(getattr(jobs, name).main, standalone_mode=False)

    def run(*arguments: str) -> None:
        main([*arguments, *(part for setting in SETTINGS for part in ("--set", setting))])

    return run


@pytest.mark.slow
def test_every_job_finds_what_the_others_wrote(
    s3: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Place(s3("jobs"))
    cache = tmp_path / "cache"
    monkeypatch.setenv("REID_STORAGE", root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.chdir(tmp_path)

    short = ("phases.pose.epochs=1", "phases.intermediate.epochs=1", "phases.baseline=null", "phases.final=null")
    command("pipeline")("--preset", "smoke", *(part for setting in short for part in ("--set", setting)))
    printed = capsys.readouterr().out
    (key,) = (name for name in (root / "runs").names() if name.startswith("fgsam-"))
    run = root / "runs" / key
    assert {"config.yaml", "phases.json", "pictures", "report.html", "result.json", "results.md"} <= set(run.names())
    assert {"cmc.png", "time.png"} <= set((run / "pictures").names())
    assert f"report: {run / 'report.html'}" in printed
    checkpoint = Place(json.loads((run / "phases.json").read())["intermediate"])
    assert checkpoint == run / "intermediate" / "epoch_0001"
    assert (root / "maps").names(), "pose maps were computed and not kept"
    (export,) = map((root / "exports").__truediv__, (root / "exports").names())
    assert f"reid.load('{export}')" in printed

    people = np.random.default_rng(0).integers(0, 256, (3, 60, 30, 3), np.uint8)
    described = reid.load(checkpoint).describe(people)
    np.testing.assert_allclose(reid.load(export).describe(people), described, atol=1e-5)
    with pytest.raises(SystemExit, match=re.escape(f"the files are in {root / 'again'}")):
        command("export")("--checkpoint", checkpoint, "--output", root / "again")
    assert set((root / "again").names()) == set(export.names())

    command("evaluate")("--checkpoint", checkpoint)
    (key,) = (name for name in (root / "runs").names() if "-evaluation-" in name)
    assert {"pictures", "report.html"} <= set((root / "runs" / key).names())
    assert (root / "runs" / key / "pictures" / "cmc.png").read().startswith(b"\x89PNG")

    store = next(root / "stores" / name for name in (root / "stores").names() if name.startswith("embedded"))
    dataset = open_store(store, Storage(root))
    query = dataset.splits["query"].names[0]
    arguments = ("--checkpoint", checkpoint, "--images", store, "--output", root / "tables")
    command("extract")(*arguments, "--query", f"query/{query}", "--top", "3")
    table = root / "tables" / "descriptors.arrow"
    filesystem, path = table.resolve()
    assert feather.read_table(filesystem.open_input_file(path)).num_rows == sum(
        map(len, open_store(store, Storage(root)).splits.values())
    )
    assert DescriptorTable(table).origin.images == store
    finder = Finder(table, None, Storage(root))
    assert [match["name"] for match in finder.nearest_to_row(0, 2)]
    assert finder.picture(0).startswith(b"\x89PNG")
    command("extract")("--descriptors", table, "--query", f"query/{query}", "--sheet", root / "found.png")
    assert Image.open(io.BytesIO((root / "found.png").read())).format == "PNG"
    assert [entry.name for entry in tmp_path.iterdir()] == ["cache"], "a URI was taken for a path"
