"""The parts that the reports of all experiments have in common."""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from reid.config import PRESETS, RunConfig, flatten, validate_config
from reid.data import Dataset, Split
from reid.evaluation import Evaluation
from reid.experiments import results
from reid.pictures import (
    Curve,
    Illustration,
    Page,
    PageSection,
    PageTable,
    cmc_picture,
    identities_picture,
    losses_picture,
    time_picture,
)
from reid.stages import PLAIN, score_most_common, stage_of
from reid.storage import Place
from reid.tracking import MODEL_NAME, Recorder
from reid.training import EpochRecord, PhaseState

REPORT = "report.html"
MOST_COMMON, MEAN_JOINTS = "most common class", "everyone's mean joints"
RIVALS = (
    "The first rows learn nothing: the class that is most common in training said of everybody, one place for "
    "everybody's joints, and an image's mean colour as its descriptor. A model should be well above them."
)
NOTES = {
    "cmc.png": ("First matches", "Higher and further to the left is better; dashed is what was not trained."),
    "ranked.png": (
        "What single queries find",
        "From the worst query to the best: green is right, red is wrong. Look at what the wrong ones have in common.",
    ),
    "cameras.png": (
        "Cameras",
        "Bright is good. A dark row is a camera whose people are hard to find, a dark column one that hides them.",
    ),
    "attributes.png": (
        "Attributes",
        "A bar is worth what it is longer than the grey one, which is reached without looking at the image.",
    ),
    "parts.png": ("Where the branches look", "Each column should light up on its own part of the body."),
    "pose_maps.png": ("What the pose net sees", "Joints found should lie where they were annotated."),
    "textures.png": ("Textures", "What was reconstructed beside the true texture, where that is known."),
    "history.png": ("History", "Trials in their order. A hollow mark was measured at an earlier epoch."),
    "sensitivity.png": ("Sensitivity", "How the objective depends on each number that was searched."),
    "importance.png": ("Importance", "Which parameters decide whether a trial is among the best."),
    "parallel.png": ("All parameters", "Each line is a trial; follow the bright ones."),
    "pareto.png": ("Pareto front", "No trial is better than these in all objectives."),
    "timeline.png": ("Time line", "When each trial ran, and how it ended."),
}
"""Title and what to look at, by the name of the picture."""
UNCHANGED = ("storage",)
"""Settings that no preset has."""


def illustrations(pictures: Mapping[str, bytes], *, of: str = "") -> list[Illustration]:
    """The pictures that there is something to say of, in the order of `NOTES`.

    Args:
        of: whose they are, for their titles.
    """
    return [
        Illustration(title=f"{title}, {of}" if of else title, note=note, png=pictures[name])
        for name, (title, note) in NOTES.items()
        if name in pictures
    ]


def pictures_at(folder: Place | None) -> dict[str, bytes]:
    """PNG files in a folder by name; nothing where there is none."""
    return {} if folder is None else {name: (folder / name).read() for name in folder.names()}


def what_ran(
    kind: str, config: RunConfig, datasets: Mapping[str, Dataset], stores: Mapping[str, str], *, note: str = ""
) -> PageSection:
    """The data, the phases and the machine of a run."""
    phases = (f"{name} ({phase.epochs} epochs)" for name, phase in config.phases.items())
    workers = config.scaling.num_workers
    facts = {
        "job": kind,
        "model": ", ".join(dict.fromkeys(stage_of(config, phase).family for phase in config.phases)),
        "phases": " → ".join(phases),
        **{f"data, {name}": _described(dataset, stores[name]) for name, dataset in datasets.items()},
        "seed": f"{config.seed}",
        "workers": "none, in the job's own process" if workers == 0 else f"{workers}",
        "machine of the driver": f"{os.cpu_count()} CPUs, PyTorch {torch.__version__}",
        "written": time.strftime("%Y-%m-%d %H:%M %Z"),
    }
    return PageSection(
        heading="What ran", note=note, tables=[PageTable(caption="", header=(), rows=list(facts.items()))]
    )


def score_table(scores: results.Scores, most_common: Mapping[str, float], mean_joints: float | None) -> PageTable:
    """The table that the job prints, with the rivals of attributes and joints too, where the models have any.

    Args:
        most_common: metrics of always saying the most common class.
        mean_joints: PCK of the mean map.
    """
    rivals: results.Scores = {}
    if any(results.ATTRIBUTES in values for values in scores.values()):
        rivals[MOST_COMMON] = results.of_attributes(most_common)
    if mean_joints is not None:
        rivals[MEAN_JOINTS] = {results.JOINTS: mean_joints}
    header, rows = results.cells(rivals | scores)
    return PageTable(caption="query against gallery", header=header, rows=rows)


def results_section(scores: results.Scores, dataset: Dataset, measured: Mapping[str, float]) -> PageSection:
    """
    Args:
        measured: what the last model's evaluation did.
    """
    table = score_table(scores, score_most_common(dataset), measured.get("eval/people/mean_map/pck"))
    return PageSection(heading="Results", note=RIVALS, tables=[table])


def comparison(floor: Evaluation, trained: Mapping[str, EpochRecord]) -> bytes:
    """`cmc.png` of the mean colour and of trainings, by what each is called; those of older versions kept no CMC."""
    floor_curve = Curve(cmc=floor.cmc[PLAIN], mAP=floor.metrics["eval/mAP"], rival=True)
    curves = {
        name: Curve(cmc=record.cmc[PLAIN], mAP=record.metrics["eval/mAP"])
        for name, record in trained.items()
        if PLAIN in record.cmc
    }
    return cmc_picture({results.MEAN_COLOUR: floor_curve} | curves)


