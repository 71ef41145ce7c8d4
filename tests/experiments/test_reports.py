"""What the reports say of a run, read back from their HTML: its numbers, and nothing that a name smuggles in."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reid.config import flatten, load_config
from reid.experiments import run_evaluation, run_pipeline
from reid.experiments.ablation_rows import COMPARISONS
from reid.experiments.ablation_table import AblationTable
from reid.experiments.report_parts import configuration_section, nearest_preset, score_table, seconds_of
from reid.experiments.reports import ablation_page
from reid.experiments.sweep_report import sweep_page
from reid.search import Trial
from reid.storage import Place
from reid.tracking import Recorder
from reid.training import EpochRecord, PhaseState

EVIL = "<script>alert(1)</script>"


class Read(HTMLParser):
    """Tables by the heading before them, sources of pictures, and all tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.pictures: list[str] = []
        self.code = ""
        self._text, self._heading = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._text = ""
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        elif tag == "table":
            self.tables.setdefault(self._heading, []).append([])
        elif tag == "tr":
            self.tables[self._heading][-1].append([])

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "h2":
            self._heading = self._text
        elif tag in ("th", "td"):
            self.tables[self._heading][-1][-1].append(self._text)
        elif tag == "code":
            self.code = self._text


@pytest.mark.slow
def test_a_pipeline_and_an_evaluation_tell_what_they_measured(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(
        preset="smoke",
        overrides=[
            *("data.height=32", "data.width=16", "scaling.num_workers=0", "precision=fp32", "loss.alpha=0.25"),
            *(f"phases.{phase}=null" for phase in ("pose", "intermediate")),
            *("phases.baseline.epochs=2", "phases.final.epochs=1"),
            f'tracking.experiment="{EVIL}"',
            "tracking.uri=http://user:hunter2@nowhere.invalid",
        ],
    )
    monkeypatch.setattr(Recorder, "put", lambda *_: None)
    monkeypatch.setattr(Recorder, "publish", lambda *_, **__: None)
    scores = run_pipeline(config)
    (folder,) = (path for path in (storage / "runs").iterdir() if path.is_dir())
    html = (folder / "report.html").read_text()
    read = Read(html)
    (table,) = read.tables["Results"]
    header, *rows = table
    shown = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}
    assert list(shown) == ["most common class", "everyone's mean joints", "mean colour", "baseline", "final"]
    for name, values in scores.items():
        assert shown[name]["mAP"] == f"{values['mAP']:.1%}"
        assert shown[name]["rank-1"] == f"{values['rank1']:.1%}"
    spent, *_ = read.tables["Where time went"]
    assert [row[:2] for row in spent[1:]] == [["baseline", "2"], ["final", "1"]]
    changed, every = read.tables["Configuration"]
    assert ["loss.alpha", "0.25", "0.5"] in changed
    assert ["tracking.experiment", EVIL, "reid"] in changed
    assert ["phases.pose", "left out", "pose"] in changed
    assert not [path for path, *_ in changed if path.startswith("phases.pose.")]
    assert dict(map(tuple, every))["loss.alpha"] == "0.25"
    assert "script" not in read.tags
    assert "hunter2" not in html
    assert all(source.startswith("data:image/png;base64,") for source in read.pictures)
    assert not re.search(r'(src|href)="(?!data:)', html)
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert {"cmc.png", "time.png", "losses_baseline.png", "losses_final.png", "attributes.png"} <= pictures
    (exported,) = (storage / "exports").glob("fgsam-*.final")
    assert f"reid.load({json.dumps(str(exported))})" in read.code
    compile(read.code, "report", "exec")
    assert len(html) < 12e6

    checkpoint = Place(json.loads((folder / "phases.json").read_text())["final"])
    metrics = run_evaluation(config, checkpoint=checkpoint)
    (folder,) = (storage / "runs").glob("fgsam-evaluation-*")
    again = Read((folder / "report.html").read_text())
    header, *rows = again.tables["Results"][0]
    assert dict(zip(header, rows[-1], strict=True))["mAP"] == f"{metrics['eval/mAP']:.1%}"
    assert str(checkpoint) in again.code


