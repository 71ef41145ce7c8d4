"""All four phases on the smallest rendered benchmark give the losses and scores they always gave.

The stored figures change with the mathematics, the random draws and the rendered pixels, with nothing else: the run is
in double precision, where the rounding of one CPU and another stays far below the tolerance. In single precision it
does not: four phases of an untrained network with small batches blow it up to a fifth of a loss.

Where a change is meant, renew the figures and commit the difference:
`REID_RENEW_GOLDEN=1 pytest tests/training/test_golden_run.py`.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reid.cluster import fit
from reid.config import RunConfig, load_config
from reid.models import CompactBilinearPooling, alignment
from reid.stages import STAGES, built_on, stage_of
from reid.storage import Place
from reid.training import PhaseJob, PhaseState, Stage

GOLDEN = Path(__file__).with_name("golden") / "smoke.json"
RENEW = "REID_RENEW_GOLDEN"
LOSS_TOLERANCE = 1e-3
"""Relative. Another instruction set changed no loss by 1e-6; α = 0.51 in place of 0.5 changes one by 5e-3."""
SCORE_TOLERANCE = 0.1
"""Absolute: one of the dozen people who show a joint, or two of the 24 queries, on the other side of a tie."""
TIMED = "train/images_per_second"

Metrics = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Run:
    config: RunConfig
    stores: dict[str, Path]
    folder: Path
    checkpoints: dict[str, str]
    """Of the phases before `final`."""
    metrics: dict[str, Metrics]
    """By phase."""


@pytest.fixture(scope="module", autouse=True)
def _in_double() -> Iterator[None]:
    """One thread, double precision."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("pose", "baseline", "intermediate", "final"):
            patch.setitem(STAGES, name, in_double(STAGES[name]))
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


def as_double(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)


def in_double(stage: Stage) -> Stage:
    def build(*args: Any, **kwargs: Any) -> nn.Module:
        model = stage.build(*args, **kwargs).double()
        for module in model.modules():
            module.register_forward_pre_hook(as_double)
        return model

    return dataclasses.replace(stage, build=build)


def train(
    config: RunConfig, phase: str, stores: dict[str, Path], folder: Path, former: dict[str, str]
) -> tuple[str, Metrics]:
    """The checkpoint that a phase leaves, and what was recorded of its one epoch."""
    stage = stage_of(config, phase)
    start_from = tuple(former[name] for name in built_on(config, phase, {name: name for name in former}))
    job = PhaseJob(config=config, phase=phase, stage=stage, store=str(stores[stage.data.name]), start_from=start_from)
    states: list[PhaseState] = []
    checkpoint = fit(job, place=Place(folder / phase), observe=states.append)
    (epoch,) = states[-1].history
    return checkpoint, {name: value for name, value in epoch.metrics.items() if name != TIMED}


@pytest.fixture(scope="module")
def golden_run(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("golden")
    config = load_config(
        preset="smoke",
        overrides=[
            f"storage={folder}",
            "evaluation.sample=0",
            *("data.height=32", "data.width=16", "scaling.num_workers=0", "precision=fp32"),
            *(f"phases.{phase}.epochs=1" for phase in ("pose", "baseline", "intermediate", "final")),
            *(f"phases.{phase}.learning_rate=1e-4" for phase in ("pose", "baseline")),
            *(f"phases.{phase}.learning_rate=1e-5" for phase in ("intermediate", "final")),
        ],
    )
    checkpoints: dict[str, str] = {}
    metrics: dict[str, Metrics] = {}
    for phase in config.phases:
        checkpoints[phase], metrics[phase] = train(config, phase, stores, folder / "run", dict(checkpoints))
    checkpoints.pop("final")
    return Run(config=config, stores=stores, folder=folder, checkpoints=checkpoints, metrics=metrics)


def differences(found: Metrics, expected: Metrics) -> list[str]:
    """A line for each metric that is not what it was."""
    lines = [f"{name} is new or gone" for name in sorted(found.keys() ^ expected.keys())]
    for name in sorted(found.keys() & expected.keys()):
        loss = name.startswith("train/")
        tolerance = LOSS_TOLERANCE * abs(expected[name]) if loss else SCORE_TOLERANCE
        if not abs(found[name] - expected[name]) <= tolerance:
            lines.append(f"{name} is {found[name]:.6g} instead of {expected[name]:.6g}")
    return lines


def test_every_phase_gives_the_stored_figures(golden_run: Run) -> None:
    if RENEW in os.environ:
        GOLDEN.parent.mkdir(exist_ok=True)
        rounded = {
            phase: {name: float(f"{value:.6g}") for name, value in metrics.items()}
            for phase, metrics in golden_run.metrics.items()
        }
        GOLDEN.write_text(json.dumps(rounded, indent=1) + "\n")
        pytest.fail(f"{GOLDEN} was renewed and nothing compared: read the difference, commit it, run without {RENEW}")
    golden = json.loads(GOLDEN.read_text())
    assert list(golden_run.metrics) == list(golden)
    changed = [
        f"{phase}: {line}"
        for phase, metrics in golden_run.metrics.items()
        for line in differences(metrics, golden[phase])
    ]
    if changed:
        pytest.fail("\n".join([*changed, f"if this is meant: {RENEW}=1 pytest {Path(__file__).name}"]), pytrace=False)


def another_margin(run: Run, patch: pytest.MonkeyPatch) -> RunConfig:
    return run.config.model_copy(update={"loss": run.config.loss.model_copy(update={"alpha": 0.51})})


def other_hashes(run: Run, patch: pytest.MonkeyPatch) -> RunConfig:
    def pooling(channels_a: int, channels_b: int, sketch_dim: int, seed: int) -> CompactBilinearPooling:
        return CompactBilinearPooling(channels_a, channels_b, sketch_dim, seed + 1)

    patch.setattr(alignment, "CompactBilinearPooling", pooling)
    return run.config


@pytest.mark.parametrize("change", [another_margin, other_hashes])
def test_a_small_change_of_the_mathematics_is_noticed(
    change: Callable[[Run, pytest.MonkeyPatch], RunConfig], golden_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = change(golden_run, monkeypatch)
    _, metrics = train(config, "final", golden_run.stores, golden_run.folder / change.__name__, golden_run.checkpoints)
    assert [line for line in differences(metrics, golden_run.metrics["final"]) if line.startswith("train/")]
