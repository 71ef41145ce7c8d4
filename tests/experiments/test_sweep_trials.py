"""Where the trials of a sweep keep their checkpoints."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reid.config import load_config
from reid.data import HoldOut
from reid.experiments import sweep_trials
from reid.experiments.experiment import Experiment
from reid.experiments.runs import Run
from reid.experiments.sweep_trials import Search, take_trials
from reid.search import Trials, find_space, open_study
from reid.storage import Place, Storage
from reid.tracking import RunRecord


@pytest.mark.parametrize("workers", [1, 2])
def test_checkpoints_of_trials_can_be_deleted_wherever_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """A folder of this node is another one on each node: what is deleted here would stay there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = load_config(preset="smoke", overrides=[f"search.workers={workers}", "search.trials=3"])
    run = Run(key="walk-sweep-1", kind="sweep", storage=Storage((tmp_path / "root").as_uri()))
    started: list[Any] = []
    monkeypatch.setattr(sweep_trials, "uses_gpu", lambda scaling: False)
    monkeypatch.setattr(sweep_trials.tune, "with_parameters", lambda trainable, job: job)

    def run_trials(trials: Trials, job: Any, *, discard: Callable[[], None], **_: Any) -> None:
        started.append(job)
        while (trial := trials.next()) is not None:
            (job.folder_of(trial.number) / "final" / "epoch_0001" / "phase.json").write("{}")
        trials.finish(0, failure="it failed")
        discard()
        assert job.folder.names() == ["00001", "00002"]
        (job.folder_of(0) / "final" / "epoch_0002" / "phase.json").write("{}")  # by a worker that was still at it
        trials.finish(1, failure="it failed")
        discard()
        assert job.folder.names() == ["00002"]
        trials.finish(2, failure="it failed")

    monkeypatch.setattr(sweep_trials, "run_trials", run_trials)
    workspace = SimpleNamespace(
        config=config, stores={"reid": Place("/data/store")}, recorder=SimpleNamespace(put=lambda record: None)
    )
    record = RunRecord(key="walk", name="walk", status="RUNNING", tags={"reid.model": "fgsam"})
    experiment = SimpleNamespace(workspace=workspace, run=run, finished={}, record=record)
    search = Search(
        hold_out=HoldOut(fraction=0.5, seed=0),
        space=find_space(config.search.space),
        first={},
        study=open_study(f"sqlite:///{tmp_path}/study.db", "walk", config.search.objectives),
    )
    take_trials(cast(Experiment, experiment), search, after=())
    (job,) = started
    assert job.folder == run.folder / "trials"
