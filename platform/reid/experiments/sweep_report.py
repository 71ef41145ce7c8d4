"""The report of a sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml
from omegaconf import OmegaConf

from reid.data import Dataset
from reid.evaluation import Evaluation
from reid.experiments import results
from reid.experiments.experiment import Experiment
from reid.experiments.report_parts import (
    comparison,
    configuration_section,
    illustrations,
    page_of,
    pictures_at,
    results_section,
    time_section,
    training_pictures,
    training_section,
    usage_section,
    what_ran,
)
from reid.pictures import Page, PageSection, PageTable
from reid.search import Trial
from reid.training import PhaseState, load_state, pictures_in

PAPER_TITLE = "the paper's values"
HELD_OUT = "Query and gallery here are of identities held out of training, by which trials are judged."


@dataclass(frozen=True, kw_only=True)
class Final:
    """What a sweep trains on all of train in the end."""

    trainings: dict[str, str]
    """Names by what is said of them in the table of scores."""
    dataset: Dataset
    """With query and gallery."""
    floor: Evaluation
    """Of the mean colour."""


def sweep_page(
    experiment: Experiment,
    trials: Sequence[Trial],
    winner: Trial,
    scores: results.Scores,
    final: Final | None,
    figures: Mapping[str, bytes],
    *,
    champion: str,
) -> Page:
    """Of a sweep that is over.

    Args:
        scores: on query and gallery, of what was trained in the end.
        figures: of the study.
        champion: name of the winner's training and alias of its model.
    """
    workspace = experiment.workspace
    states = {name: load_state(place) for name, place in experiment.finished.items()}
    sections = [what_ran("sweep", workspace.config, workspace.datasets, workspace.stores, note=HELD_OUT)]
    if final is not None:
        sections += _final_sections(experiment, scores, final, states, champion)
    sections.append(
        PageSection(
            heading="Trials",
            tables=[
                _judged(trials[0], winner, workspace.config.search.objectives),
                PageTable(
                    caption="the winner's settings",
                    header=(),
                    rows=[[path, str(value)] for path, value in winner.settings.items()],
                ),
                _trial_table(trials),
            ],
            illustrations=illustrations(figures),
        )
    )
    spent = [time_section(states)] if states else []
    return page_of(experiment.run.key, "sweep", [*sections, *spent, configuration_section(workspace.config)])


def _final_sections(
    experiment: Experiment, scores: results.Scores, final: Final, states: Mapping[str, PhaseState], champion: str
) -> list[PageSection]:
    """What the champion reaches on query and gallery, and how it is used."""
    workspace = experiment.workspace
    pictures = pictures_at(pictures_in(experiment.finished[champion]))
    last = {title: states[name].history[-1] for title, name in final.trainings.items()}
    pictures["cmc.png"] = comparison(final.floor, last)
    export = experiment.run.storage.place("exports", f"{experiment.record.key}.{champion}")
    with_floor = {results.MEAN_COLOUR: results.of(final.floor.metrics)} | scores
    return [
        results_section(with_floor, final.dataset, states[champion].history[-1].metrics),
        PageSection(heading="Pictures", illustrations=illustrations(pictures, of=champion)),
        training_section(training_pictures({champion: states[champion]}), [champion]),
        usage_section(export, workspace.recorder, champion),
    ]


def _judged(first: Trial, winner: Trial, objectives: Sequence[str]) -> PageTable:
    """The winner beside the first trial, which has the configuration's own values."""
    compared = {"the configuration's own values": first, f"trial {winner.number}, the winner": winner}
    rows = [
        [name, *(f"{trial.values[objective]:.4g}" for objective in objectives)]
        for name, trial in compared.items()
        if trial.values
    ]
    return PageTable(caption="on identities held out of training", header=["", *objectives], rows=rows)


def _trial_table(trials: Sequence[Trial]) -> PageTable:
    """All trials, by number."""
    objectives = list(dict.fromkeys(name for trial in trials for name in trial.values))
    rows = [
        [
            f"{trial.number}",
            trial.state,
            f"{trial.epochs}",
            *(f"{trial.values[name]:.4g}" if name in trial.values else "–" for name in objectives),
            ", ".join(f"{name} = {value}" for name, value in trial.params.items()),
        ]
        for trial in trials
    ]
    header = ["trial", "state", "epochs", *objectives, "parameters"]
    return PageTable(caption=f"all {len(trials)} trials", header=header, rows=rows, folded=True)


def held_out_table(winner: Trial, paper: Trial) -> str:
    """What both reach on identities held out of training, in Markdown."""
    rows = {PAPER_TITLE: paper, f"the winner, trial {winner.number}": winner}
    lines = [["on held-out identities", *winner.values], ["---", *("---:" for _ in winner.values)]]
    lines += [
        [t, *(f"{row.values[name]:.4g}" if row.values else "–" for name in winner.values)] for t, row in rows.items()
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_yaml(settings: dict[str, object]) -> str:
    """Settings by dotted path as `--config` takes them."""
    tree = OmegaConf.create()
    for path, value in settings.items():
        OmegaConf.update(tree, path, value)
    return yaml.safe_dump(OmegaConf.to_container(tree), sort_keys=False)
