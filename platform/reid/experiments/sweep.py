"""A search over settings of the last phase: shared phases once, many trials, the winner on all of train."""

import dataclasses
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from reid.cluster import PhaseFailedError, connect
from reid.config import ConfigError, RunConfig, with_settings
from reid.data import REID, HoldOut
from reid.experiments import results
from reid.experiments.data import without_unfed_phases
from reid.experiments.experiment import Experiment, Workspace
from reid.experiments.reports import write_report
from reid.experiments.runs import Exclude, Run, find_run, hold_run
from reid.experiments.sweep_report import PAPER_TITLE, Final, as_yaml, held_out_table, sweep_page
from reid.experiments.sweep_trials import LOOK_EVERY_S, Search, take_trials
from reid.experiments.training import Training, best_checkpoints
from reid.progress import keep_log_in, say, say_result
from reid.search import (
    Trial,
    check_space,
    descriptor_dim,
    draw_figures,
    find_space,
    open_study,
    require_dashboard,
    searched_phase,
    study_address,
    trial_key,
)
from reid.stages import built_on, check_phases, score_mean_colour, stage_of
from reid.storage import HeldError, Storage
from reid.tracking import Measurement

WHERE = {"workers", "concurrency", "trials", "retrain"}
"""Settings of the search that do not make it another one: more trials go on with the same study."""


CHAMPION, PAPER_VALUES = "champion", "paper"
"""Names of the trainings on all of train; the first is the alias of the registered model too."""


def run_sweep(config: RunConfig) -> results.Scores:
    """Run every trial that is not over yet, then train the winner.

    The same configuration goes on where an earlier process stopped. Where another process is at it, the two share the
    trials, and the other one, or whoever outlives it, does the rest.

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
    without: Exclude = {"ablation": True, "search": WHERE}
    run = find_run(workspace.storage, config, digests, kind="sweep", without=without)

    def sweep_of(experiment: Experiment) -> Sweep:
        address = study_address(config) or f"sqlite:///{run.scratch}/study.db"
        study = open_study(address, run.key, config.search.objectives)
        search = Search(hold_out=rule, space=space, first=first, study=study)
        return Sweep(experiment=experiment, search=search)

    return _lead_or_help(workspace, run, sweep_of)


def _lead_or_help(workspace: Workspace, run: Run, sweep_of: Callable[[Experiment], "Sweep"]) -> results.Scores:
    """Lead the sweep, unless another driver does: then help, and lead if that one is gone before the end."""
    told, helped = "", False
    while not run.is_finished:
        try:
            with hold_run(run) as held:
                if not held.is_finished:  # meanwhile
                    with workspace.conducting(held) as experiment:
                        return sweep_of(experiment).finish()
        except HeldError as other:
            require_shared_study(workspace.config, other)
            if str(other.holder) != told:
                told = str(other.holder)
                say(f"run {run.key} is led by {told}: this process helps with its trials")
        if run.has_begun and not helped:
            keep_log_in(run.scratch)
            with workspace.recorder:
                helped = sweep_of(workspace.look_at(run)).help()
        time.sleep(LOOK_EVERY_S)
    scores = run.result()
    if scores:
        results.show(scores)
    results.show_places({"run": run.folder}, workspace.recorder, workspace.look_at(run).record)
    return scores


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
    search: Search

    @property
    def config(self) -> RunConfig:
        return self.experiment.workspace.config

    def help(self) -> bool:
        """Take trials of a sweep that another driver leads, once there is all that they start from.

        Returns:
            Whether all trials are over.
        """
        shared = shared_trainings(self.config, self.search.hold_out)
        if not self.experiment.finished.keys() >= {training.name for training in shared}:
            return False
        take_trials(self.experiment, self.search, after=self._inherited_from(shared))
        return True

    def finish(self) -> results.Scores:
        search, run = self.config.search, self.experiment.run
        say(f"run {run.key}: {search.trials} trials of {self.search.space.name}")
        shared = shared_trainings(self.config, self.search.hold_out)
        self.experiment.train(shared)
        trials = take_trials(self.experiment, self.search, after=self._inherited_from(shared))
        (run.folder / "trials").delete()
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
            self.search.study,
            metric_names=self.config.search.objectives,
            paper=self.search.first,
            trained={trial.number: trial.epochs for trial in trials},
            epochs=self.config.phases[searched_phase(self.config)].epochs,
        )
        for name, png in pictures.items():
            (folder / "figures" / name).write(png)
        (folder / "winner.yaml").write(as_yaml(winner.settings))
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
            table=held_out_table(winner, trials[0]) + ("\n" + results.markdown(scores) if scores else ""),
            tags={"reid.winner": str(winner.number)},
            runs={f"trial {t.number}": trial_key(self.experiment.record, t.number) for t in (winner, *trials)},
        )


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


def require_shared_study(config: RunConfig, other: HeldError) -> None:
    """
    Raises:
        ConfigError: the study lies on this machine alone, and the driver that leads the sweep on another.
    """
    address = study_address(config) or "sqlite"
    if address.startswith("sqlite") and not other.holder.is_on_this_machine:
        raise ConfigError(
            f"search.study: is needed for drivers on several machines, a database that all of them reach: {other}"
        )


def _digest(space: str) -> str:
    """Of a space's name, or of the file that holds it: a changed file is another space."""
    file = Path(space.partition(":")[0])
    return hashlib.sha256(file.read_bytes() if file.is_file() else space.encode()).hexdigest()
