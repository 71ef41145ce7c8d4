"""A search over settings of the last phase: shared phases once, many trials, the winner on all of train."""

import dataclasses
import hashlib
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import optuna
import yaml
from omegaconf import OmegaConf
from ray import tune

from reid.config import ConfigError, RunConfig
from reid.data import Dataset
from reid.data.held_out import HoldOut, hold_out
from reid.jobs import command, results
from reid.jobs.champion import PhaseTrainer, train_champion
from reid.jobs.data import PreparedData, prepare_data
from reid.jobs.records import dataset_input, parent_record, recorder
from reid.jobs.runs import Run, claim_run
from reid.search.chosen import ChosenSpace, check_space, find_space
from reid.search.figures import draw_figures
from reid.search.reports import TrialReports
from reid.search.spaces import searched_phase
from reid.search.study import Trial, Trials, open_study
from reid.search.trainable import TrialJob, train_trial
from reid.search.tuning import require_dashboard, run_trials
from reid.search.view import LiveView
from reid.tracking import Measurement, Recorder, RunRecord
from reid.tracking.background import BackgroundRecorder
from reid.training.cluster import concurrent_runs, connect, require_placeable, uses_gpu
from reid.training.loop import require_trainable
from reid.training.runner import PhaseFailedError
from reid.training.storage import Storage, delete_folder, open_store

WHERE = {"workers", "concurrency", "trials", "retrain"}
"""Settings of the search that do not make it another one: more trials go on with the same study."""


def main(argv: Sequence[str] | None = None) -> None:
    description = (
        "Search settings of the last phase by mAP on identities held out of the training split, then train the winner "
        "and the paper's values on all of it, score both on query and gallery, and register the winner."
    )
    command.run(run_sweep, command.parse(description, argv))


