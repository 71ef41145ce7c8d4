"""What the campaign of kills draws, finds and tells. It runs itself by `make chaos`."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = ("chaos", "chaos_checks", "chaos_jobs")


@pytest.fixture(autouse=True)
def _as_a_script_sees_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in SCRIPTS:
        sys.modules.pop(name, None)


@pytest.fixture
def chaos() -> ModuleType:
    return importlib.import_module("chaos")


@pytest.fixture
def checks() -> ModuleType:
    return importlib.import_module("chaos_checks")


def test_a_seed_draws_the_same_cases_and_every_pair_once_before_any_twice(chaos: ModuleType) -> None:
    pairs = [(victim, name) for name, moment in chaos.MOMENTS.items() for victim in moment.victims]
    cases = list(islice(chaos.draw_cases(3), 2 * len(pairs)))
    assert cases == list(islice(chaos.draw_cases(3), 2 * len(pairs)))
    assert cases != list(islice(chaos.draw_cases(4), 2 * len(pairs)))
    assert sorted((case.victim, case.moment) for case in cases[: len(pairs)]) == sorted(pairs)
    assert all(0 <= case.at < 1 for case in cases)
    assert {victim for victim, _ in pairs} == set(chaos.VICTIMS)


def test_the_table_counts_kills_and_losses(chaos: ModuleType) -> None:
    case = chaos.Case(victim="worker", moment="training", at=0.5)
    kills = [(case, False), (case, True), (replace(case, victim="gcs", moment="exporting"), False)]
    head, rule, *rows = [line.strip("| ").split(" | ") for line in chaos.table(kills).splitlines()]
    assert head == ["SIGKILL to, while", *chaos.MOMENTS]
    assert len(rule) == len(head)
    cells = {(row[0], moment): cell for row in rows for moment, cell in zip(head[1:], row[1:], strict=True)}
    assert cells["worker", "training"] == "2, 1 lost"
    assert cells["gcs", "exporting"] == "1"
    assert cells["driver", "sweeping"] == "0"
    assert cells["controller", "rendering"] == "–"


def test_what_is_wrong_is_found(checks: ModuleType, tmp_path: Path) -> None:
    wanted = checks.Outcome(
        results={"final/model.safetensors": "ab"},
        metrics={"final train/total 1": [0.5], "final train/total 2": [0.25]},
        statuses={"final": ["FINISHED"]},
    )
    assert checks.complaints(wanted, wanted, tmp_path) == []
    (tmp_path / "outbox" / "reid-1").mkdir(parents=True)
    (tmp_path / "outbox" / "reid-1" / "walk.json").touch()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "result.json").touch()
    (tmp_path / "runs" / ".epoch_0001.partial").touch()
    found = checks.Outcome(
        results={"final/model.safetensors": "cd"},
        metrics={"final train/total 1": [0.5, 0.5]},
        statuses={"final": ["RUNNING"], "other": ["FINISHED"]},
    )
    assert checks.complaints(wanted, found, tmp_path) == [
        "other bits: final/model.safetensors",
        "metric final train/total 1: [0.5, 0.5]",
        "metric final train/total 2: None",
        "run final: ['RUNNING']",
        "run other: ['FINISHED']",
        f"left over: {tmp_path}/outbox/reid-1/walk.json",
        f"left over: {tmp_path}/runs/.epoch_0001.partial",
    ]
