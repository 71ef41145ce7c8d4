"""The reports of a pipeline, an ablation and an evaluation: one page each, beside the run."""

import shlex
from collections import defaultdict
from collections.abc import Sequence

from reid.config import RunConfig
from reid.data import REID, Dataset
from reid.evaluation import Evaluation
from reid.experiments import results
from reid.experiments.ablation_table import AblationTable
from reid.experiments.experiment import Experiment
from reid.experiments.report_parts import (
    REPORT,
    comparison,
    configuration_section,
    illustrations,
    page_of,
    people_section,
    pictures_at,
    results_section,
    seconds_of,
    spent_in,
    time_illustration,
    time_section,
    training_pictures,
    training_section,
    usage_section,
    what_ran,
)
from reid.experiments.training import Training
from reid.pictures import Illustration, Page, PageSection, PageTable, rows_picture, time_picture
from reid.storage import Place
from reid.training import PICTURES, PhaseState, load_state, pictures_in, save_pictures


def write_report(folder: Place, page: Page) -> Place:
    """Write `report.html` into a folder; returns where it lies."""
    place = folder / REPORT
    place.write(page.html())
    return place


def pipeline_report(
    experiment: Experiment,
    trainings: Sequence[Training],
    scores: results.Scores,
    floor: Evaluation | None,
    *,
    alias: str,
) -> dict[str, str]:
    """Draw the pictures of a whole pipeline and write its report; both as `RunRecord.artifacts`.

    Args:
        trainings: all of them, finished.
        scores: the table.
        floor: of the mean colour, where there are person images.
        alias: of the model that the pipeline registers.
    """
    workspace, run = experiment.workspace, experiment.run
    states = {training.name: load_state(experiment.finished[training.name]) for training in trainings}
    describing = [training for training in trainings if training.stage.describes]
    last = (describing or trainings)[-1]
    pictures = pictures_at(pictures_in(experiment.finished[last.name]))
    if floor is not None and describing:
        pictures["cmc.png"] = comparison(floor, {one.name: states[one.name].history[-1] for one in describing})
    curves = training_pictures(states)
    spent = spent_in(states)
    save_pictures(run.folder, pictures | curves | ({"time.png": time_picture(spent)} if spent else {}))
    shown = illustrations(pictures, of=last.name)
    for other in (training for training in trainings if training not in (*describing, last)):
        shown += illustrations(pictures_at(pictures_in(experiment.finished[other.name])), of=other.name)
    sections = [
        what_ran("pipeline", workspace.config, workspace.datasets, workspace.stores),
        PageSection(heading="Pictures", illustrations=shown),
        training_section(curves, list(states)),
        time_section(states),
    ]
    if (people := workspace.datasets.get(REID.name)) is not None:
        measured = states[last.name].history[-1].metrics
        sections[1:1] = [results_section(scores, people, measured), people_section(people, workspace.config)]
    if describing:
        export = run.storage.place("exports", f"{experiment.record.key}.{describing[-1].name}")
        sections.append(usage_section(export, workspace.recorder, alias))
    page = page_of(run.key, "pipeline", [*sections, configuration_section(workspace.config)])
    return {run.folder / PICTURES: PICTURES, write_report(run.folder, page): ""}


def evaluation_page(
    name: str,
    config: RunConfig,
    dataset: Dataset,
    store: str,
    checkpoint: Place,
    state: PhaseState,
    floor: Evaluation,
    evaluation: Evaluation,
) -> Page:
    """Of a checkpoint on any dataset.

    Args:
        name: of the evaluation.
        state: of the checkpoint.
    """
    scores = {results.MEAN_COLOUR: results.of(floor.metrics), state.phase: results.of(evaluation.metrics)}
    sections = [
        what_ran("evaluation", config, {REID.name: dataset}, {REID.name: store}),
        results_section(scores, dataset, evaluation.metrics),
        PageSection(heading="Pictures", illustrations=illustrations(evaluation.pictures)),
        people_section(dataset, config),
        PageSection(
            heading="Using the model",
            note="This writes it as programs for Python, and registers it in MLflow:",
            code=f"reid export --checkpoint {shlex.quote(checkpoint)}",
        ),
        configuration_section(config),
    ]
    return page_of(name, f"evaluation of {checkpoint}", sections)


def ablation_page(experiment: Experiment, table: AblationTable) -> Page:
    """Of all rows and seeds that are finished."""
    workspace = experiment.workspace
    rows = {
        row.name: [values["mAP"] for values in table.scores[row.slug].values()]
        for row in table.comparison.rows
        if table.scores.get(row.slug)
    }
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for place in experiment.finished.values():
        state = load_state(place)
        for part, value in seconds_of(state).items():
            seconds[state.phase][part] += value
    shown = Illustration(
        title="mAP of every row",
        note="Rows differ for sure only where the seeds of one lie apart from those of the other.",
        png=rows_picture(rows),
    )
    note = "Of all trainings of a phase together, which may have run at once."
    sections = [
        what_ran("ablation", workspace.config, workspace.datasets, workspace.stores),
        PageSection(
            heading="Results",
            note="Every row is trained on as many person images as the full model, and compared with one other row.",
            tables=[PageTable(caption="mean ± deviation over the seeds", header=table.header(), rows=table.rows())],
            illustrations=[shown] if rows else [],
        ),
        PageSection(heading="Where time went", illustrations=time_illustration(seconds, note)),
        configuration_section(workspace.config),
    ]
    return page_of(experiment.run.key, "ablation", sections)
