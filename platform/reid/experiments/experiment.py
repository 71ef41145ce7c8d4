"""The one orchestration: everything that pipelines, sweeps and ablations have in common.

An experiment is a list of named trainings, each with what it comes after, that share storage, records, cluster and
data. What was finished is never trained again.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

from reid.cluster import (
    PhaseFailedError,
    Started,
    Stopped,
    Workers,
    connect,
    fit_here,
    require_placeable,
    require_precision,
    run_in_order,
    start_fit,
)
from reid.config import RunConfig, ScalingConfig
from reid.data import REID, Dataset, HoldOut, hold_out, open_store
from reid.experiments.data import Stores, kinds_of, prepare_data
from reid.experiments.description import with_results
from reid.experiments.export import Published, publish_checkpoint
from reid.experiments.records import (
    EpochRecorder,
    dataset_input,
    finished_record,
    open_recorder,
    parent_record,
    require_lockable_store,
    training_record,
)
from reid.experiments.runs import Exclude, Run, claim_run
from reid.experiments.training import Training
from reid.progress import keep_log_in, say
from reid.stages import check_phases
from reid.storage import DiskFullError, Place, Storage
from reid.tracking import Measurement, Recorder, RunRecord
from reid.training import PhaseJob, Stage, load_state, require_trainable


class TrainingsStoppedError(PhaseFailedError):
    """Some trainings stopped, and all that do not build on them were finished."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        lines = "\n".join(f"  {name}: {reason}" for name, reason in reasons.items())
        super().__init__(f"{len(reasons)} trainings stopped:\n{lines}")
        self.reasons = dict(reasons)


def join_cluster(config: RunConfig, scalings: Sequence[ScalingConfig]) -> None:
    """Join the cluster, unless `num_workers` is 0 everywhere, and see that it can place what is asked of it.

    Raises:
        PlacementError: it cannot.
        ValueError: the precision is none that processors have, and there are no GPUs.
    """
    if any(scaling.num_workers for scaling in scalings):
        connect(config.extensions)
    for scaling in scalings:
        require_placeable(scaling)
        require_precision(config, scaling)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workspace:
    """Storage, records, cluster and data, ready for trainings."""

    config: RunConfig
    storage: Storage
    recorder: Recorder
    stores: Stores
    datasets: dict[str, Dataset]
    """By kind of data."""
    closed: bool
    """Whether query and gallery stay closed."""

    @classmethod
    def open(
        cls,
        config: RunConfig,
        scalings: Sequence[ScalingConfig],
        *,
        splits: Collection[str] | None = None,
        held_out: HoldOut | None = None,
    ) -> Self:
        """Check the settings, join the cluster and prepare the data.

        Args:
            scalings: what must be placeable; with `num_workers` = 0 everywhere no cluster is joined.
            splits: of the person images, open these alone; none = all.
            held_out: see the person images as if these identities were query and gallery.

        Raises:
            ValueError: settings or data do not permit it, or several nodes would share a SQLite file.
            PlacementError: the cluster cannot place the workers.
        """
        check_phases(config)
        storage = Storage.of(config)
        storage.make_ready()
        recorder = open_recorder(config, storage)
        join_cluster(config, scalings)
        require_lockable_store(recorder)
        stores = prepare_data(config, storage, kinds_of(config), splits)
        datasets = {}
        for kind, place in stores.items():
            datasets[kind] = open_store(place, storage, splits if kind == REID.name else None)
            if kind == REID.name and held_out is not None:
                datasets[kind] = hold_out(datasets[kind], held_out)
        closed = splits is not None
        return cls(config=config, storage=storage, recorder=recorder, stores=stores, datasets=datasets, closed=closed)

    def with_all_splits(self) -> Self:
        """The same with query and gallery open, and nobody held out."""
        stores = prepare_data(self.config, self.storage, kinds_of(self.config))
        datasets = {kind: open_store(place, self.storage) for kind, place in stores.items()}
        return dataclasses.replace(self, stores=stores, datasets=datasets, closed=False)

    def dataset_of(self, stage: Stage) -> Dataset:
        return self.datasets[stage.data.name]

    def require_trainable(self, trainings: Sequence[Training]) -> None:
        """Try what trainings with the configured seed will need: what other seeds need is the same.

        Raises:
            ValueError: see `reid.training.require_trainable`.
        """
        for training in trainings:
            if training.config.seed == self.config.seed:
                dataset = self.dataset_of(training.stage)
                require_trainable(training.stage, training.config, training.phase, dataset)

    @contextmanager
    def claim(self, kind: str, *, without: Exclude, digests: Sequence[str]) -> Iterator["Experiment"]:
        """The unfinished experiment of this configuration and data, else a new one; held until the context ends.

        Raises:
            HeldError: another driver has it.
        """
        claimed = claim_run(self.storage, self.config, digests, kind=kind, without=without)
        with claimed as run, self.conducting(run) as experiment:
            yield experiment

    @contextmanager
    def conducting(self, run: Run) -> Iterator["Experiment"]:
        """The experiment of a run that is held; if it fails, it is recorded as failed, with all that is under way."""
        with self.recorder:
            experiment = self.look_at(run)
            experiment.finished = run.sound_checkpoints()
            self.recorder.put(experiment.record)
            keep_log_in(run.scratch)
            try:
                with self.recorder.watching(experiment.record, run.require_held):
                    yield experiment
            except BaseException:
                run.require_held()
                experiment.record_failure()
                raise

    def look_at(self, run: Run) -> "Experiment":
        """The experiment of a run, which may be another driver's."""
        inputs = tuple(dataset_input(self.datasets[data], place) for data, place in self.stores.items())
        record = parent_record(run.identity, run.kind, self.config, inputs, name=run.key)
        return Experiment(workspace=self, run=run, record=record, finished=run.checkpoints())


