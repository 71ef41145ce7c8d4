"""A phase in this process: what an exception in the middle leaves, and that going on changes no bit."""

import itertools
import json
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reid.cluster import runner
from reid.cluster.runner import PhaseFailedError, fit
from reid.config import RunConfig, with_settings
from reid.data import HoldOut
from reid.evaluation import Evaluation
from reid.stages import STAGES
from reid.storage import DiskFullError, Place
from reid.training import Scoring, load_state, loop, writer
from reid.training.checkpoint import PhaseState
from reid.training.loop import PhaseJob

EPOCHS = 3


@pytest.fixture
def job(config: RunConfig, stores: dict[str, Path]) -> PhaseJob:
    phase = config.phases["baseline"].model_copy(update={"epochs": EPOCHS, "batch_size": 36})
    return PhaseJob(
        config=config.model_copy(update={"phases": {"baseline": phase}}),
        phase="baseline",
        stage=STAGES["baseline"],
        store=str(stores["reid"]),
        start_from=(),
    )


def with_epochs(job: PhaseJob, epochs: int) -> PhaseJob:
    return replace(job, config=with_settings(job.config, {"phases.baseline.epochs": epochs}))


@pytest.mark.slow
def test_going_on_after_an_exception_changes_no_bit(
    job: PhaseJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: list[PhaseState] = []
    expected = Path(fit(job, place=Place(tmp_path / "whole" / "baseline"), observe=whole.append))
    train_step = loop.train_step

    def failing(*args: Any, place: str, **kwargs: Any) -> Any:
        if place == "phase baseline, epoch 2, step 2":
            raise RuntimeError("the power went")
        return train_step(*args, place=place, **kwargs)

    parts: list[PhaseState] = []
    with monkeypatch.context() as broken:
        broken.setattr(loop, "train_step", failing)
        with pytest.raises(RuntimeError, match="the power went"):
            fit(job, place=Place(tmp_path / "parts" / "baseline"), observe=parts.append)
    assert [state.epoch for state in parts] == [1]
    found = Path(fit(job, place=Place(tmp_path / "parts" / "baseline"), observe=parts.append))
    assert [state.epoch for state in parts] == [state.epoch for state in whole] == [1, 2, 3]
    assert found.name == expected.name == "epoch_0003"
    assert sorted(folder.name for folder in found.parent.iterdir()) == ["epoch_0002", "epoch_0003"]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
    assert parts[-1].history[0] == parts[0].history[0]
    assert [{file.name for file in (place / "pictures").iterdir()} for place in (found, expected)] == [
        {"cameras.png", "cmc.png", "ranked.png"}
    ] * 2


@pytest.mark.parametrize("scoring", ["illustrated", "plain"])
def test_a_phase_that_holds_identities_out_keeps_its_best_checkpoint_unless_it_is_a_trials(
    job: PhaseJob, tmp_path: Path, scoring: Scoring
) -> None:
    scores = iter((0.3, 0.9, 0.1, 0.2, 0.5))

    def evaluate(*_: Any, labels: Any, illustrated: bool, beside: Any) -> Evaluation:
        return Evaluation(metrics={"eval/mAP": next(scores)})

    settings = {"evaluation.every": 1, "evaluation.sample": 0, "phases.baseline.epochs": 5}
    job = replace(
        job,
        config=with_settings(job.config, settings),
        stage=replace(job.stage, evaluate=evaluate),
        hold_out=HoldOut(fraction=0.5, seed=0),
        scoring=scoring,
    )
    place = Place(tmp_path / "baseline")
    fit(job, place=place, observe=lambda _: None)
    best = ["epoch_0002"] if scoring == "illustrated" else []
    assert place.names() == [*best, "epoch_0004", "epoch_0005"]


@pytest.mark.slow
def test_only_what_a_checkpoint_holds_is_told_and_going_on_from_it_changes_no_bit(
    job: PhaseJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint after every second epoch, and the power goes in the one after the next."""
    whole: list[PhaseState] = []
    job = with_epochs(job, 5)
    expected = Path(fit(job, place=Place(tmp_path / "whole" / "baseline"), observe=whole.append))
    rare = replace(job, config=with_settings(job.config, {"scaling.checkpoint_epochs": 2}))
    train_step = loop.train_step

    def failing(*args: Any, place: str, **kwargs: Any) -> Any:
        if place == "phase baseline, epoch 4, step 1":
            raise RuntimeError("the power went")
        return train_step(*args, place=place, **kwargs)

    parts: list[PhaseState] = []
    place = Place(tmp_path / "parts" / "baseline")
    with monkeypatch.context() as broken:
        broken.setattr(loop, "train_step", failing)
        with pytest.raises(RuntimeError, match="the power went"):
            fit(rare, place=place, observe=parts.append)
    assert [state.epoch for state in parts] == [2]
    assert place.names() == ["epoch_0002"]
    found = Path(fit(rare, place=place, observe=parts.append))
    assert [state.epoch for state in parts] == [2, 4, 5]
    assert place.names() == ["epoch_0004", "epoch_0005"]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
    for earlier, later in itertools.pairwise(parts):
        assert later.history[: earlier.epoch] == earlier.history, "what was told is contradicted"
    losses = [[record.metrics["train/total"] for record in states[-1].history] for states in (parts, whole)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_going_on_from_the_one_before_a_damaged_checkpoint_changes_no_bit(
    job: PhaseJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = Path(fit(job, place=Place(tmp_path / "whole" / "baseline"), observe=lambda _: None))
    place = Place(tmp_path / "damaged" / "baseline")
    shutil.copytree(expected.parent, place)
    damaged = Path(place) / "epoch_0003" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    again: list[PhaseState] = []
    found = Path(fit(job, place=place, observe=again.append))
    assert [state.epoch for state in again] == [3]
    assert f"{damaged} is damaged (its checksum is another): going on from {place}/epoch_0002" in caplog.text
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
    for name in ("epoch_0002", "epoch_0003"):
        (Path(place) / name / "model.safetensors").write_bytes(b"")
    with pytest.raises(PhaseFailedError, match=f"delete the folder {place} and give the same command again"):
        fit(job, place=place, observe=lambda _: pytest.fail("nothing happened"))


def test_a_finished_phase_is_not_trained_again(job: PhaseJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit(job, place=Place(tmp_path / "baseline"), observe=lambda _: None)
    monkeypatch.setattr(loop, "train_step", None)
    assert fit(job, place=Place(tmp_path / "baseline"), observe=lambda _: pytest.fail("nothing happened")) == first


@pytest.fixture
def as_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train is not there, but for its limit of what ranks may tell each other."""

    def broadcast(data: object) -> object:
        text = pickle.dumps(data)
        assert len(text) <= 1000
        return pickle.loads(text)  # noqa: S301

    monkeypatch.setattr("reid.cluster.process_group.broadcast_from_rank_zero", broadcast)
    monkeypatch.setattr(runner, "get_device", lambda: torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.usefixtures("as_a_rank")
def test_a_worker_tells_every_epoch_and_stops_where_others_must_stop_too(
    job: PhaseJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, told = Place(tmp_path / "run"), list[str]()
    place = run / "baseline"
    unseen = runner._train(job, place, run, told.append)
    assert unseen is not None
    assert re.fullmatch(rf"\S+ does not see {run}: set storage=… to a place that all nodes see", unseen.reason)
    Path(run).mkdir()

    def full(*_: object, **__: object) -> None:
        raise DiskFullError(f"the disk of {'ü' * 1000} is full")

    with monkeypatch.context() as small:
        small.setattr(writer, "write_checkpoint", full)
        stopped = runner._train(job, place, run, told.append)
    assert stopped is not None
    assert stopped.no_room
    assert stopped.reason.startswith("the disk of üüü")
    assert told == []
    rare = replace(job, config=with_settings(job.config, {"scaling.checkpoint_epochs": 2}))
    assert runner._train(rare, place, run, told.append) is None
    assert [state_of(text).epoch for text in told] == [3]
    told.clear()
    place.delete()
    assert runner._train(job, place, run, told.append) is None
    states = [state_of(text) for text in told]
    assert [state.epoch for state in states] == [1, 3], "each as it is written, the last with the one before"
    assert states[-1] == load_state(place / "epoch_0003")
    for name in ("epoch_0002", "epoch_0003"):
        (Path(place) / name / "optimizer.safetensors").write_bytes(b"")
    damaged = runner._train(job, place, run, told.append)
    assert damaged is not None
    assert f"delete the folder {place}" in damaged.reason
    assert not damaged.no_room


def state_of(text: str) -> PhaseState:
    return PhaseState.from_json(json.loads(text))


def test_a_non_finite_loss_stops_the_phase_and_keeps_what_was_finished(job: PhaseJob, tmp_path: Path) -> None:
    baseline, calls = job.stage.loss, iter(range(100))

    def diverging(*args: Any) -> dict[str, torch.Tensor]:
        terms = baseline(*args)
        return {"identity": terms["identity"], "extra": terms["identity"] * (1.0 if next(calls) < 3 else torch.inf)}

    job = replace(job, stage=replace(job.stage, loss=diverging))
    with pytest.raises(
        PhaseFailedError,
        match=r"baseline stopped: .*phase baseline, epoch 2, step 2: identity = \d.*, extra = inf; lower",
    ):
        fit(job, place=Place(tmp_path / "baseline"), observe=lambda _: None)
    assert [folder.name for folder in (tmp_path / "baseline").iterdir()] == ["epoch_0001"]
