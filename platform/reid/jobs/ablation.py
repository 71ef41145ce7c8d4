"""Trains every row of the ablation over several seeds, many at once, and tables them."""

import dataclasses
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future

from reid.config import RunConfig
from reid.config.schema import Stage
from reid.data import Dataset
from reid.jobs import command, results
from reid.jobs.ablation_table import AblationTable
from reid.jobs.data import PreparedData, prepare_data
from reid.jobs.records import (
    EpochRecorder,
    dataset_input,
    parent_record,
    phase_record,
    pictures_of,
    recorder,
    with_history,
)
from reid.jobs.runs import Run, claim_run
from reid.search.ablation import Plan, Training, plan_ablation
from reid.tracking import Measurement, Recorder, RunRecord
from reid.tracking.record import Status
from reid.training.background import Outcome, run_in_order, start_fit
from reid.training.checkpoint import load_state
from reid.training.cluster import concurrent_runs, connect, require_placeable
from reid.training.loop import PhaseJob, require_trainable
from reid.training.runner import PhaseFailedError, Stopped
from reid.training.storage import Storage, open_store


def main(argv: Sequence[str] | None = None) -> None:
    description = (
        "Train FGSAM without each of its components, over several seeds and with equal budgets, and table what each "
        "brings (the paper's Tables IV and V)."
    )
    command.run(run_ablation, command.parse(description, argv))


def run_ablation(config: RunConfig) -> AblationTable:
    """Train what is not finished yet of every row and seed, and table the scores.

    The same configuration goes on where an earlier process stopped.

    Raises:
        ValueError: settings, data or cluster do not permit the run; nothing was trained.
        PhaseFailedError: a training stopped; all that do not build on it were finished.
    """
    storage = Storage(config.storage)
    storage.require_writable()
    runs = recorder(config, storage, os.environ.get("MLFLOW_TRACKING_URI"))
    if config.scaling.num_workers:
        connect()
    data = prepare_data(config, storage, {phase.stage for phase in config.phases.values()})
    datasets = {phase.stage: open_store(data.store_of(phase.stage), config.storage) for phase in config.phases.values()}
    plan = plan_ablation(config, datasets)
    scaling = plan.trainings[0].config.scaling
    if scaling.num_workers:
        require_placeable(scaling)
    for training in plan.trainings:
        if training.config.seed == config.seed:
            stage = training.config.phases[training.phase].stage
            require_trainable(training.config, training.phase, datasets[stage])
    digests = tuple(dict.fromkeys(dataset.digest for dataset in datasets.values()))
    without = {"search": True, "ablation": {"workers"}}
    with claim_run(storage, config, digests, kind="ablation", without=without) as run:
        inputs = {data.store_of(stage): dataset for stage, dataset in datasets.items()}
        record = parent_record(
            run.key, "ablation", config, tuple(dataset_input(dataset, place) for place, dataset in inputs.items())
        )
        return _train(config, plan, run, data, datasets, runs, record)


def _train(
    config: RunConfig,
    plan: Plan,
    run: Run,
    data: PreparedData,
    datasets: dict[Stage, Dataset],
    runs: Recorder,
    parent: RunRecord,
) -> AblationTable:
    finished = run.checkpoints()
    print(f"run {run.key}: {len(plan.trainings)} trainings; finished: {len(finished)}", flush=True)
    runs.put(parent)
    records: dict[str, RunRecord] = {}

    def start(training: Training) -> Future[Outcome]:
        settings = training.config.phases[training.phase]
        store = data.store_of(settings.stage)
        inputs = (dataset_input(datasets[settings.stage], store),)
        record = phase_record(parent, training.phase, training.config, inputs)
        record = dataclasses.replace(record, key=f"{parent.key}.{training.name}", name=training.name, model=None)
        records[training.name] = record
        runs.put(record)
        job = PhaseJob(
            config=training.config,
            phase=training.phase,
            store=store,
            start_from=tuple(finished[name] for name in training.after),
        )
        observe = EpochRecorder(recorder=runs, record=record)
        return start_fit(job, folder=f"{run.folder}/{training.name}", observe=observe)

    scaling = plan.trainings[0].config.scaling
    at_once = concurrent_runs(scaling) if scaling.num_workers else 1
    stopped: dict[str, str] = {}
    try:
        for training, outcome in run_in_order(plan.trainings, finished, start, at_once=at_once):
            record = records[training.name]
            if isinstance(outcome, Stopped):
                stopped[training.name] = outcome.reason
                runs.put(dataclasses.replace(record, status="FAILED"))
                continue
            record = with_history(record, load_state(outcome))
            runs.put(dataclasses.replace(record, status="FINISHED", artifacts=pictures_of(outcome)))
            finished[training.name] = outcome
            run.finish_phase(training.name, outcome)  # from here on it is not looked at again
            print(f"{training.name} finished, {len(finished)} of {len(plan.trainings)}", flush=True)
    except BaseException:
        runs.put(dataclasses.replace(parent, status="FAILED"))
        raise
    metrics = {name: load_state(place).history[-1].metrics for name, place in finished.items()}
    table = AblationTable.of(plan, config.data.name, metrics)
    runs.put(_with_table(parent, table, run, status="FAILED" if stopped else "FINISHED"))
    table.show()
    results.show_places({"run": run.folder, "data": data.reid}, runs, parent)
    if stopped:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in stopped.items())
        raise PhaseFailedError(f"the table is not complete, {len(stopped)} trainings stopped:\n{reasons}")
    run.finish(table.means())
    return table


def _with_table(parent: RunRecord, table: AblationTable, run: Run, *, status: Status) -> RunRecord:
    """The parent's record with every score by seed and, as artifact, the table."""
    folder = run.storage.scratch / "runs" / run.key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ablation.md").write_text(table.markdown())
    measured = (Measurement(step=seed, time=time.time(), metrics=metrics) for seed, metrics in table.by_seed().items())
    return dataclasses.replace(
        parent, status=status, measurements=tuple(measured), artifacts={str(folder / "ablation.md"): ""}
    )