@pytest.mark.slow
def test_the_code_in_a_report_runs(storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import contextlib
    import io

    import numpy as np
    from PIL import Image

    config = load_config(
        preset="smoke",
        overrides=[
            *("data.height=32", "data.width=16", "scaling.num_workers=0", "precision=fp32", "phases.baseline.epochs=1"),
            *(f"phases.{phase}=null" for phase in ("pose", "intermediate", "final")),
        ],
    )
    monkeypatch.setattr(Recorder, "put", lambda *_: None)
    monkeypatch.setattr(Recorder, "publish", lambda *_, **__: None)
    run_pipeline(config)
    (report,) = storage.glob("runs/*/report.html")
    for name, colour in {"one.jpg": "red", "another.jpg": "blue"}.items():
        Image.new("RGB", (50, 80), colour).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(Read(report.read_text()).code, {})  # noqa: S102 - our own report
    numbers = np.array([float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?|\d+\.", printed.getvalue())])
    assert numbers[[0, 3]] == pytest.approx(1, abs=1e-4)


def experiment_of(**finished: Place) -> Any:
    """As far as a report looks at one."""
    workspace = SimpleNamespace(config=load_config(preset="smoke"), datasets={}, stores={})
    return SimpleNamespace(workspace=workspace, run=SimpleNamespace(key="walk-1"), finished=finished)


def test_a_sweep_tells_its_trials_and_what_they_reached() -> None:
    trials = [
        Trial(number=0, state="finished", params={"a": 1}, settings={}, epochs=4, values={"mAP": 0.5}),
        Trial(number=1, state="stopped", params={"a": EVIL}, settings={}, epochs=1, values={"mAP": 0.25}),
        Trial(number=2, state="failed", params={}, settings={}, epochs=0, failure="no luck"),
        Trial(
            number=3, state="finished", params={"a": 4}, settings={"loss.alpha": EVIL}, epochs=4, values={"mAP": 0.6}
        ),
    ]
    page = sweep_page(experiment_of(), trials, trials[3], {}, None, {"history.png": b"png"}, champion="champion")
    read = Read(page.html())
    judged, settings, every = read.tables["Trials"]
    assert judged == [["", "mAP"], ["the configuration's own values", "0.5"], ["trial 3, the winner", "0.6"]]
    assert settings == [["loss.alpha", EVIL]]
    assert every == [
        ["trial", "state", "epochs", "mAP", "parameters"],
        ["0", "finished", "4", "0.5", "a = 1"],
        ["1", "stopped", "1", "0.25", f"a = {EVIL}"],
        ["2", "failed", "0", "–", ""],
        ["3", "finished", "4", "0.6", "a = 4"],
    ]
    assert "script" not in read.tags
    assert len(read.pictures) == 1


def test_an_ablation_tells_its_table() -> None:
    """Rows without a score are left out of the picture, and keep their dashes in the table."""
    table = AblationTable(
        comparison=COMPARISONS["fgsam",],
        scores={"base": {0: {"rank1": 0.5, "mAP": 0.25}}, "full": {}},
        images={"base": 1000, "full": 2000},
        other_images={"base": 0, "full": 500},
        paper={},
        costs={},
    )
    (shown,) = Read(ablation_page(experiment_of(), table).html()).tables["Results"]
    assert shown[0] == table.header()
    assert shown[1:] == table.rows()
    assert [row[:3] for row in shown[1:]] == [
        ["base", "50.0 %", "25.0 %"],
        ["base + pose + alignment + focal triplet", "–", "–"],
    ]


@pytest.mark.parametrize("preset", ["demo", "paper", "san_smoke", "smoke", "strong_baseline"])
def test_the_nearest_preset_is_the_one_that_little_was_changed_of(preset: str) -> None:
    config = load_config(preset=preset, overrides=["seed=7", "storage=/somewhere", "loss.beta=0.02"])
    name, theirs = nearest_preset({k: v for k, v in flatten(config).items() if k != "storage"})
    assert name == preset
    assert theirs["loss.beta"] == "0.01"
    changed, _ = configuration_section(config).tables
    assert [list(row) for row in changed.rows] == [["loss.beta", "0.02", "0.01"], ["seed", "7", "0"]]


def test_a_preset_as_it_is_has_no_differences() -> None:
    section = configuration_section(load_config(preset="demo"))
    assert len(section.tables) == 1
    assert "as in the preset demo" in section.note


def test_rivals_are_shown_where_a_model_has_what_they_rival() -> None:
    scores: dict[str, Any] = {"baseline": {"rank1": 0.5, "rank5": 0.6, "rank10": 0.7, "mAP": 0.4, "mINP": 0.1}}
    common = {"eval/attributes/hat": 0.7, "eval/attributes/bag": 0.5, "eval/attributes/mA": 0.1}
    assert [row[0] for row in score_table(scores, common, None).rows] == ["baseline"]
    scores["final"] = scores["baseline"] | {"attributes": 0.9, "people/pck": 0.3}
    table = score_table(scores, common, 0.25)
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert list(rows) == ["most common class", "everyone's mean joints", "baseline", "final"]
    assert rows["most common class"]["attributes"] == "60.0%"
    assert rows["everyone's mean joints"]["joints (PCK)"] == "25.0%"


def test_seconds_are_summed_over_the_epochs() -> None:
    config = load_config(preset="smoke")
    history = tuple(
        EpochRecord(epoch=epoch, time=1.0, metrics={}, seconds={"steps": 2.0 * epoch, "saving": 1.0})
        for epoch in (1, 2, 3)
    )
    state = PhaseState(phase="final", config=config, num_identities=2, attributes={}, history=history)
    assert seconds_of(state) == {"steps": 12.0, "saving": 3.0}
    older = PhaseState(
        phase="final",
        config=config,
        num_identities=2,
        attributes={},
        history=(EpochRecord(epoch=1, time=1.0, metrics={}),),
    )
    assert seconds_of(older) == {}