def people_section(dataset: Dataset, config: RunConfig) -> PageSection:
    """Some people of the training split."""
    picture = identities_picture(
        dataset.splits["train"], f"Some people of {dataset.name}", aspect=config.data.width / config.data.height
    )
    shown = Illustration(
        title="Some of the people", note="The first identities of the training split, by camera.", png=picture
    )
    return PageSection(heading="Data", illustrations=[shown])


def training_pictures(states: Mapping[str, PhaseState]) -> dict[str, bytes]:
    """`losses_<training>.png` of each training, by its name."""
    return {
        f"losses_{name}.png": losses_picture(name, [record.metrics for record in state.history])
        for name, state in states.items()
    }


def training_section(pictures: Mapping[str, bytes], names: Sequence[str]) -> PageSection:
    """The curves of `training_pictures`."""
    note = (
        "All terms of the loss, whose sum is the total; by powers of ten where they differ much. More epochs may help "
        "where the total still falls at the end, though the learning rate does not fall with it."
    )
    shown = [Illustration(title=name, png=pictures[f"losses_{name}.png"]) for name in names]
    return PageSection(heading="Training", note=note, illustrations=shown)


def seconds_of(state: PhaseState) -> dict[str, float]:
    """Where the time of a whole training went, see `EpochRecord.seconds`."""
    parts = dict.fromkeys((part for record in state.history for part in record.seconds), 0.0)
    return {part: sum(record.seconds.get(part, 0.0) for record in state.history) for part in parts}


def spent_in(states: Mapping[str, PhaseState]) -> dict[str, dict[str, float]]:
    """`seconds_of` the trainings that say it."""
    return {name: parts for name, state in states.items() if (parts := seconds_of(state))}


def time_section(states: Mapping[str, PhaseState]) -> PageSection:
    """Where time went, of the trainings that say it: those of older versions do not."""
    rows = [
        [
            name,
            f"{state.epoch}",
            f"{np.median([record.metrics['train/images_per_second'] for record in state.history]):.0f}",
            f"{sum(seconds_of(state).values()):,.1f} s",
        ]
        for name, state in states.items()
    ]
    table = PageTable(caption="", header=["", "epochs", "images/s", "time"], rows=rows)
    note = "As the first worker saw it, without its start. Much waiting for batches means that data are the bottleneck."
    return PageSection(
        heading="Where time went", tables=[table], illustrations=time_illustration(spent_in(states), note)
    )


def time_illustration(spent: Mapping[str, Mapping[str, float]], note: str) -> list[Illustration]:
    """A bar for each name; nothing where nothing was timed."""
    return [Illustration(title="By what was done", note=note, png=time_picture(spent))] if spent else []


def usage_section(export: Place, recorder: Recorder, alias: str) -> PageSection:
    """How the exported model is used in Python."""
    code = f"""\
import reid

model = reid.load({json.dumps(str(export))})
descriptors = model.describe(["one.jpg", "another.jpg"])  # unit vectors
print(descriptors @ descriptors.T)  # cosine similarities: the higher, the more alike
"""
    note = f"As models:/{MODEL_NAME}@{alias} it is in the registry of MLflow at {recorder.uri} too."
    return PageSection(heading="Using the model", note=note, code=code)


def configuration_section(config: RunConfig) -> PageSection:
    """All settings, those first in which they differ from the preset that is nearest."""
    settings = {path: value for path, value in flatten(config).items() if path not in UNCHANGED}
    preset, theirs = nearest_preset(settings)
    stages = {path.split(".")[1]: stage for path, stage in theirs.items() if re.fullmatch(r"phases\.\w+\.stage", path)}
    left_out = {f"phases.{name}": stage for name, stage in stages.items() if name not in config.phases}
    rows = [[path, "left out", stage] for path, stage in left_out.items()]
    rows += [
        [path, settings.get(path, "–"), theirs.get(path, "–")]
        for path in sorted(settings.keys() | theirs.keys())
        if settings.get(path) != theirs.get(path) and ".".join(path.split(".")[:2]) not in left_out
    ]
    changed = PageTable(
        caption=f"differences from the nearest preset, {preset}", header=["", "here", preset], rows=rows
    )
    every = PageTable(
        caption=f"all {len(settings)} settings", header=(), rows=[list(item) for item in settings.items()], folded=True
    )
    note = f"Every setting is as in the preset {preset}." if not rows else ""
    return PageSection(heading="Configuration", note=note, tables=[changed, every] if rows else [every])


def nearest_preset(settings: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Name and settings by path of the preset that differs in the fewest."""
    presets = {name: flatten(validate_config(preset())) for name, preset in PRESETS.items()}
    theirs = {
        name: {path: value for path, value in flat.items() if path not in UNCHANGED} for name, flat in presets.items()
    }
    name = min(theirs, key=lambda name: len(settings.items() ^ theirs[name].items()))
    return name, theirs[name]


def page_of(name: str, what: str, sections: Sequence[PageSection]) -> Page:
    return Page(title=name, subtitle=f"reid, {what}", sections=sections)


def _described(dataset: Dataset, store: str) -> str:
    parts = ", ".join(f"{name} {_counts(split)}" for name, split in dataset.splits.items())
    return f"{dataset.name}: {parts}; {store}"


def _counts(split: Split) -> str:
    people = split.pids_N[split.pids_N > 0]
    images = f"{len(split):,} images"
    if not len(people):
        return images
    return f"{images} of {len(np.unique(people)):,} people by {len(np.unique(split.camids_N))} cameras"
