"""What a sweep found, trained on all of train: the winner, beside the paper's values trained the same way."""

import dataclasses
from dataclasses import dataclass

from reid.config import RunConfig, with_settings
from reid.data import Dataset
from reid.data.held_out import HoldOut
from reid.jobs import results
from reid.jobs.data import PreparedData
from reid.jobs.export import export_checkpoint
from reid.jobs.records import EpochRecorder, dataset_input, finished_record, phase_record
from reid.jobs.runs import Run
from reid.search.spaces import searched_phase
from reid.search.study import Trial
from reid.tracking import Recorder, RunRecord
from reid.training.checkpoint import load_state
from reid.training.loop import PhaseJob
from reid.training.runner import fit

ALIAS = "champion"
PAPER = "the paper's values"


@dataclass(frozen=True, kw_only=True)
class PhaseTrainer:
    """Trains the phases of a sweep that are no trials, each once."""

    config: RunConfig
    run: Run
    runs: Recorder
    parent: RunRecord
    data: PreparedData
    datasets: dict[str, Dataset]
    """Open datasets by their store."""

    def shared_phases(self, hold_out: HoldOut | None) -> tuple[str, ...]:
        """Checkpoints of the phases before the last; with `hold_out` without ever seeing those identities.

        Without, they are not scored: query and gallery are there for the end.
        """
        checkpoints: tuple[str, ...] = ()
        for phase in list(self.config.phases)[:-1]:
            seen = None if self.config.phases[phase].stage == "pose" else hold_out
            name = phase if seen is None else f"{phase}-held-out"
            scored = hold_out is not None
            checkpoints += (self.train(name, self.config, phase, checkpoints, seen, scored=scored),)
        return checkpoints

    def train(
        self,
        name: str,
        config: RunConfig,
        phase: str,
        start_from: tuple[str, ...],
        hold_out: HoldOut | None = None,
        *,
        scored: bool = True,
    ) -> str:
        """The checkpoint of a training by its name in this sweep; trained to its end unless it was before."""
        store = self.data.store_of(config.phases[phase].stage)
        record = phase_record(self.parent, phase, config, (dataset_input(self.datasets[store], store),))
        record = dataclasses.replace(record, key=f"{self.parent.key}.{name}", name=name, model=name)
        finished = self.run.checkpoints()
        if name not in finished:
            self.runs.put(record)
            job = PhaseJob(
                config=config,
                phase=phase,
                store=store,
                start_from=start_from,
                hold_out=hold_out,
                scoring="illustrated" if scored else "off",
            )
            observe = EpochRecorder(recorder=self.runs, record=record)
            try:
                finished[name] = fit(job, folder=f"{self.run.folder}/{name}", observe=observe)
            except BaseException:
                self.runs.put(dataclasses.replace(record, status="FAILED"))
                raise
            self.run.finish_phase(name, finished[name])
        self.runs.put(finished_record(record, load_state(finished[name]), finished[name]))
        return finished[name]


def train_champion(trainer: PhaseTrainer, winner: Trial) -> results.Scores:
    """Train the winner and the paper's values on all of train, score each once, and register the winner.

    The phases before the last are the same for both.
    """
    config = with_settings(trainer.config, {"evaluation.every": 0})
    phase = searched_phase(config)
    shared = trainer.shared_phases(hold_out=None)
    champion = with_settings(config, winner.settings)
    checkpoint = trainer.train(ALIAS, champion, phase, shared)
    paper = checkpoint if winner.number == 0 else trainer.train("paper", config, phase, shared)
    folder = trainer.run.storage.scratch / "exports" / f"{trainer.run.key}.{ALIAS}"
    export_checkpoint(champion, checkpoint, folder)
    version = trainer.runs.publish(folder, alias=ALIAS, run_key=f"{trainer.parent.key}.{ALIAS}")
    if version is not None:
        print(f"registered: version {version}, alias {ALIAS}, from {folder}", flush=True)
    trained = {PAPER: paper, f"{ALIAS}, trial {winner.number}": checkpoint}
    return {name: results.of(load_state(place).history[-1].metrics) for name, place in trained.items()}
