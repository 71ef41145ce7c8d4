"""Where the trials of a sweep keep their checkpoints."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest

from reid.config import load_config
from reid.data import HoldOut
from reid.experiments import sweep
from reid.experiments.experiment import Experiment
from reid.experiments.runs import Run
from reid.storage import Place, Storage
from reid.tracking import RunRecord


@pytest.mark.parametrize("workers", [1, 2])
def test_checkpoints_of_trials_can_be_deleted_wherever_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """A folder of this node is another one on each node: what is deleted here would stay there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = load_config(preset="smoke", overrides=[f"search.workers={workers}"])
    run = Run(key="walk-sweep-1", kind="sweep", storage=Storage((tmp_path / "root").as_uri()))
    started: list[Any] = []
    monkeypatch.setattr(sweep, "concurrent_runs", lambda scaling: 1)
    monkeypatch.setattr(sweep, "uses_gpu", lambda scaling: False)
    monkeypatch.setattr(sweep.tune, "with_parameters", lambda trainable, job: job)

    def run_trials(trials: Any, job: Any, *, discard: Callable[[], None], **_: Any) -> None:
        started.append(job)
        for number in range(3):
            study.ask()
            (job.folder_of(number) / "final" / "epoch_0001" / "phase.json").write("{}")
        study.tell(0, 0.5)
        discard()
        assert job.folder.names() == ["00001", "00002"]
        (job.folder_of(0) / "final" / "epoch_0002" / "phase.json").write("{}")  # by a worker that was still at it
        study.tell(1, state=optuna.trial.TrialState.PRUNED)
        discard()
        assert job.folder.names() == ["00002"]

    study = optuna.create_study()
    monkeypatch.setattr(sweep, "run_trials", run_trials)
    workspace = SimpleNamespace(
        config=config, stores={"reid": Place("/data/store")}, recorder=SimpleNamespace(put=lambda record: None)
    )
    record = RunRecord(key="walk", name="walk", status="RUNNING", tags={"reid.model": "fgsam"})
    experiment = SimpleNamespace(workspace=workspace, run=run, finished={}, record=record)
    searched = sweep.Sweep(
        experiment=cast(Experiment, experiment),
        hold_out=HoldOut(fraction=0.5, seed=0),
        space=sweep.find_space(config.search.space),
        first={},
        study=study,
    )
    searched._search(())
    (job,) = started
    assert job.folder == run.folder / "trials"
    assert not job.folder.exists(), "what an interrupted trial left stays"
