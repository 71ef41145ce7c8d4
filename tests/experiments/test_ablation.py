"""A whole ablation in this process: stopped in the middle, given again, and what it leaves."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from reid.config import RunConfig, load_config
from reid.experiments import run_ablation
from reid.experiments.ablation_rows import FGSAM_ROWS
from reid.stages import STAGES
from reid.tracking import Recorder, RunRecord
from reid.training import loop
from reid.training.step import train_step

TRAININGS = 19
SETTINGS = ("data.height=32", "data.width=16", "scaling.num_workers=0", "precision=fp32", "ablation.seeds=1")
EPOCHS = tuple(f"phases.{phase}.epochs=1" for phase in ("pose", "baseline", "intermediate", "final"))


pytestmark = pytest.mark.slow


def config(*overrides: str) -> RunConfig:
    return load_config(preset="smoke", overrides=[*SETTINGS, *EPOCHS, *overrides])


def test_stopped_and_given_again(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: Counter[str] = Counter()

    def counted(*args: Any, place: str, **kwargs: Any) -> Any:
        steps[place.partition(",")[0]] += 1
        if steps["phase final"] == 3 and steps["power cuts"] == 0:
            steps["power cuts"] += 1
            raise RuntimeError("the power went")
        return train_step(*args, place=place, **kwargs)

    put = Recorder.put

    def pulled(recorder: Recorder, record: RunRecord) -> None:
        if record.status == "FINISHED" and steps["plugs pulled"] == 0:
            steps["plugs pulled"] += 1
            raise RuntimeError("the plug was pulled")
        put(recorder, record)

    monkeypatch.setattr(loop, "train_step", counted)
    monkeypatch.setattr(Recorder, "put", pulled)
    with pytest.raises(RuntimeError, match="the plug was pulled"):
        run_ablation(config())
    with pytest.raises(RuntimeError, match="the power went"):
        run_ablation(config())
    before = steps["phase pose"]
    assert before > 0
    table = run_ablation(config())

    assert all(len(seeds) == 1 for seeds in table.scores.values())
    assert table.scores.keys() == {row.slug for row in FGSAM_ROWS}
    browser = MlflowClient(tracking_uri=f"sqlite:///{storage}/mlflow.db")
    (experiment,) = [e.experiment_id for e in browser.search_experiments() if e.name == "reid"]
    found = browser.search_runs([experiment], max_results=100)
    (parent,) = [run for run in found if run.data.tags.get("reid.kind") == "ablation"]
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len({run.info.run_name for run in children}) == TRAININGS
    assert {run.info.status for run in found} == {"FINISHED"}
    assert parent.data.metrics["full/mAP"] == table.scores["full"][0]["mAP"]
    assert [file.path for file in browser.list_artifacts(parent.info.run_id)] == [
        "ablation.md",
        "report.html",
    ]
    for child in children:
        assert browser.list_artifacts(child.info.run_id, "pictures"), child.info.run_name
    pose, final = (next(run for run in children if run.info.run_name == f"seed0-{name}") for name in ("pose", "final"))
    assert final.data.metrics["eval/mAP"] == table.scores["full"][0]["mAP"]
    for run in (pose, final):
        assert {"eval/mean_map/pck", "eval/people/mean_map/pck"} <= run.data.metrics.keys(), "checked on both data"

    runs = [folder for folder in (storage / "runs").iterdir() if folder.is_dir()]
    assert [folder.name.startswith("fgsam-ablation-") for folder in runs] == [True]
    assert steps["phase pose"] == 2 * before, "with and without parse blocks, neither trained again"


def test_a_training_that_stops_leaves_the_others(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = STAGES["final"].loss

    def diverging(output: Any, batch: Any, config: RunConfig, ranks: Any) -> Any:
        terms = final(output, batch, config, ranks)
        factor = float("inf") if config.loss.mining == "batch_hard" else 1.0
        return {name: factor * term for name, term in terms.items()}

    monkeypatch.setitem(STAGES, "final", replace(STAGES["final"], loss=diverging))
    with pytest.raises(
        RuntimeError, match=r"not complete: 1 trainings stopped:\n  seed0-final-batch-hard: .*not finite"
    ):
        run_ablation(config())
    (table,) = storage.glob("runs/*/ablation.md")
    lines = table.read_text().splitlines()
    assert ["–" in line for line in lines[2:]] == [row.slug == "batch-hard" for row in FGSAM_ROWS]
