"""Every benchmark runs at its smallest size, where ours and theirs compute the same. Nothing here is timed."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reid.models import FGSAM

FOLDER = Path(__file__).parents[1] / "benchmarks"
CHAOS = ("chaos", "chaos_checks", "chaos_jobs", "outages")
OTHERS = ("comparison", "losses", "phases", "run", *CHAOS)
"""`phases` says what a device can do, `losses` what a loss brings, `chaos` and `outages` what those cost:
none compares two ways to compute the same."""
SCRIPTS = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem not in OTHERS)
ON_A_CLUSTER = ("workers", "sweep_throughput")
"""Need a Ray cluster and a minute; tests/training compares one worker with two, tests/jobs runs sweeps of stubs."""


@pytest.fixture(autouse=True)
def _as_a_script_sees_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts' folder is on the path, and their number of threads is theirs alone."""
    monkeypatch.syspath_prepend(str(FOLDER))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for name in (*SCRIPTS, *OTHERS):
        sys.modules.pop(name, None)


def _load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in ON_A_CLUSTER])
def test_results_are_equal(name: str) -> None:
    benchmark = _load(name)
    _check(benchmark.run(**benchmark.QUICK))


def _check(rows: list[Any]) -> None:
    assert [row.name for row in rows if row.equal is False] == []
    assert any(row.equal for row in rows)
    assert all(row.ours > 0 and row.theirs > 0 for row in rows)


def test_all_are_run() -> None:
    assert sorted(_load("run").BENCHMARKS) == SCRIPTS


def test_peers_that_compute_something_else_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pooling = _load("pooling")
    monkeypatch.setattr(pooling, "signed_sqrt", lambda x: x)
    assert not any(row.equal for row in pooling.run(**pooling.QUICK))


def test_the_median_of_turns_counts_and_the_warm_up_does_not() -> None:
    readings = iter([0, 100, 100, 200, 200, 203, 203, 204, 204, 205, 205, 207, 207, 212, 212, 215])
    calls = []
    seconds = _load("comparison").medians(
        lambda: calls.append("a"), lambda: calls.append("b"), repeats=3, clock=lambda: next(readings)
    )
    assert calls == ["a", "b"] * 4
    assert seconds == [3, 2]


@pytest.mark.parametrize(("unit", "ratio"), [("ms", 0.5), ("MiB", 0.5), ("images/s", 2.0)])
def test_a_ratio_above_one_means_that_ours_is_better(unit: str, ratio: float) -> None:
    row = _load("comparison").Row(name="a", ours=4, theirs=2, unit=unit, aim=1.5, equal=True)
    assert row.ratio == ratio
    assert row.verdict == ("" if ratio > 1.5 else "below aim")


@pytest.mark.parametrize(("equal", "status", "shown"), [(True, 0, "below aim"), (False, 1, "NOT EQUAL"), (None, 1, "")])
def test_only_crashes_and_differences_fail(tmp_path: Path, equal: bool | None, status: int, shown: str) -> None:
    """`run.py` with benchmarks that report a missed aim, a difference, or crash."""
    for name in ("run", "comparison"):
        (tmp_path / f"{name}.py").write_text((FOLDER / f"{name}.py").read_text())
    row = {"name": "it", "ours": 2.0, "theirs": 1.0, "unit": "ms", "aim": 1.0, "equal": equal}
    (tmp_path / "pooling.py").write_text(
        "raise RuntimeError"
        if equal is None
        else f"import sys\nopen(sys.argv[2], 'w').write({json.dumps([row])!r})\nsys.exit({int(not equal)})\n"
    )
    outcome = subprocess.run(
        [sys.executable, tmp_path / "run.py", "--only", "pooling"], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == status
    assert shown in outcome.stdout


def test_every_phase_is_measured() -> None:
    """Operations: backward costs forward twice, but for the gradient of the images, which nothing needs."""
    phases = _load("phases")
    speeds = phases.measure("smoke", device="cpu", batch=4, modes=["eager"], windows=1, steps=1, warmup=0)
    assert [speed.phase for speed in speeds] == ["pose", "baseline", "intermediate", "final"]
    assert all(speed.images_per_second > 0 for speed in speeds)
    assert all(speed.memory is None for speed in speeds)

    config, _ = phases.from_scratch("smoke")
    model = FGSAM(config.model, stage="baseline", num_identities=phases.NUM_IDENTITIES, attributes={})
    forward: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        forward.append(2 * module.weight.numel() * output[0].numel() // output.shape[1])

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model(torch.zeros(2, 3, config.data.height, config.data.width))
    pose, baseline, intermediate, final = (speed.operations for speed in speeds)
    assert baseline == 3 * sum(forward) - forward[0]
    assert pose > 0
    for fused in (intermediate, final):  # the frozen pose net's maps are known
        assert baseline / 1.1 < fused < 1.1 * baseline


@pytest.mark.slow
def test_losses_are_compared_on_identities_that_no_training_has_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = _load("losses")
    monkeypatch.setattr(losses, "LOSSES", {losses.PAPER: {}, "none": {"loss.triplet_weight": 0.0}})
    scores = losses.compare("smoke", [0], tmp_path)
    assert list(scores) == [losses.PAPER, "none"]
    assert all(0 < mAP <= 1 for values in scores.values() for mAP in values)
    header, _, paper, none = losses.table(scores).splitlines()
    assert [line.count("|") for line in (header, paper, none)] == [4, 4, 4]


def test_the_share_of_the_peak(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    phases = _load("phases")
    speed = phases.Speed(phase="pose", mode="eager", images_per_second=2e3, operations=5e10, memory=3 * 2**30)
    monkeypatch.setattr(phases, "measure", lambda *args, **kwargs: [speed])
    for options, line, cells in (
        ([], "peak unknown", "| 3.00 | – |"),
        (["--peak", "400"], "peak 400 TFLOP/s", "| 3.00 | 25.0% |"),
    ):
        monkeypatch.setattr(sys, "argv", ["phases.py", "--device", "cpu", *options])
        phases.main()
        shown = capsys.readouterr().out
        assert line in shown
        assert f"| pose | eager | 2,000.0 | 50.0 {cells}" in shown


def test_a_missing_package_is_named() -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['torch'] = None; import phases"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: the package 'torch' is missing: install it")
