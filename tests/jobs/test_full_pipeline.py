"""The whole pipeline on a cluster: what it leaves behind, and what killing parts of it changes (nothing)."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import reid

PHASES = ("pose", "baseline", "intermediate", "final")
EPOCHS = {"pose": 1, "baseline": 4, "intermediate": 1, "final": 4}
SCORES = ("rank1", "rank5", "rank10", "mAP", "mINP")
RANKING = {"cmc.png", "ranked.png", "cameras.png"}
PICTURES = {
    "pose": {"pose_maps.png"},
    "baseline": RANKING,
    "intermediate": RANKING | {"attributes.png"},
    "final": RANKING | {"attributes.png", "parts.png"},
}
OF_ALL = PICTURES["final"] | {"time.png", *(f"losses_{phase}.png" for phase in PHASES)}
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


def command(name: str) -> list[str | Path]:
    settings = {"name": name, "scaling.num_workers": 2, **{f"phases.{p}.epochs": n for p, n in EPOCHS.items()}}
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "jobs/full_pipeline.py", "--preset", "smoke", *overrides]


@dataclass
class Finished:
    """A run that has ended."""

    folder: Path
    printed: list[str]
    """Output of every driver, one after another."""
    kept: int = 0
    """Epochs of the final phase that were finished when the driver was killed."""

    def checkpoint(self, phase: str) -> Path:
        return Path(json.loads((self.folder / "phases.json").read_text())[phase])

    def weights(self, phase: str) -> bytes:
        return (self.checkpoint(phase) / "model.safetensors").read_bytes()

    def history(self, phase: str) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = json.loads((self.checkpoint(phase) / "phase.json").read_text())["history"]
        return records


@pytest.fixture(scope="module")
def browser(shared_storage: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{shared_storage}/mlflow.db")


@pytest.fixture(scope="module")
def uninterrupted(start: Callable[..., Any], shared_storage: Path) -> Finished:
    printed = start(*command("whole")).finish()
    (folder,) = folders("whole", shared_storage)
    return Finished(folder, [printed])


@pytest.fixture(scope="module")
def killed(start: Callable[..., Any], shared_storage: Path, cluster: Any, wait_until: Any) -> Finished:
    """The same run, but a worker is killed in the baseline phase and the driver in the final phase."""
    job = start(*command("killed"))
    wait_until(lambda: folders("killed", shared_storage), 600, "a run's folder", job)
    (folder,) = folders("killed", shared_storage)
    wait_until(lambda: finished_epochs(folder / "baseline"), 600, "the first epoch of baseline", job)
    cluster.training_workers()[0].kill()
    assert finished_epochs(folder / "baseline") < EPOCHS["baseline"], "killed too late to show anything"
    wait_until(lambda: finished_epochs(folder / "final"), 600, "the first epoch of final", job)
    kept = finished_epochs(folder / "final")
    job.process.kill()
    job.process.wait()
    assert finished_epochs(folder / "final") < EPOCHS["final"], "killed too late to show anything"
    return Finished(folder, [job.output(), start(*command("killed")).finish()], kept)


def folders(name: str, storage: Path) -> list[Path]:
    return [path for path in (storage / "runs").glob(f"{name}-*") if path.is_dir()]


def finished_epochs(phase: Path) -> int:
    """Epochs whose checkpoint is there."""
    return max((int(place.name.removeprefix("epoch_")) for place in phase.glob("epoch_*")), default=0)


def parent_of(name: str, browser: MlflowClient) -> Run:
    (experiment,) = [found for found in browser.search_experiments() if found.name == "reid"]
    (parent,) = browser.search_runs(
        [experiment.experiment_id], f"tags.`reid.kind` = 'pipeline' AND attributes.run_name LIKE '{name}-%'"
    )
    return parent


def children_of(parent: Run, browser: MlflowClient) -> dict[str, Run]:
    found = browser.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    names = [run.info.run_name for run in found]
    assert sorted(names) == sorted(set(names)), "a phase has two runs"
    return {run.info.run_name: run for run in found}


def pictures_of(run: Run, browser: MlflowClient) -> set[str]:
    """Names of the pictures among a run's artifacts."""
    return {Path(file.path).name for file in browser.list_artifacts(run.info.run_id, "pictures")}


