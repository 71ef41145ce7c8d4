"""A dry run: numbers from data that are there or known, and nothing that was not there before."""

from pathlib import Path

import pytest

from reid.config import DataError, load_config
from reid.data import REID
from reid.experiments import prepare_all, run_dry
from reid.experiments.estimate import counts_of, estimate_phase
from reid.storage import Storage


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
        assert ("checkpoints: " in printed) == (times is not None)
        assert times is None or times in printed
    assert [*tmp_path.iterdir()] == []


def test_what_is_prepared_has_the_numbers_that_were_foretold(settings: list[str]) -> None:
    config = load_config(preset="smoke", overrides=[*settings, "phases.pose=null"])
    foretold = counts_of(config, Storage(config.storage), REID)
    prepare_all(config)
    assert counts_of(config, Storage(config.storage), REID) == foretold


def test_twice_the_epochs_are_twice_the_images_and_a_checkpoint_is_what_it_weighs(settings: list[str]) -> None:
    config = load_config(preset="smoke", overrides=settings)
    longer = load_config(preset="smoke", overrides=[*settings, "phases.baseline.epochs=4"])
    counts = {"reid": counts_of(config, Storage(config.storage), REID)}
    once, twice = (estimate_phase(each, "baseline", counts) for each in (config, longer))
    assert twice.images == 2 * once.images
    assert once.bytes_kept == twice.bytes_kept
    assert once.images_per_second > 0


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
        counts_of(config, Storage(config.storage), REID)
