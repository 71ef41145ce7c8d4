"""A phase run here: what it leaves, and that one which was interrupted leaves the same."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from reid.config import RunConfig, with_settings
from reid.data import ReIDBatches
from reid.evaluation import Evaluation
from reid.stages import stage_of
from reid.training import PhaseJob, PhaseState, load_state, load_weights, loop, run_phase
from reid.training.step import train_step

CPU = torch.device("cpu")
DECAY = 0.9


class PowerCutError(Exception):
    """The end of a process, at a place of the test's choice."""


@dataclass(kw_only=True)
class Run:
    """A phase that is trained into a folder, and scored by what its weights are."""

    job: PhaseJob
    folder: Path
    cut_after: int | None = None
    """Epochs."""
    seen: list[dict[str, Tensor]] = field(default_factory=list)
    """Weights that were evaluated."""
    states: list[PhaseState] = field(default_factory=list)

    def evaluate(self, model: nn.Module, *_: Any, **__: Any) -> Evaluation:
        assert not model.training
        self.seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return Evaluation(metrics={"eval/seen": len(self.seen)})

    def report(self, state: PhaseState, save: Any) -> None:
        (self.folder / str(state.epoch)).mkdir(parents=True)
        save(self.folder / str(state.epoch))
        self.states.append(state)
        if state.epoch == self.cut_after:
            raise PowerCutError

    def train(self, resume_from: Path | None = None) -> Path:
        resumed = None if resume_from is None else str(resume_from)
        run_phase(self.job, device=CPU, evaluate=self.evaluate, report=self.report, resume_from=resumed)
        return self.folder / str(self.job.settings.epochs)


def job(config: RunConfig, phase: str, stores: dict[str, Path], **settings: Any) -> PhaseJob:
    config = with_settings(config, {f"phases.{phase}.{name}": value for name, value in settings.items()})
    stage = stage_of(config, phase)
    return PhaseJob(config=config, phase=phase, stage=stage, store=str(stores[stage.data.name]), start_from=())


@pytest.mark.parametrize(("phase", "ema"), [("baseline", 0.0), ("baseline", DECAY), ("final", DECAY)])
def test_a_phase_that_was_interrupted_ends_with_the_bits_of_one_that_was_not(
    phase: str, ema: float, config: RunConfig, stores: dict[str, Path], tmp_path: Path
) -> None:
    whole = Run(job=job(config, phase, stores, epochs=3, ema=ema, warmup=1), folder=tmp_path / "whole")
    expected = whole.train()
    cut = Run(job=whole.job, folder=tmp_path / "cut", cut_after=1)
    with pytest.raises(PowerCutError):
        cut.train()
    resumed = Run(job=whole.job, folder=tmp_path / "resumed")
    found = resumed.train(cut.folder / "1")
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    timed = "train/images_per_second"
    (one, *_), (other, *_) = whole.states[2:], resumed.states[1:]
    for record, like in zip(one.history, other.history, strict=True):
        assert {k: v for k, v in record.metrics.items() if k.startswith("train/") and k != timed} == {
            k: v for k, v in like.metrics.items() if k.startswith("train/") and k != timed
        }


def test_an_epoch_says_where_its_time_went_and_what_its_evaluation_kept(
    config: RunConfig, stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that moves by what each part is made to take."""
    now = [0.0]

    def taking(seconds: float, function: Any) -> Any:
        def slow(*args: Any, **kwargs: Any) -> Any:
            now[0] += seconds
            return function(*args, **kwargs)

        return slow

    config = with_settings(config, {"evaluation.sample": 0})
    run = Run(job=job(config, "baseline", stores, epochs=2), folder=tmp_path)
    steps = len(loop._global_batches(run.job.config, "baseline", run.job.open(), epoch=0))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(loop, "train_step", taking(3.0, train_step))
    monkeypatch.setattr(ReIDBatches, "training", taking(0.5, ReIDBatches.training))
    monkeypatch.setattr(
        run, "evaluate", taking(100.0, lambda *_, **__: Evaluation(metrics={}, cmc={"plain": (0.25, 1.0)}))
    )
    monkeypatch.setattr(run, "report", taking(1000.0, run.report))
    run.train()
    first, second = run.states[-1].history
    parts = {"batches": 0.5 * steps, "steps": 3.0 * steps, "scoring": 0.0, "saving": 0.0}
    assert first.seconds == pytest.approx(parts)
    assert second.seconds == pytest.approx(parts | {"scoring": 100.0, "saving": 1000.0})
    assert first.cmc == {}
    assert load_state(str(tmp_path / "2")).history[-1] == second
    assert second.cmc == {"plain": (0.25, 1.0)}


def test_a_phase_leaves_the_moving_average_of_its_steps_and_is_scored_by_it(
    config: RunConfig, stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[dict[str, Tensor]] = []

    def recording(model: nn.Module, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        terms = train_step(model, *args, **kwargs)
        steps.append({name: tensor.double() for name, tensor in model.state_dict().items()})
        return terms

    monkeypatch.setattr(loop, "train_step", recording)
    run = Run(job=job(config, "baseline", stores, ema=DECAY), folder=tmp_path)
    left = run.train()
    assert len(steps) == 8
    average = steps[0]
    for step in steps[1:]:
        average = {name: DECAY * average[name] + (1 - DECAY) * step[name] for name in step}
    weights = load_weights(str(left))
    assert weights.keys() == average.keys() == run.seen[-1].keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, run.seen[-1][name]), name
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), average[name], rtol=1e-5, atol=1e-6)
    assert any((tensor - steps[-1][name]).abs().max() > 1e-3 for name, tensor in weights.items())
    trained = safetensors.torch.load_file(left / "optimizer.safetensors")
    for name, last in steps[-1].items():
        assert torch.equal(trained[f"trained/{name}"].double(), last), name


def test_following_a_sample_costs_no_bit(config: RunConfig, stores: dict[str, Path], tmp_path: Path) -> None:
    left = {}
    for sample in (0, 2):
        plain = job(with_settings(config, {"evaluation.sample": sample}), "baseline", stores, epochs=2)
        run = Run(job=plain, folder=tmp_path / str(sample))
        run_phase(plain, device=CPU, evaluate=plain.stage.evaluate, report=run.report)
        left[sample] = (run.folder / "2" / "model.safetensors").read_bytes()
        for record in run.states[-1].history:
            assert ({"sample/mAP", "sample/rank1"} <= record.metrics.keys()) == bool(sample)
            assert 0 <= record.metrics.get("sample/mAP", 0) <= 1
    assert left[0] == left[2]