@dataclasses.dataclass(kw_only=True)
class Experiment:
    """A claimed run that trains."""

    workspace: Workspace
    run: Run
    record: RunRecord
    """The parent of all others."""
    finished: dict[str, Place]
    """Last checkpoints by name of the training."""
    under_way: dict[str, RunRecord] = dataclasses.field(default_factory=dict)
    """Records of the trainings that have begun and not ended."""

    def train(self, trainings: Sequence[Training], *, at_once: Callable[[], int] | None = None) -> None:
        """Train all that is not finished.

        Args:
            at_once: how many may be under way at a time, as tasks of the cluster; none = one after another, from here.

        Raises:
            PhaseFailedError: one stopped, and with it the rest.
            TrainingsStoppedError: of many at once some stopped; all that do not build on them are finished.
        """
        stopped: dict[str, str] = {}
        with Workers(self.workspace.config.scaling, self.run.storage.place("runs", self.run.key)) as workers:
            fit = functools.partial(fit_here, workers=workers) if at_once is None else start_fit
            start = functools.partial(self._start, fit)
            for training, ended in run_in_order(trainings, self.finished, start, at_once=at_once or (lambda: 1)):
                name, record = training.name, self.under_way[training.name]
                if isinstance(ended, Stopped):
                    stopped[name] = ended.reason
                    self.workspace.recorder.put(dataclasses.replace(record, status="FAILED"))
                    if at_once is None:
                        raise PhaseFailedError(ended.reason)
                else:  # recorded first: from the moment it counts as finished it is not looked at again
                    self.workspace.recorder.put(finished_record(record, load_state(ended), ended))
                    self.finished[name] = ended
                    self.run.finish_phase(name, ended)
                    if at_once is not None:
                        done = sum(training.name in self.finished for training in trainings)
                        say(f"{name} finished, {done} of {len(trainings)}")
                del self.under_way[name]
        if stopped:
            raise TrainingsStoppedError(stopped)

    def metrics(self, name: str) -> dict[str, float]:
        """What the last epoch of a finished training measured."""
        return load_state(self.finished[name]).history[-1].metrics

    def publish(self, training: Training, *, alias: str, rival: Mapping[str, float] | None = None) -> Published:
        """Export the model of a finished training, and register it as far as MLflow is within reach.

        Args:
            rival: see `model_card`.
        """
        key = self._key(training.name)
        return publish_checkpoint(
            training.config,
            self.finished[training.name],
            self.run.storage.place("exports", key),
            recorder=self.workspace.recorder,
            alias=alias,
            run_key=key,
            rival=rival,
        )

    def finish(
        self,
        measurements: Sequence[Measurement],
        artifacts: Mapping[str, str],
        *,
        table: str,
        tags: Mapping[str, str] | None = None,
        runs: Mapping[str, str] | None = None,
    ) -> None:
        """Record the experiment as finished.

        Args:
            artifacts: see `RunRecord.artifacts`.
            table: of its results, in Markdown.
            runs: keys of runs worth a look by title, beside its own trainings'.
        """
        trained = {name: self._key(name) for name in self.finished}
        self.record = dataclasses.replace(
            self.record,
            status="FINISHED",
            tags=self.record.tags | dict(tags or {}),
            measurements=tuple(measurements),
            artifacts=dict(artifacts),
            note=with_results(self.record.note, table, artifacts, trained | dict(runs or {})),
        )
        self.workspace.recorder.put(self.record)

    def record_failure(self) -> None:
        """Record it as failed, and what is under way in it; called as another error is on its way."""
        try:
            for record in (*self.under_way.values(), self.record):
                self.workspace.recorder.put(dataclasses.replace(record, status="FAILED"))
        except DiskFullError as error:
            logging.getLogger(__name__).error("%s", error)

    def _start(self, fit: Callable[..., Started], training: Training) -> Started:
        workspace, stage = self.workspace, training.stage
        store = workspace.stores[stage.data.name]
        data = dataset_input(workspace.dataset_of(stage), store)
        record = training_record(self._key(training.name), self.record.key, training, data)
        self.under_way[training.name] = record
        workspace.recorder.put(record)
        job = PhaseJob(
            config=training.config,
            phase=training.phase,
            stage=stage,
            store=store,
            beside={} if workspace.closed else {k: v for k, v in workspace.stores.items() if k != stage.data.name},
            start_from=tuple(self.finished[name] for name in training.after),
            hold_out=training.hold_out,
            scoring=training.scoring,
            run=record.key,
            claim=None if self.run.lease is None else self.run.lease.claim,
        )
        place = self.run.storage.place("runs", self.run.key, *(training.folders or (training.name, training.phase)))
        observe = EpochRecorder(recorder=workspace.recorder, record=record)
        return fit(job, place=place, observe=observe)

    def _key(self, name: str) -> str:
        return f"{self.record.key}.{name}"