def test_it_prints_the_table_the_places_and_the_browse_command(uninterrupted: Finished, shared_storage: Path) -> None:
    (printed,) = uninterrupted.printed
    lines = printed.splitlines()
    for row in ("mean colour", "baseline", "intermediate", "final"):
        assert any(re.search(rf"{row}\W+(\d+\.\d%\W+){{5}}", line) for line in lines), row
    for place in (uninterrupted.folder, *(uninterrupted.checkpoint(phase) for phase in PHASES)):
        assert place.is_absolute()
        assert place.is_dir()
        assert any(line.endswith(f": {place}") for line in lines), place
    (browse,) = [line.removeprefix("browse: ") for line in lines if line.startswith("browse: ")]
    assert browse == f"reid ui --storage {shared_storage}"
    assert any(
        re.fullmatch(r"in Python: import reid; reid\.load\('.+'\)\.describe\(\['photo\.jpg'\]\)", line)
        for line in lines
    )


def test_mlflow_holds_one_parent_with_a_child_for_each_phase(uninterrupted: Finished, browser: MlflowClient) -> None:
    parent = parent_of("whole", browser)
    children = children_of(parent, browser)
    assert set(children) == set(PHASES)
    for run in (parent, *children.values()):
        assert run.info.status == "FINISHED"
        assert run.data.params["seed"] == "0"
    assert parent.data.params["loss.alpha"] == "0.5"
    assert {phase: parent.data.params[f"phases.{phase}.epochs"] for phase in PHASES} == {
        phase: str(epochs) for phase, epochs in EPOCHS.items()
    }
    assert {item.dataset.name for item in parent.inputs.dataset_inputs} == {"embedded", "coco"}
    for phase, run in children.items():
        assert run.data.params["phase.epochs"] == str(EPOCHS[phase])
        assert not any(name.startswith(("phases.", "search.", "scaling.")) for name in run.data.params)
        assert ("loss.alpha" in run.data.params) == (phase == "final")
        (item,) = run.inputs.dataset_inputs
        assert item.dataset.name == ("coco" if phase == "pose" else "embedded")
        assert re.fullmatch(r"[0-9a-f]{36}", item.dataset.digest)
    final = json.loads((uninterrupted.folder / "result.json").read_text())["final"]
    assert set(final) == {*SCORES, "attributes", "people/pck"}
    assert {name: parent.data.metrics[f"eval/{name}"] for name in final} == final
    files = {file.path for file in browser.list_artifacts(parent.info.run_id)}
    assert files == {"config.yaml", "report.html", "results.md", "pictures"}


def test_mlflow_holds_the_pictures_of_every_evaluation(uninterrupted: Finished, browser: MlflowClient) -> None:
    parent = parent_of("whole", browser)
    for phase, run in children_of(parent, browser).items():
        assert pictures_of(run, browser) == PICTURES[phase]
        assert {path.name for path in (uninterrupted.checkpoint(phase) / "pictures").iterdir()} == PICTURES[phase]
    assert pictures_of(parent, browser) == OF_ALL


def test_evaluating_the_last_checkpoint_gives_its_scores_again_and_pictures(
    uninterrupted: Finished, browser: MlflowClient, start: Callable[..., Any], shared_storage: Path
) -> None:
    checkpoint = uninterrupted.checkpoint("final")
    start(
        *(sys.executable, "jobs/evaluate.py", "--checkpoint", checkpoint),
        *("--set", "scaling.num_workers=2", "--set", f"storage={shared_storage}", "--set", "name=again"),
    ).finish()
    (experiment,) = [found for found in browser.search_experiments() if found.name == "reid"]
    is_it = "tags.`reid.kind` = 'evaluation' AND attributes.run_name LIKE 'again-%'"
    (run,) = browser.search_runs([experiment.experiment_id], is_it)
    measured = uninterrupted.history("final")[-1]["metrics"]
    of_scenes = ("eval/pck", "eval/mean_map/", "eval/true_joints/")
    expected = {name: value for name, value in measured.items() if name.startswith("eval/")}
    assert run.data.metrics == {name: value for name, value in expected.items() if not name.startswith(of_scenes)}
    assert pictures_of(run, browser) == PICTURES["final"]
    (folder,) = (shared_storage / "runs").glob("again-evaluation-*/pictures")
    for picture in PICTURES["final"]:
        assert (folder / picture).read_bytes() == (checkpoint / "pictures" / picture).read_bytes()


