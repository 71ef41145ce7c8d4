"""A search over settings of the last phase: shared phases once, many trials, the winner on all of train."""

import dataclasses
import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import optuna
import yaml
from omegaconf import OmegaConf
from ray import tune

from reid.cluster import PhaseFailedError, TrialJob, concurrent_runs, connect, train_trial, uses_gpu
from reid.config import ConfigError, RunConfig, with_settings
from reid.data import REID, HoldOut
from reid.experiments import results
from reid.experiments.data import without_unfed_phases
from reid.experiments.experiment import Experiment, Workspace
from reid.experiments.reports import write_report
from reid.experiments.sweep_report import Final, sweep_page
from reid.experiments.training import Training, best_checkpoints
from reid.progress import say, say_result
from reid.search import (
    ChosenSpace,
    LiveView,
    Trial,
    TrialReports,
    Trials,
    check_space,
    descriptor_dim,
    draw_figures,
    find_space,
    open_study,
    require_dashboard,
    run_trials,
    searched_phase,
    study_address,
    trial_key,
    with_layouts_of,
)
from reid.stages import built_on, check_phases, score_mean_colour, stage_of
from reid.storage import Storage
from reid.tracking import Measurement

WHERE = {"workers", "concurrency", "trials", "retrain"}
"""Settings of the search that do not make it another one: more trials go on with the same study."""


CHAMPION, PAPER_VALUES = "champion", "paper"
"""Names of the trainings on all of train; the first is the alias of the registered model too."""
PAPER_TITLE = "the paper's values"


def run_sweep(config: RunConfig) -> results.Scores:
    """Run every trial that is not over yet, then train the winner.

    The same configuration goes on where an earlier process stopped.

    Returns:
        The scores on query and gallery; none with `search.retrain` off.

    Raises:
        ValueError: settings, space, study, data or cluster do not permit the sweep; nothing was trained.
        PhaseFailedError: a shared phase stopped, or no trial was trained to its end.
    """
    space = find_space(config.search.space)
    config = without_unfed_phases(config)
    _require_searchable(config)
    connect(config.extensions)
    if config.search.workers > 1:
        require_dashboard()
    trial_scaling = config.scaling.model_copy(update={"num_workers": config.search.workers})
    rule = HoldOut(fraction=config.search.held_out, seed=config.seed)
    workspace = Workspace.open(config, [trial_scaling, config.scaling], splits=("train",), held_out=rule)
    workspace.require_trainable(shared_trainings(config, rule))
    workspace.require_trainable([Training(name=CHAMPION, config=config, phase=searched_phase(config))])
    first = check_space(space, config, workspace.datasets[REID.name])
    digests = [*(dataset.digest for dataset in workspace.datasets.values()), _digest(config.search.space)]
    with workspace.claim("sweep", without={"ablation": True, "search": WHERE}, digests=digests) as experiment:
        address = study_address(config) or f"sqlite:///{experiment.run.scratch}/study.db"
        study = open_study(address, experiment.run.key, config.search.objectives)
        return Sweep(experiment=experiment, hold_out=rule, space=space, first=first, study=study).finish()