def run_sweep(config: RunConfig) -> results.Scores:
    """Run every trial that is not over yet, then train the winner.

    The same configuration goes on where an earlier process stopped.

    Returns:
        The scores on query and gallery; none with `search.retrain` off.

    Raises:
        ValueError: settings, space, study, data or cluster do not permit the sweep; nothing was trained.
        PhaseFailedError: a shared phase stopped, or no trial was trained to its end.
    """
    storage = Storage(config.storage)
    storage.require_writable()
    runs = recorder(config, storage, os.environ.get("MLFLOW_TRACKING_URI"))
    space = find_space(config.search.space)
    _require_searchable(config, storage)
    connect()
    if config.search.workers > 1:
        require_dashboard()
    scaling = config.scaling.model_copy(update={"num_workers": config.search.workers})
    require_placeable(scaling)
    if config.scaling.num_workers:
        require_placeable(config.scaling)
    data = prepare_data(config, storage, {phase.stage for phase in config.phases.values()}, splits=("train",))
    rule = HoldOut(fraction=config.search.held_out, seed=config.seed)
    view = hold_out(open_store(data.reid, config.storage, splits=("train",)), rule)
    datasets = {data.reid: view} | ({data.pose: open_store(data.pose, config.storage)} if data.pose else {})
    for phase, settings in config.phases.items():
        require_trainable(config, phase, datasets[data.store_of(settings.stage)])
    first = check_space(space, config, view)
    digests = (*(dataset.digest for dataset in datasets.values()), _digest(config.search.space))
    with claim_run(storage, config, digests, kind="sweep", without={"ablation": True, "search": WHERE}) as run:
        inputs = tuple(dataset_input(dataset, place) for place, dataset in datasets.items())
        parent = parent_record(run.key, "sweep", config, inputs)
        address = config.search.study or f"sqlite:///{_scratch(run)}/study.db"
        sweep = Sweep(
            config=config,
            run=run,
            runs=runs,
            parent=parent,
            data=data,
            datasets=datasets,
            hold_out=rule,
            space=space,
            first=first,
            study=open_study(address, run.key, config.search.objectives),
        )
        runs.put(parent)
        try:
            return sweep.finish()
        except BaseException:
            runs.put(dataclasses.replace(parent, status="FAILED"))
            raise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep whose settings were checked."""

    config: RunConfig
    run: Run
    runs: Recorder
    parent: RunRecord
    data: PreparedData
    datasets: dict[str, Dataset]
    hold_out: HoldOut
    space: ChosenSpace
    first: dict[str, object]
    study: optuna.Study

    def finish(self) -> results.Scores:
        search = self.config.search
        print(f"run {self.run.key}: {search.trials} trials of {self.space.name}", flush=True)
        trainer = PhaseTrainer(
            config=self.config,
            run=self.run,
            runs=self.runs,
            parent=self.parent,
            data=self.data,
            datasets=self.datasets,
        )
        trials = self._search(trainer.shared_phases(self.hold_out))
        winner = trials.winner()
        if winner is None:
            reasons = "\n".join(f"  trial {trial.number}: {trial.failure}" for trial in trials.all() if trial.failure)
            raise PhaseFailedError(f"no trial was trained to its end:\n{reasons}")
        self._say(list(trials.all()), winner)
        scores: results.Scores = {}
        if search.retrain:
            stages = {phase.stage for phase in self.config.phases.values()}
            prepare_data(self.config, self.run.storage, stages)  # query and gallery are opened from here on
            whole = open_store(self.data.reid, self.config.storage)
            trainer = dataclasses.replace(trainer, datasets=self.datasets | {self.data.reid: whole})
            scores = train_champion(trainer, winner)
            results.show(scores)
        self.runs.put(self._finished(list(trials.all()), winner, scores))
        self.run.finish(scores)
        places = {"run": self.run.folder, "winner's settings": str(_scratch(self.run) / "winner.yaml")}
        results.show_places(places, self.runs, self.parent)
        return scores

    def _search(self, start_from: tuple[str, ...]) -> Trials:
        """Run the trials that are left, from the shared phases' checkpoints."""
        search, storage = self.config.search, self.run.storage
        scaling = self.config.scaling.model_copy(update={"num_workers": search.workers})
        at_once = min(concurrent_runs(scaling), search.concurrency or search.trials)
        alone = search.workers == 1
        if alone:  # it trains in the process that Tune starts for it
            device = "gpu" if uses_gpu(scaling) else "cpu"
            scaling = scaling.model_copy(update={"num_workers": 0, "accelerator": device})
        config = self.config.model_copy(
            update={
                "scaling": scaling,
                "evaluation": self.config.evaluation.model_copy(update={"every": 1, "rerank": False}),
            }
        )
        names = ("runs", self.run.key, "trials")
        job = TrialJob(
            config=config,
            phase=searched_phase(config),
            store=self.data.reid,
            start_from=start_from,
            hold_out=self.hold_out,
            folder=str(storage.scratch.joinpath(*names)) if alone else storage.place(*names),
        )
        epochs = config.phases[job.phase].epochs
        with (
            BackgroundRecorder(self.runs) as background,
            LiveView(name=self.run.key, metric_names=search.objectives, total=search.trials) as view,
        ):
            reports = TrialReports(self.parent, background.put, view, epochs=epochs)
            trials = Trials(self.study, self.space, config, first=self.first, observe=reports)
            for trial in trials.all():
                reports.show(trial)
            run_trials(
                trials,
                tune.with_parameters(train_trial, job=job),
                scaling=scaling,
                at_once=at_once,
                discard=lambda number: delete_folder(job.folder_of(number)),
            )
        delete_folder(job.folder)
        return trials

    def _say(self, trials: Sequence[Trial], winner: Trial) -> None:
        counts = Counter(trial.state for trial in trials)
        print(", ".join(f"{number} {state}" for state, number in counts.items()))
        print(f"epochs trained: {sum(t.epochs for t in trials)}")
        for name, trial in {"the paper's values": trials[0], f"the winner, trial {winner.number}": winner}.items():
            values = ", ".join(f"{objective} {value:.4g}" for objective, value in trial.values.items())
            print(f"{name}, on held-out identities: {values or trial.failure}", flush=True)

    def _finished(self, trials: Sequence[Trial], winner: Trial, scores: results.Scores) -> RunRecord:
        """The sweep's record with what it found and, as artifacts, the figures and the winner's settings."""
        folder = _scratch(self.run)
        pictures = draw_figures(
            self.study,
            metric_names=self.config.search.objectives,
            paper=self.first,
            trained={trial.number: trial.epochs for trial in trials},
            epochs=self.config.phases[searched_phase(self.config)].epochs,
        )
        (folder / "figures").mkdir(exist_ok=True)
        for name, png in pictures.items():
            (folder / "figures" / name).write_bytes(png)
        tree = OmegaConf.create()
        for path, value in winner.settings.items():
            OmegaConf.update(tree, path, value)
        (folder / "winner.yaml").write_text(yaml.safe_dump(OmegaConf.to_container(tree), sort_keys=False))
        files = ["winner.yaml"]
        if scores:
            (folder / "results.md").write_text(results.markdown(scores))
            files.append("results.md")
        metrics = {f"objective/{name}": value for name, value in winner.values.items()}
        metrics |= {f"paper/{name}": value for name, value in trials[0].values.items()}
        metrics["search/epochs"] = float(sum(trial.epochs for trial in trials))
        for values in list(scores.values())[-1:]:
            metrics |= {f"eval/{name}": value for name, value in values.items()}
        return dataclasses.replace(
            self.parent,
            status="FINISHED",
            tags=self.parent.tags | {"reid.winner": str(winner.number)},
            measurements=(Measurement(step=0, time=time.time(), metrics=metrics),),
            artifacts={str(folder / name): "" for name in files}
            | {str(folder / "figures" / name): "figures" for name in pictures},
        )


def _require_searchable(config: RunConfig, storage: Storage) -> None:
    phase = searched_phase(config)
    if config.phases[phase].stage != "final":
        raise ConfigError(
            f"phases: a sweep searches the last phase, and {phase} is of stage {config.phases[phase].stage}: end with "
            "one of stage final"
        )
    if config.search.study is None and not storage.is_local:
        raise ConfigError(
            f"search.study: is needed, since no database file can lie at {storage.root}; give the SQLAlchemy address "
            "of a database"
        )


def _digest(space: str) -> str:
    """Of a space's name, or of the file that holds it: a changed file is another space."""
    file = Path(space.partition(":")[0])
    return hashlib.sha256(file.read_bytes() if file.is_file() else space.encode()).hexdigest()


def _scratch(run: Run) -> Path:
    """The run's folder on this node."""
    folder = run.storage.scratch / "runs" / run.key
    folder.mkdir(parents=True, exist_ok=True)
    return folder
