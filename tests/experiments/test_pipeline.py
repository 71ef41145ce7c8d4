"""A pipeline in this process, ended between its last phase and its model's registration."""

import json
from pathlib import Path
from typing import Any

import pytest

from reid.config import load_config
from reid.experiments import run_pipeline
from reid.tracking import Recorder
from reid.training import loop

CONFIG = load_config(
    preset="smoke",
    overrides=[
        *("data.height=32", "data.width=16", "scaling.num_workers=0", "precision=fp32", "phases.baseline.epochs=1"),
        *(f"phases.{phase}=null" for phase in ("pose", "intermediate", "final")),
    ],
)


@pytest.mark.slow
def test_a_model_that_was_not_registered_is_by_the_same_command(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIG.model_copy(update={"storage": str(storage)})
    published: list[Path] = []

    def publish(recorder: Recorder, folder: Path, **_: Any) -> str:
        published.append(folder)
        if len(published) == 1:
            raise RuntimeError("the power went")
        return "1"

    def trains_again(*_: Any, **__: Any) -> Any:
        raise AssertionError("a finished phase was trained again")

    monkeypatch.setattr(Recorder, "publish", publish)
    with pytest.raises(RuntimeError, match="the power went"):
        run_pipeline(config)
    monkeypatch.setattr(loop, "train_step", trains_again)
    scores = run_pipeline(config)
    assert len(published) == 2
    assert len(set(published)) == 1
    (result,) = storage.glob("runs/*/result.json")
    assert json.loads(result.read_text()) == scores