def test_mlflow_holds_a_point_for_each_epoch(uninterrupted: Finished, browser: MlflowClient) -> None:
    for phase, run in children_of(parent_of("whole", browser), browser).items():
        history = uninterrupted.history(phase)
        for name in ("train/total", "train/images_per_second", "train/learning_rate"):
            points = [(m.step, m.value, m.timestamp) for m in browser.get_metric_history(run.info.run_id, name)]
            assert points == [(r["epoch"], r["metrics"][name], int(r["time"] * 1000)) for r in history]
            assert len(points) == EPOCHS[phase]
        assert ("eval/mAP" in run.data.metrics) == (phase != "pose")
        scores = {"eval/pck"} if phase == "pose" else {f"eval/{name}" for name in SCORES}
        assert scores <= set(run.data.metrics)
        assert ("eval/attributes/gender" in run.data.metrics) == (phase in ("intermediate", "final"))


def test_mlflow_holds_a_ready_model_of_each_phase(
    uninterrupted: Finished, browser: MlflowClient, tmp_path: Path
) -> None:
    parent = parent_of("whole", browser)
    folders = {}
    for phase, run in children_of(parent, browser).items():
        (model,) = browser.search_logged_models(
            [parent.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}' AND name = '{phase}'"
        )
        assert str(model.status) == "READY"
        (weights,) = Path(model.artifact_location.removeprefix("file://")).rglob("model.safetensors")
        assert weights.read_bytes() == uninterrupted.weights(phase)
        assert {file.name for file in weights.parent.iterdir()} == {"README.md", "model.safetensors", "phase.json"}
        assert f"`{uninterrupted.checkpoint(phase)}`" in (weights.parent / "README.md").read_text()
        folders[phase] = weights.parent
    images = np.zeros((1, 60, 30, 3), np.uint8)
    described = (reid.load(place).describe(images) for place in (folders["final"], uninterrupted.checkpoint("final")))
    np.testing.assert_array_equal(*described)


def test_the_last_phases_model_is_exported_and_registered(
    uninterrupted: Finished, browser: MlflowClient, shared_storage: Path
) -> None:
    (printed,) = uninterrupted.printed
    (version,) = re.findall(r"^registered: models:/reid-descriptor@pipeline, version (\d+)$", printed, re.MULTILINE)
    registered = browser.get_model_version("reid-descriptor", version)
    assert registered.tags["reid.checkpoint"] == str(uninterrupted.checkpoint("final"))
    assert registered.run_id == children_of(parent_of("whole", browser), browser)["final"].info.run_id
    (folder,) = (shared_storage / "exports").glob("whole-*.final")
    assert {file.name for file in folder.iterdir()} == {
        "descriptor.pt2",
        "descriptor.onnx",
        "descriptor.json",
        "README.md",
    }


def test_killing_changes_no_bit_of_the_weights(uninterrupted: Finished, killed: Finished) -> None:
    for phase in PHASES:
        assert killed.weights(phase) == uninterrupted.weights(phase), phase
        same = (f.checkpoint(phase) / "optimizer.safetensors" for f in (killed, uninterrupted))
        assert len({file.read_bytes() for file in same}) == 1, phase


def test_the_same_command_goes_on_from_the_last_finished_epoch(killed: Finished) -> None:
    first, again = killed.printed
    assert "finished: pose, baseline, intermediate" in again
    before, after = (
        [(phase, int(epoch)) for phase, epoch in re.findall(r"(\w+): epoch (\d+)/", output)]
        for output in (first, again)
    )
    baseline = [epoch for phase, epoch in before if phase == "baseline"]
    assert baseline == sorted(set(baseline)), "an epoch was trained twice"
    assert baseline[-1] == EPOCHS["baseline"]
    assert {phase for phase, _ in after} == {"final"}
    assert 0 < killed.kept < after[0][1]
    assert after == [("final", epoch) for epoch in range(after[0][1], EPOCHS["final"] + 1)]
    times = [record["time"] for record in killed.history("final")]
    assert times == sorted(times)
    assert len(times) == EPOCHS["final"]


def test_the_killed_run_is_one_run_in_mlflow(killed: Finished, browser: MlflowClient) -> None:
    parent = parent_of("killed", browser)
    children = children_of(parent, browser)
    assert set(children) == set(PHASES)
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}
    for phase, run in children.items():
        for name in run.data.metrics:
            steps = [metric.step for metric in browser.get_metric_history(run.info.run_id, name)]
            assert len(steps) == len(set(steps)), (phase, name)
        assert [m.step for m in browser.get_metric_history(run.info.run_id, "train/total")] == [
            *range(1, EPOCHS[phase] + 1)
        ]
        models = browser.search_logged_models(
            [parent.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
        )
        assert [str(model.status) for model in models] == ["READY"]
