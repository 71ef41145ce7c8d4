"""A dry run: numbers from data that are there or known, and nothing that was not there before."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from reid.config import DataError, load_config, load_manifest
from reid.data import IMAGES_PER_IDENTITY, POSE, REID, TEXTURES, DataKind
from reid.data.store import read_manifest
from reid.experiments import estimate
from reid.experiments.estimate import START_S, Counts, Pace, counts_of, estimate_phase, pace_of, run_dry, store_bytes
from reid.experiments.workload import Work
from reid.stages import rehearse
from reid.storage import Storage
from reid.training import PhaseState, Save, make_optimizer

CPU = torch.device("cpu")


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    return ["scaling.num_workers=0", "precision=fp32", f"storage={tmp_path / 'reid'}"]


def test_nothing_is_written_and_a_sweep_trains_its_last_phase_often(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for job, times in (("pipeline", "1 ×"), ("sweep", "18 ×"), ("prepare", None)):
        run_dry(load_config(preset="smoke", overrides=settings), job)
        printed = capsys.readouterr().out
        assert "workers: none" in printed
        assert ("checkpoints and exports: " in printed) == ("CPU-hours: " in printed) == (times is not None)
        assert times is None or times in printed
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("kind", [REID, POSE, TEXTURES])
def test_what_is_prepared_has_the_numbers_that_were_foretold(
    kind: DataKind, settings: list[str], stores: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(preset="smoke", overrides=[*settings, "data.height=32", "data.width=16"])
    foretold = counts_of(config, Storage.of(config), kind)
    manifest = read_manifest(stores[kind.name])
    monkeypatch.setattr(estimate, "prepared", lambda *_: manifest)
    found = counts_of(config, Storage.of(config), kind)
    assert (foretold.missing, found.missing) == (True, False)
    tolerance = 0.1 if kind is POSE else 0  # how many people a scene has is drawn
    assert found.train == pytest.approx(foretold.train, rel=tolerance)
    assert found.scored == pytest.approx(foretold.scored, rel=tolerance)
    assert found.identities == foretold.identities
    stored = sum(file.stat().st_size for file in stores[kind.name].glob("*.arrow"))
    assert store_bytes(config, kind.name, foretold) == pytest.approx(stored, rel=0.2)


PACE = Pace(images_per_second=40, checkpoint=1000, weights=300)


@hypothesis_settings(deadline=None)
@given(
    epochs=st.integers(1, 9),
    trainings=st.integers(1, 5),
    scorings=st.integers(0, 9),
    samples=st.integers(0, 9),
    sample=st.integers(0, 100),
    counts=st.builds(Counts, train=st.integers(1, 500), scored=st.integers(0, 500), identities=st.just(50)),
    workers=st.integers(0, 4),
)
def test_time_and_bytes_are_those_of_every_epoch_one_by_one(
    epochs: int, trainings: int, scorings: int, samples: int, sample: int, counts: Counts, workers: int
) -> None:
    config = load_config(
        preset="smoke",
        overrides=[f"scaling.num_workers={workers}", f"evaluation.sample={sample}", f"phases.baseline.epochs={epochs}"],
    )
    work = Work(
        trainings=trainings,
        epochs=epochs * trainings,
        scorings=scorings,
        samples=samples,
        checkpoints=2 * trainings,
        models=trainings,
    )
    seconds, images, written = 0.0, 0, 0
    for _ in range(trainings):
        seconds += START_S if workers else 0
        for _ in range(epochs):
            images += max(1, counts.train // 16) * 16
            written += PACE.checkpoint
        written += PACE.weights  # MLflow's
    seconds += images / 40
    for _ in range(scorings):
        seconds += counts.scored / 40 / 3
    for _ in range(samples):
        seconds += min(counts.scored, sample * IMAGES_PER_IDENTITY) / 40 / 3
    found = estimate_phase(config, "baseline", {"reid": counts}, work, PACE)
    assert (found.images, found.bytes_written) == (images, written)
    assert found.seconds == pytest.approx(seconds)


def test_a_checkpoint_is_what_it_weighs(settings: list[str], tmp_path: Path) -> None:
    config = load_config(preset="smoke", overrides=settings)
    counts = {"reid": counts_of(config, Storage.of(config), REID)}
    pace = pace_of(config, "baseline", counts)
    assert pace.images_per_second > 0
    attributes = {attribute.name: attribute for attribute in load_manifest("embedded").attributes}
    model, _ = rehearse(
        config, "baseline", num_identities=counts["reid"].identities, attributes=attributes, batch=4, device=CPU
    )
    optimizer = make_optimizer(model, config.phases["baseline"])
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = PhaseState(phase="baseline", config=config, num_identities=5, attributes={}, history=())
    Save.of(model, optimizer, state, {})(tmp_path)
    assert pace.checkpoint == pytest.approx(sum(file.stat().st_size for file in tmp_path.iterdir()), rel=0.05)


@pytest.mark.parametrize("preset", ["smoke", "san_smoke"])
def test_every_stage_can_be_rehearsed(preset: str, settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config(preset=preset, overrides=settings)
    run_dry(config, "pipeline")
    printed = capsys.readouterr().out
    assert all(phase[:8] in printed for phase in config.phases)


def test_of_a_dataset_that_nobody_has_counted_no_number_is_made_up(settings: list[str], tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    own = ["data.name=folder", f"data.source={tmp_path / 'own'}", "model.layout=three_parts"]
    config = load_config(preset="smoke", overrides=[*settings, *own])
    with pytest.raises(DataError, match="run prepare first"):
        counts_of(config, Storage.of(config), REID)