def shared_trainings(config: RunConfig, hold_out: HoldOut | None) -> list[Training]:
    """The phases before the last; with `hold_out` without ever seeing those identities.

    Without, they are not scored: query and gallery are there for the end.
    """
    trainings: list[Training] = []
    former: dict[str, str] = {}
    for phase in list(config.phases)[:-1]:
        seen = hold_out if stage_of(config, phase).data.identities else None
        name = phase if seen is None else f"{phase}-held-out"
        trainings.append(
            Training(
                name=name,
                config=config,
                phase=phase,
                after=built_on(config, phase, former),
                hold_out=seen,
                scoring="off" if hold_out is None else "illustrated",
            )
        )
        former[name] = phase
    return trainings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep whose settings were checked."""

    experiment: Experiment
    hold_out: HoldOut
    space: ChosenSpace
    first: dict[str, object]
    study: optuna.Study

    @property
    def config(self) -> RunConfig:
        return self.experiment.workspace.config

    def finish(self) -> results.Scores:
        search, run = self.config.search, self.experiment.run
        say(f"run {run.key}: {search.trials} trials of {self.space.name}")
        shared = shared_trainings(self.config, self.hold_out)
        self.experiment.train(shared)
        trials = self._search(self._inherited_from(shared))
        winner = trials.winner()
        if winner is None:
            reasons = "\n".join(f"  trial {trial.number}: {trial.failure}" for trial in trials.all() if trial.failure)
            raise PhaseFailedError(f"no trial was trained to its end:\n{reasons}")
        self._say(list(trials.all()), winner)
        scores: results.Scores = {}
        final = None
        if search.retrain:
            final = self._train_champion(winner)
            scores = {title: results.of(self.experiment.metrics(name)) for title, name in final.trainings.items()}
            results.show(scores)
        self._finish(list(trials.all()), winner, scores, final)
        run.finish(scores)
        places = {"run": run.folder, "winner's settings": run.folder / "winner.yaml"}
        places |= best_checkpoints(shared, self.experiment.finished)
        results.show_places(places, self.experiment.workspace.recorder, self.experiment.record)
        return scores

    def _inherited_from(self, shared: Sequence[Training]) -> tuple[str, ...]:
        """Names of the shared trainings that the searched phase starts from."""
        return built_on(self.config, searched_phase(self.config), {t.name: t.phase for t in shared})

    def _train_champion(self, winner: Trial) -> Final:
        """Train the winner and the paper's values on all of train, score each once, and register the winner.

        The phases before the last are the same for both.
        """
        workspace = self.experiment.workspace.with_all_splits()  # query and gallery are opened from here on
        experiment = dataclasses.replace(self.experiment, workspace=workspace)
        config = with_settings(self.config, {"evaluation.every": 0})
        shared, phase = shared_trainings(config, None), searched_phase(config)
        after = self._inherited_from(shared)
        champion = Training(name=CHAMPION, config=with_settings(config, winner.settings), phase=phase, after=after)
        paper = Training(name=PAPER_VALUES, config=config, phase=phase, after=after)
        last = [champion] if winner.number == 0 else [champion, paper]
        experiment.train([*shared, *last])
        floor = score_mean_colour(workspace.datasets[REID.name], config.evaluation)
        published = experiment.publish(champion, alias=CHAMPION, rival=results.of(floor.metrics))
        if published.version is not None:
            say_result(f"registered: version {published.version}, alias {CHAMPION}, from {published.place}")
        titles = {PAPER_TITLE: last[-1].name, f"{CHAMPION}, trial {winner.number}": CHAMPION}
        return Final(trainings=titles, dataset=workspace.datasets[REID.name], floor=floor)

    def _search(self, after: tuple[str, ...]) -> Trials:
        """Run the trials that are left, from the shared trainings of these names."""
        search, run = self.config.search, self.experiment.run
        scaling = self.config.scaling.model_copy(update={"num_workers": search.workers})
        at_once = min(concurrent_runs(scaling), search.concurrency or search.trials)
        if search.workers == 1:  # it trains in the process that Tune starts for it
            device = "gpu" if uses_gpu(scaling) else "cpu"
            scaling = scaling.model_copy(update={"num_workers": 0, "accelerator": device})
        config = with_layouts_of(self.study, self.config).model_copy(
            update={
                "scaling": scaling,
                "evaluation": self.config.evaluation.model_copy(update={"every": 1, "rerank": False}),
            }
        )
        job = TrialJob(
            config=config,
            phase=searched_phase(config),
            store=self.experiment.workspace.stores[REID.name],
            start_from=tuple(self.experiment.finished[name] for name in after),
            hold_out=self.hold_out,
            folder=run.folder / "trials",
        )
        put = self.experiment.workspace.recorder.put
        with (
            LiveView(name=run.key, metric_names=search.objectives, total=search.trials) as view,
            TrialReports(self.experiment.record, put, view, epochs=config.phases[job.phase].epochs) as reports,
        ):
            trials = Trials(self.study, self.space, config, first=self.first, observe=reports)
            for trial in trials.all():
                reports.show(trial)
            run_trials(
                trials,
                tune.with_parameters(train_trial, job=job),
                scaling=scaling,
                at_once=at_once,
                discard=lambda: job.discard({trial.number for trial in trials.all() if trial.ended is not None}),
            )
        job.folder.delete()
        return trials

    def _say(self, trials: Sequence[Trial], winner: Trial) -> None:
        counts = Counter(trial.state for trial in trials)
        say_result(", ".join(f"{number} {state}" for state, number in counts.items()))
        say_result(f"epochs trained: {sum(t.epochs for t in trials)}")
        for name, trial in {PAPER_TITLE: trials[0], f"the winner, trial {winner.number}": winner}.items():
            values = ", ".join(f"{objective} {value:.4g}" for objective, value in trial.values.items())
            say_result(f"{name}, on held-out identities: {values or trial.failure}")

    def _finish(self, trials: Sequence[Trial], winner: Trial, scores: results.Scores, final: Final | None) -> None:
        """Record what was found and, as artifacts, the figures and the winner's settings."""
        folder = self.experiment.run.folder
        pictures = draw_figures(
            self.study,
            metric_names=self.config.search.objectives,
            paper=self.first,
            trained={trial.number: trial.epochs for trial in trials},
            epochs=self.config.phases[searched_phase(self.config)].epochs,
        )
        for name, png in pictures.items():
            (folder / "figures" / name).write(png)
        (folder / "winner.yaml").write(_as_yaml(winner.settings))
        files = ["winner.yaml"]
        if scores:
            (folder / "results.md").write(results.markdown(scores))
            files.append("results.md")
        metrics = {f"objective/{name}": value for name, value in winner.values.items()}
        metrics |= {f"paper/{name}": value for name, value in trials[0].values.items()}
        metrics["search/epochs"] = float(sum(trial.epochs for trial in trials))
        for values in list(scores.values())[-1:]:
            metrics |= {f"eval/{name}": value for name, value in values.items()}
        report = write_report(
            folder,
            sweep_page(self.experiment, trials, winner, scores, final, pictures, champion=CHAMPION),
        )
        self.experiment.finish(
            [Measurement(step=0, time=time.time(), metrics=metrics)],
            {str(folder / name): "" for name in files}
            | {report: ""}
            | {str(folder / "figures" / name): "figures" for name in pictures},
            table=_held_out(winner, trials[0]) + ("\n" + results.markdown(scores) if scores else ""),
            tags={"reid.winner": str(winner.number)},
            runs={f"trial {t.number}": trial_key(self.experiment.record, t.number) for t in (winner, *trials)},
        )


