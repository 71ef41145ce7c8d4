"""SAN through the jobs as they are: killed in each of its steps, swept, compared, scored, exported and used."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

HERE = ("--set", "scaling.num_workers=0")
"""Without Ray: in the job's own process."""
EPOCHS = {"texture_generator": 2, "san_baseline": 1, "san": 3}
PHASES = tuple(EPOCHS)

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]


def command(script: str, storage: Path, *arguments: str | Path) -> list[str | Path]:
    epochs = [part for phase, n in EPOCHS.items() for part in ("--set", f"phases.{phase}.epochs={n}")]
    return [
        *(sys.executable, f"jobs/{script}.py", "--preset", "san_smoke", "--set", f"storage={storage}"),
        *epochs,
        *arguments,
    ]


def run_folder(storage: Path) -> Path:
    (folder,) = [path for path in (storage / "runs").glob("san-*") if path.is_dir()]
    return folder


def checkpoints(storage: Path) -> dict[str, Path]:
    finished: dict[str, str] = json.loads((run_folder(storage) / "phases.json").read_text())
    return {phase: Path(place) for phase, place in finished.items()}


def epochs_of(storage: Path, phase: str) -> list[Path]:
    return list((storage / "runs").glob(f"san-*/{phase}/epoch_*/phase.json"))


@pytest.fixture(scope="module")
def whole(start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("whole")
    start(*command("full_pipeline", storage, *HERE)).finish()
    return storage


def test_killed_in_every_step_it_ends_with_the_same_bits(
    whole: Path, start: Callable[..., Any], wait_until: Any, tmp_path: Path
) -> None:
    (tmp_path / "sources").symlink_to(whole / "sources")
    for what, reached in (
        ("the generator's first epoch", lambda: epochs_of(tmp_path, "texture_generator")),
        ("the first pseudo texture", lambda: list((tmp_path / "maps").glob("*"))),
        ("the first epoch of san", lambda: epochs_of(tmp_path, "san")),
    ):
        job = start(*command("full_pipeline", tmp_path, *HERE))
        wait_until(reached, 600, what, job)
        job.process.kill()
        job.process.wait()
    start(*command("full_pipeline", tmp_path, *HERE)).finish()
    one, other = checkpoints(whole), checkpoints(tmp_path)
    assert list(one) == list(other) == list(PHASES)
    for phase in PHASES:
        expected, found = ((folder[phase] / "model.safetensors").read_bytes() for folder in (one, other))
        assert found == expected, phase
    textures, again = (
        {file.name: file.read_bytes() for file in (storage / "maps").rglob("*.arrow")} for storage in (whole, tmp_path)
    )
    assert list(textures) == ["train-00000.arrow"]
    assert again == textures


def test_every_job_takes_its_checkpoint(whole: Path, start: Callable[..., Any], tmp_path: Path) -> None:
    place = checkpoints(whole)["san"]
    printed = start(*command("evaluate", whole, *HERE, "--checkpoint", place)).finish()
    mAP = json.loads((place / "phase.json").read_text())["history"][-1]["metrics"]["eval/mAP"]
    assert f"{mAP:.1%}" in printed
    start(*command("export", whole, "--checkpoint", place, "--output", tmp_path / "export")).finish()
    card = json.loads((tmp_path / "export" / "descriptor.json").read_text())
    assert (card["phase"], card["layout"], card["dim"]) == ("san", "san", 32)
    images = next((whole / "sources").rglob("query"))
    out = tmp_path / "described.parquet"
    start(*command("extract", whole, *HERE, "--checkpoint", place, "--images", images, "--output", out)).finish()
    assert len(pq.read_table(out)) == 24


def test_an_ablation_tables_what_its_losses_bring(whole: Path, start: Callable[..., Any]) -> None:
    once = ("--set", "ablation.seeds=1", "--set", "ablation.epoch_share=0.5")
    start(*command("ablation", whole, *HERE, *once)).finish()
    (table,) = (whole / "runs").glob("san-ablation-*/ablation.md")
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.read_text().splitlines()[2:]]
    assert rows[:3] == [
        "identity + triplet",
        "identity + triplet + reconstruction",
        "identity + triplet + reconstruction + map triplet",
    ]
    assert rows[-1] == "… with true textures, an upper bound"
    assert "–" not in table.read_text()


def test_a_sweep_searches_its_weights_and_margins(start: Callable[..., Any], whole: Path) -> None:
    few = ("--set", "search.trials=2", "--set", "search.random_trials=2", "--set", "search.retrain=false")
    printed = start(*command("sweep", whole, *few)).finish()
    assert "map_triplet_weight" in printed
    assert [file.name.partition("-")[0] for file in (whole / "maps").rglob("*.arrow")].count("train") >= 1
