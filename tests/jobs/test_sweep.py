"""A whole sweep on a cluster: its driver killed, and query and gallery out of reach until the winner is known."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from reid import jobs
from reid.config import load_config

sweep = partial(jobs.sweep.main, standalone_mode=False)


TRIALS, EPOCHS = 3, 3
SETTINGS = {
    "name": "sweep",
    "data.seed": 7,
    "search.space": "joint",
    "search.trials": TRIALS,
    "phases.final.epochs": EPOCHS,
    "evaluation.every": 1,
    "scaling.num_workers": 0,
    "search.reduction": 2,
}


def command(script: str, **more: object) -> list[str]:
    overrides = [part for key, value in {**SETTINGS, **more}.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, f"jobs/{script}.py", "--preset", "smoke", *overrides]


@contextmanager
def out_of_reach(store: Path) -> Iterator[None]:
    """Query and gallery cannot be opened: not even by root, to whom permissions mean nothing."""
    shards = [shard for shard in store.glob("*.arrow") if not shard.name.startswith("train")]
    assert {shard.name.partition("-")[0] for shard in shards} == {"query", "gallery"}
    for shard in shards:
        shard.rename(f"{shard}.away")
        shard.mkdir()
    yield
    for shard in shards:
        shard.rmdir()
        Path(f"{shard}.away").rename(shard)


@dataclass
class Finished:
    """A sweep that has ended."""

    folder: Path
    outputs: list[str]
    """Of the driver that was killed, of one that found no query, and of the last."""
    trained: dict[str, tuple[int, int]]
    """Modification time and size of every checkpoint that was there before the last driver."""

    @property
    def study(self) -> optuna.Study:
        return optuna.load_study(study_name=self.folder.name, storage=f"sqlite:///{self.folder}/study.db")


def folders(storage: Path) -> list[Path]:
    return [path for path in (storage / "runs").glob("sweep-sweep-*") if path.is_dir()]


def checkpoints(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.stat().st_size)
        for file in folder.glob("*/*/*/model.safetensors")
    }


@pytest.fixture(scope="module")
def finished(start: Callable[..., Any], shared_storage: Path, wait_until: Any) -> Finished:
    before = set((shared_storage / "stores").glob("embedded-*")) if (shared_storage / "stores").is_dir() else set()
    start(*command("prepare_data")).finish()
    (store,) = (path for path in set((shared_storage / "stores").glob("embedded-*")) - before if path.is_dir())
    with out_of_reach(store):
        job = start(*command("sweep"))
        wait_until(lambda: folders(shared_storage), 600, "a run's folder", job)
        (folder,) = folders(shared_storage)
        wait_until(lambda: list(folder.glob("trials/*/final/epoch_*/phase.json")), 900, "an epoch of a trial", job)
        job.process.kill()
        job.process.wait()
        outputs = [job.output()]
        job = start(*command("sweep"))
        assert job.process.wait(900) == 1
        outputs.append(job.output())
    trained = checkpoints(folder)
    outputs.append(start(*command("sweep")).finish())
    return Finished(folder, outputs, trained)


@pytest.fixture(scope="module")
def browser(shared_storage: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{shared_storage}/mlflow.db")


def children_of(finished: Finished, browser: MlflowClient) -> tuple[Run, dict[str, Run]]:
    (experiment,) = [found for found in browser.search_experiments() if found.name == "reid"]
    (parent,) = browser.search_runs(
        [experiment.experiment_id], f"tags.`reid.kind` = 'sweep' AND attributes.run_name = '{finished.folder.name}'"
    )
    found = browser.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    names = [run.info.run_name for run in found]
    assert sorted(names) == sorted(set(names)), "something has two runs"
    return parent, dict(zip(names, found, strict=True))


@pytest.mark.cluster
@pytest.mark.timeout(1800)
class TestSweep:
    def test_nothing_opens_query_and_gallery_before_the_winner_is_known(self, finished: Finished) -> None:
        killed, blind, last = finished.outputs
        (error,) = [line for line in blind.splitlines() if line.startswith("error: ")]
        assert re.search(r"the shard \S+(query|gallery)-00000\.arrow is missing", error)
        assert "on held-out identities: mAP" in blind
        assert "champion: epoch" not in killed + blind
        assert "champion: epoch" in last

    def test_the_driver_was_killed_and_no_trial_was_lost_or_doubled(self, finished: Finished) -> None:
        trials = finished.study.trials
        assert [trial.number for trial in trials] == list(range(TRIALS))
        assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
        assert trials[0].state.name == "COMPLETE"
        blind, last = (re.findall(r"^\S+ \[\d+/\d+\] trial (\d+)", output, re.M) for output in finished.outputs[1:])
        assert sorted(set(blind)) == sorted(blind) != []
        assert last == [], "a trial was trained again"

    def test_shared_phases_are_trained_once_and_never_copied(self, finished: Finished) -> None:
        after = checkpoints(finished.folder)
        assert finished.trained.items() <= after.items()
        names = {Path(file).parts[0] for file in after}
        held_out = {"pose", "baseline-held-out", "intermediate-held-out"}
        assert {Path(file).parts[0] for file in finished.trained} == held_out
        assert names - {"paper"} == held_out | {"baseline", "intermediate", "champion"}
        assert not (finished.folder / "trials").exists()

    def test_the_first_trial_has_the_configurations_own_values(self, finished: Finished) -> None:
        params = finished.study.trials[0].params
        assert (params["loss.alpha"], params["loss.beta"], params["loss.gamma"]) == (0.5, 0.01, 2.0)
        assert params["layout"] == "three_parts"

    def test_the_winner_is_the_best_on_held_out_identities(self, finished: Finished, browser: MlflowClient) -> None:
        parent, _ = children_of(finished, browser)
        complete = [trial for trial in finished.study.trials if trial.state.name == "COMPLETE"]
        best = max(complete, key=lambda trial: trial.value)
        assert parent.data.tags["reid.winner"] == str(best.number)
        assert parent.data.metrics["objective/mAP"] == best.value >= parent.data.metrics["paper/mAP"]

    def test_mlflow_holds_every_trial_and_training_once(self, finished: Finished, browser: MlflowClient) -> None:
        parent, children = children_of(finished, browser)
        assert parent.info.status == "FINISHED"
        assert {name for name in children if name.startswith("trial")} == {f"trial {n}" for n in range(TRIALS)}
        for trial in finished.study.trials:
            run = children[f"trial {trial.number}"]
            assert run.info.status == "FINISHED"
            assert run.data.tags["reid.state"] == ("finished" if trial.state.name == "COMPLETE" else "stopped")
            assert run.data.params == {name: str(value) for name, value in trial.params.items()}
            history = browser.get_metric_history(run.info.run_id, "eval/mAP")
            assert {m.step: m.value for m in history} == trial.intermediate_values
            assert len(history) == len(trial.intermediate_values)

    def test_the_winner_is_the_champion_and_scored_beside_the_papers_values(
        self, finished: Finished, browser: MlflowClient
    ) -> None:
        parent, children = children_of(finished, browser)
        version = browser.get_model_version_by_alias("reid-descriptor", "champion")
        assert version.run_id == children["champion"].info.run_id
        scores = json.loads((finished.folder / "result.json").read_text())
        winner = parent.data.tags["reid.winner"]
        assert list(scores) == ["the paper's values", f"champion, trial {winner}"]
        assert parent.data.metrics["eval/mAP"] == scores[f"champion, trial {winner}"]["mAP"]
        assert ("paper" in children) == (winner != "0")

    def test_query_and_gallery_are_scored_once_for_each_and_by_nothing_else(
        self, finished: Finished, browser: MlflowClient
    ) -> None:
        _, children = children_of(finished, browser)
        scored = {
            name: [m.step for m in browser.get_metric_history(run.info.run_id, "eval/mAP")]
            for name, run in children.items()
            if not name.startswith("trial") and not name.endswith("-held-out")
        }
        expected = {name: [EPOCHS] for name in ("champion", "paper") if name in children}
        assert {name: steps for name, steps in scored.items() if steps} == expected

    def test_figures_and_settings_are_artifacts(self, finished: Finished, browser: MlflowClient) -> None:
        parent, _ = children_of(finished, browser)
        files = {file.path for file in browser.list_artifacts(parent.info.run_id)}
        assert files == {"figures", "report.html", "results.md", "winner.yaml"}
        figures = [file.path for file in browser.list_artifacts(parent.info.run_id, "figures")]
        assert "figures/history.png" in figures
        settings = load_config(preset="smoke", file=finished.folder / "winner.yaml")
        winner = finished.study.trials[int(parent.data.tags["reid.winner"])]
        assert settings.loss.alpha == winner.params["loss.alpha"]

    def test_a_study_that_cannot_be_written_ends_it_before_any_training(
        self, start: Callable[..., Any], finished: Finished, shared_storage: Path
    ) -> None:
        job = start(*command("sweep", name="unwritable", **{"search.study": "sqlite:////nowhere/at/all.db"}))
        assert job.process.wait(600) == 1
        (error,) = [line for line in job.output().splitlines() if line.startswith("error: ")]
        assert "search.study: sqlite:////nowhere/at/all.db cannot be opened and written" in error
        assert "epoch" not in job.output()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["search.space=everything"], "search.space: invalid space 'everything', expected one of focal_triplet"),
        (["search.objectives=[speed]"], "search.objectives"),
        (["search.objectives=[descriptor_dim]"], "search.objectives: must be mAP, then any of descriptor_dim"),
        (
            ["phases.final=null"],
            "phases: a sweep searches the last phase, and intermediate is of stage intermediate,",
        ),
        (["search.held_out=1.5"], "search.held_out: must be less than 1"),
        (["search.trials=0"], "search.trials: must be greater than or equal to 1"),
    ],
)
def test_settings_that_permit_no_sweep(storage: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        sweep(["--preset", "smoke", *(part for override in overrides for part in ("--set", override))])
    assert message in str(caught.value.code)
    assert not list(storage.glob("runs/*"))


def test_a_remote_storage_needs_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.invalid")
    with pytest.raises(SystemExit, match=r"search\.study: is needed, since no database file can lie at file://"):
        sweep(["--preset", "smoke", "--set", f"storage={tmp_path.as_uri()}/remote"])