def _held_out(winner: Trial, paper: Trial) -> str:
    """What both reach on identities held out of training, in Markdown."""
    rows = {PAPER_TITLE: paper, f"the winner, trial {winner.number}": winner}
    lines = [["on held-out identities", *winner.values], ["---", *("---:" for _ in winner.values)]]
    lines += [
        [t, *(f"{row.values[name]:.4g}" if row.values else "–" for name in winner.values)] for t, row in rows.items()
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _require_searchable(config: RunConfig) -> None:
    check_phases(config)
    phase = searched_phase(config)
    stage = stage_of(config, phase)
    if not stage.searched:
        raise ConfigError(
            f"phases: a sweep searches the last phase, and {phase} is of stage {stage.name}, which cannot be searched: "
            "end with one that can"
        )
    if "descriptor_dim" in config.search.objectives:
        descriptor_dim(config)
    storage = Storage.of(config)
    if study_address(config) is None and not storage.is_local:
        raise ConfigError(
            f"search.study: is needed, since no database file can lie at {storage.root}; give the SQLAlchemy address "
            "of a database, here or by $REID_STUDY"
        )


def _as_yaml(settings: dict[str, object]) -> str:
    """Settings by dotted path as `--config` takes them."""
    tree = OmegaConf.create()
    for path, value in settings.items():
        OmegaConf.update(tree, path, value)
    return yaml.safe_dump(OmegaConf.to_container(tree), sort_keys=False)


def _digest(space: str) -> str:
    """Of a space's name, or of the file that holds it: a changed file is another space."""
    file = Path(space.partition(":")[0])
    return hashlib.sha256(file.read_bytes() if file.is_file() else space.encode()).hexdigest()
