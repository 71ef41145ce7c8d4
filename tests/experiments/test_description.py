"""What runs say of themselves: in notes, in parameters, and in the card of a model."""

from pathlib import Path

import pytest

from reid.config import RunConfig, flatten, load_config
from reid.experiments import description
from reid.experiments.description import begun, with_results
from reid.experiments.model_card import model_card
from reid.experiments.records import own_settings
from reid.export import Card
from reid.stages import stage_of
from reid.tracking import DatasetInput
from reid.tracking.view import linked
from reid.training import EpochRecord, PhaseState

SCORES = {"rank1": 0.25, "rank5": 0.5, "rank10": 0.75, "mAP": 0.125, "mINP": 0.0625}
DATA = DatasetInput(
    name="embedded", digest="ab" * 32, source="/data/e", context="training", profile={"train": 1200, "query": 24}
)


def test_a_note_says_what_runs_on_what_by_what_command(config: RunConfig) -> None:
    note = begun("pipeline", config, (DATA,), "jobs/full_pipeline.py --preset smoke")
    assert "**pipeline** `fgsam`, seed 0" in note
    assert " → ".join(f"{name} ({phase.epochs} epochs)" for name, phase in config.phases.items()) in note
    assert "embedded (1,200 train, 24 query; digest `abababababab`)" in note
    assert "`jobs/full_pipeline.py --preset smoke`" in note


def test_results_stand_before_it_and_what_is_there_is_linked_and_shown(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("ranked.png", "cmc.png"):
        (tmp_path / "pictures" / name).touch()
    (tmp_path / "results.md").touch()
    artifacts = {str(tmp_path / "results.md"): "", str(tmp_path / "pictures"): "pictures", str(tmp_path / "gone"): "x"}
    note = with_results("what ran", "| table |", artifacts, {"final": "walk-1.final"})
    assert note.startswith("| table |")
    assert note.index("| table |") < note.index("what ran") < note.index("![")
    assert "[final](run:walk-1.final)" in note
    assert "[results.md](file:results.md)" in note
    assert "![pictures/cmc.png](file:pictures/cmc.png)\n\n![pictures/ranked.png](file:pictures/ranked.png)" in note
    assert "gone" not in note


def test_a_thousand_trials_fit_what_mlflow_takes() -> None:
    runs = {f"trial {number}": f"sweep-sweep-01234567-89abcdef.trial-{number:05d}" for number in range(1000)}
    note = with_results("", "", {}, runs)
    assert f"and {1000 - description.MOST_RUNS} more" in note
    assert len(linked(note, "1", 32 * "0", lambda key: None)) < 5000  # of 8000; a table and a command fit beside


@pytest.mark.parametrize("phase", ["pose", "baseline", "intermediate", "final"])
def test_a_training_states_its_phase_and_what_its_stage_reads_alone(config: RunConfig, phase: str) -> None:
    stage, flat = stage_of(config, phase), flatten(config)
    own = own_settings(config, phase, stage)
    assert {name.removeprefix("phase."): value for name, value in own.items() if name.startswith("phase.")} == {
        path.removeprefix(f"phases.{phase}."): value
        for path, value in flat.items()
        if path.startswith(f"phases.{phase}.")
    }
    others = {name for name in own if not name.startswith("phase.")}
    assert others == {"seed", *(path for path in flat if path.startswith(stage.reads))}
    assert len(own) < len(flat) / 2


def card_of(config: RunConfig, metrics: dict[str, float], rival: dict[str, float] | None) -> str:
    card = Card(
        height=32, width=16, dim=80, phase="final", dataset="embedded", layout="head+upper+lower",
        checkpoint="/data/final", digest="ab", mAP=None,
    )  # fmt: skip
    state = PhaseState(
        phase="final",
        config=config,
        num_identities=751,
        attributes={},
        history=(EpochRecord(epoch=1, time=1.5, metrics=metrics),) if metrics else (),
    )
    return model_card(card, config, state, rival)


def test_a_models_card_has_its_scores_beside_the_trivial_rival(config: RunConfig) -> None:
    card = card_of(config, {f"eval/{name}": value for name, value in SCORES.items()}, SCORES | {"mAP": 0.0312})
    assert "uint8, RGB, batch × 3 × 32 × 16" in card
    assert "float32, batch × 80, unit vectors" in card
    assert "751 identities, 1 epochs" in card
    assert "Licence of the data: Apache-2.0, as the project" in card
    assert "| mean colour | 25.0% | 50.0% | 75.0% | 3.1% | 6.2% |" in card
    assert "| final | 25.0% | 50.0% | 75.0% | 12.5% | 6.2% |" in card
    assert len(card) < 5000, "MLflow takes no longer description"


def test_a_card_says_where_a_score_or_the_rivals_is_lacking(config: RunConfig) -> None:
    assert "Not scored after its training." in card_of(config, {}, None)
    card = card_of(config, {f"eval/{name}": value for name, value in SCORES.items()}, None)
    assert "without a trivial rival beside it" in card
    assert "mean colour |" not in card


def test_a_card_names_the_licence_of_another_dataset() -> None:
    config = load_config(preset="paper", overrides=["data.name=market1501", "data.source=/data/market"])
    assert "Licence of the data: Research only" in card_of(config, {}, None)
