"""Figures of studies made up trial by trial: what is marked where, what is left out and why."""

import logging
import math
import random
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import optuna
import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from PIL import Image

from reid.pictures import png
from reid.search import chart, figures, parallel
from reid.search.chart import NothingToDrawError
from reid.search.outcomes import Outcomes, read

EPOCHS = 4
ALWAYS = {"history.png", "timeline.png"}
"""Figures of any study with a value."""
PAPER = {"loss.alpha": 0.5, "loss.beta": 0.01, "loss.gamma": 2.0, "loss.mining": "batch_all", "loss.other": 1.0}
SPACE: dict[str, BaseDistribution] = {
    "model.layout": CategoricalDistribution(["six_parts", "whole_body"]),
    "layout.head.dim": IntDistribution(1, 8),
    "loss.mining": CategoricalDistribution(["batch_all", "batch_hard"]),
    "loss.gamma": FloatDistribution(0, 6),
    "loss.beta": FloatDistribution(0.001, 0.2, log=True),
    "loss.alpha": FloatDistribution(0.05, 1.5),
}


Trials = Sequence[tuple[Mapping[str, Any], Any]]
"""Parameters and what they reached: a value of each objective, or the state of a trial without."""


def study_of(
    trials: Trials,
    *directions: str,
    pruned: frozenset[int] = frozenset(),
) -> optuna.Study:
    study = optuna.create_study(directions=list(directions or ("maximize",)))
    for number, (params, reached) in enumerate(trials):
        state = TrialState.PRUNED if number in pruned else TrialState.COMPLETE
        study.add_trial(
            create_trial(
                params=dict(params),
                distributions={path: SPACE[path] for path in params},
                state=reached if isinstance(reached, TrialState) else state,
                values=None if isinstance(reached, TrialState) else list(reached),
                intermediate_values={1: reached[0]} if number in pruned and not isinstance(reached, TrialState) else {},
            )
        )
    return study


def drawn(rng: random.Random) -> dict[str, Any]:
    params = {
        "loss.alpha": rng.uniform(0.05, 1.5),
        "loss.beta": 10 ** rng.uniform(-3, math.log10(0.2)),
        "loss.gamma": rng.uniform(0, 6),
        "loss.mining": rng.choice(["batch_all", "batch_hard"]),
        "model.layout": rng.choice(["six_parts", "whole_body"]),
    }
    return params | ({"layout.head.dim": rng.randint(1, 8)} if params["model.layout"] == "six_parts" else {})


def a_sweep(trials: int = 24, *directions: str) -> tuple[optuna.Study, dict[int, int]]:
    """The paper's values, then random ones; γ near 2 is best, every fifth fails, every third is stopped.

    With several objectives no trial is stopped.
    """
    rng = random.Random(0)
    content: list[tuple[dict[str, Any], Any]] = []
    stopped = frozenset() if len(directions) > 1 else frozenset(range(2, trials, 3))
    trained = {number: 1 if number in stopped else EPOCHS for number in range(trials)}
    for number in range(trials):
        params = drawn(rng)
        if number == 0:
            params |= {path: value for path, value in PAPER.items() if path in params}
        mAP = 0.6 - 0.02 * abs(params["loss.gamma"] - 2.2) - 0.1 * (number in stopped)
        values = (mAP, 256.0 * params.get("layout.head.dim", 9))[: len(directions) or 1]
        content.append((params, TrialState.FAIL if number % 5 == 4 else values))
    return study_of(content, *directions, pruned=stopped), trained


def outcomes_of(study: optuna.Study, *metrics: str, trained: dict[int, int] | None = None) -> Outcomes:
    trained = trained or dict.fromkeys(range(len(study.trials)), EPOCHS)
    return read(study, metric_names=metrics or ("mAP",), paper=PAPER, trained=trained, epochs=EPOCHS)


def marks(axes: Axes, label: str) -> np.ndarray[Any, Any]:
    """x and y of what has a label in the legend."""
    (collection,) = (each for each in axes.collections if each.get_label() == label)
    return np.asarray(collection.get_offsets())


def panel(figure: Figure, name: str) -> Axes:
    (axes,) = (each for each in figure.axes if name in (each.get_xlabel(), each.get_ylabel()) and each.get_visible())
    return axes


def size_of(picture: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(picture)) as image:
        image.verify()
        assert image.format == "PNG"
        return image.size


@pytest.mark.parametrize("directions", [("maximize",), ("maximize", "minimize")])
def test_every_figure_is_a_picture_of_1200_pixels(directions: tuple[str, ...]) -> None:
    study, trained = a_sweep(24, *directions)
    styles = dict(mpl.rcParams)
    names = ("mAP", "descriptor_dim")[: len(directions)]
    pictures = figures.draw_figures(study, metric_names=names, paper=PAPER, trained=trained, epochs=EPOCHS)
    expected = ALWAYS | {"sensitivity.png", "importance.png", "parallel.png"}
    assert pictures.keys() == (expected | {"pareto.png"} if len(directions) == 2 else expected)
    assert {size_of(picture)[0] for picture in pictures.values()} == {1200}
    assert dict(mpl.rcParams) == styles


def test_history_tells_finished_stopped_and_failed_trials_apart() -> None:
    study, trained = a_sweep()
    figure = figures.draw_history(outcomes_of(study, trained=trained))
    objective, epochs = figure.axes
    values = {t.number: t.value for t in study.trials if t.state != TrialState.FAIL}
    stopped = [n for n in values if n % 3 == 2]
    finished = [n for n in values if n % 3 != 2]
    assert marks(objective, "trained to the end").tolist() == [[n, values[n]] for n in finished]
    assert marks(objective, chart.EARLIER_LABEL).tolist() == [[n, values[n]] for n in stopped]
    beside = {note.xy: note.get_text() for note in objective.texts if isinstance(note, Annotation)}
    assert beside == {(n, values[n]): f"{trained[n]}" for n in stopped}
    assert marks(objective, "the paper's values").tolist() == [[0, values[0]]]
    best = max(finished, key=lambda n: values[n] or 0)
    assert marks(objective, f"best: trial {best}").tolist() == [[best, values[best]]]
    lines = {line.get_label(): line for line in objective.lines}
    assert list(lines["failed"].get_xdata()) == [n for n in range(24) if n % 5 == 4]
    assert list(lines["best so far"].get_ydata()) == [max(values[m] or 0 for m in finished if m <= n) for n in values]
    done = sum(trained[n] for n in values)
    assert epochs.get_title().startswith(f"{done} of {EPOCHS * len(values)} epochs")
    assert f"{round(100 * (1 - done / (EPOCHS * len(values))))}% saved" in epochs.get_title()


def test_the_epochs_of_very_many_trials_are_not_written_over_each_other() -> None:
    study, trained = a_sweep(figures.MOST_NUMBERED + 20)
    objective, _ = figures.draw_history(outcomes_of(study, trained=trained)).axes
    assert list(objective.texts) == []
    assert objective.get_title() == ""


def test_the_time_line_is_optunas_and_leaves_no_figure_open() -> None:
    study, trained = a_sweep(6)
    began = [trial.datetime_start for trial in study.trials]
    (axes,) = figures.draw_timeline(outcomes_of(study, trained=trained)).axes
    bars = axes.containers[0]
    assert isinstance(bars, BarContainer)
    assert len(bars.patches) == len(began)
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"COMPLETE", "FAIL", "PRUNED"}
    assert plt.get_fignums() == []


def test_a_trial_with_a_longer_training_of_its_own_saves_nothing() -> None:
    study = study_of([({"loss.alpha": 0.1 * n}, (0.5,)) for n in range(1, 4)], pruned=frozenset({2}))
    outcomes = outcomes_of(study, trained={0: EPOCHS, 1: 3 * EPOCHS, 2: 1})
    assert figures.draw_history(outcomes).axes[-1].get_title() == "17 of 20 epochs trained, 15% saved by stopping"


def test_the_best_so_far_falls_where_less_is_better() -> None:
    contents = [({"loss.alpha": 0.1}, (0.5, 3.0)), ({"loss.alpha": 0.2}, (0.4, 5.0)), ({"loss.alpha": 0.3}, (0.6, 2.0))]
    outcomes = outcomes_of(study_of(contents, "maximize", "minimize"), "mAP", "descriptor_dim")
    lines = [
        next(line for line in axes.lines if line.get_label() == "best so far")
        for axes in figures.draw_history(outcomes).axes[:2]
    ]
    assert [list(line.get_ydata()) for line in lines] == [[0.5, 0.5, 0.6], [3.0, 3.0, 2.0]]


def test_sensitivity_has_a_panel_for_each_number_the_papers_first() -> None:
    study, trained = a_sweep()
    figure = figures.draw_sensitivity(outcomes_of(study, trained=trained))
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_visible()] == ["α", "β", "γ", "dim"]
    assert panel(figure, "β").get_xscale() == "log"
    axes = panel(figure, "γ")
    finished = [t for t in study.trials if t.state == TrialState.COMPLETE]
    stopped = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert marks(axes, "trained to the end").tolist() == [[t.params["loss.gamma"], t.value] for t in finished]
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines["stopped early"].get_xdata()) == {t.params["loss.gamma"] for t in stopped}
    assert list(lines["the paper's values"].get_xdata()) == [2.0, 2.0]
    low, high = axes.get_xlim()
    assert all(low <= t.params["loss.gamma"] <= high for t in stopped)
    assert len(lines["median"].get_xdata()) >= 2


def test_the_trend_is_medians_of_groups() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.permutation(24).astype(float), rng.random(24)
    order = np.argsort(x)
    found_x, found_y = figures._trend(x, y)
    assert found_x.tolist() == [np.median(x[order][start : start + 6]) for start in range(0, 24, 6)]
    assert found_y.tolist() == [np.median(y[order][start : start + 6]) for start in range(0, 24, 6)]


def test_the_trend_keeps_equal_values_together() -> None:
    x = np.array([1.0] * 5 + [2.0] * 4 + [3.0] * 6)
    found_x, found_y = figures._trend(x, x * 10)
    assert found_x.tolist() == [1, 2, 3]
    assert found_y.tolist() == [10, 20, 30]


def test_importance_finds_what_matters() -> None:
    rng = random.Random(1)
    contents = [(params, (1 - abs(params["loss.gamma"] - 2),)) for params in (drawn(rng) for _ in range(40))]
    axes, again = (figures.draw_importance(outcomes_of(study_of(contents))).axes[0] for _ in range(2))
    names = [label.get_text() for label in axes.get_yticklabels()]
    shares = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert names[0] == "γ"
    assert set(names) == {"α", "β", "γ", "mining", "layout", "dim"}
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert shares == [bar.get_width() for bar in again.patches]  # type: ignore[attr-defined]


def test_the_front_is_what_no_trial_beats() -> None:
    study, _ = a_sweep(30, "maximize", "minimize")
    values = [t.values for t in study.trials if t.state == TrialState.COMPLETE]
    front = {
        (size, mAP)
        for mAP, size in values
        if not any(m >= mAP and s <= size and (m, s) != (mAP, size) for m, s in values)
    }
    figure = figures.draw_pareto(outcomes_of(study, "mAP", "descriptor_dim"))
    assert set(map(tuple, marks(figure.axes[0], "Pareto front").tolist())) == front
    assert f"{len(front)} of {len(values)} trials" in figure.get_suptitle()


@pytest.mark.parametrize(("direction", "steps"), [("minimize", "steps-post"), ("maximize", "steps-pre")])
def test_the_front_encloses_what_it_beats(direction: str, steps: str) -> None:
    study, _ = a_sweep(12, "maximize", direction)
    (line,) = figures.draw_pareto(outcomes_of(study, "mAP", "descriptor_dim")).axes[0].lines
    assert line.get_drawstyle() == steps


def test_three_objectives_give_two_panels() -> None:
    rng = random.Random(2)
    contents = [(drawn(rng), (rng.random(), rng.random(), rng.random())) for _ in range(12)]
    names = ("mAP", "descriptor_dim", "images_per_second")
    study = study_of(contents, "maximize", "minimize", "maximize")
    pictures = figures.draw_figures(
        study, metric_names=names, paper=PAPER, trained=dict.fromkeys(range(12), EPOCHS), epochs=EPOCHS
    )
    assert set(pictures) == set(figures.FIGURES)
    figure = figures.draw_pareto(outcomes_of(study, *names))
    assert [axes.get_xlabel() for axes in figure.axes] == ["dimensions", "images/s"]


def test_parallel_coordinates_hold_every_trial_at_its_value() -> None:
    contents = [
        ({"loss.beta": 0.001, "model.layout": "whole_body"}, (0.2,)),
        ({"loss.beta": 0.01, "model.layout": "six_parts", "layout.head.dim": 2}, (0.4,)),
        ({"loss.beta": 0.1, "model.layout": "six_parts", "layout.head.dim": 6}, (0.6,)),
    ]
    outcomes = outcomes_of(study_of(contents))
    beta, layout, dim = (parallel._parameter(outcomes, path) for path in outcomes.distributions)
    assert beta.heights.tolist() == pytest.approx([1, 0.5, 0])
    assert set(beta.ticks.values()) == {"0.001", "0.00316", "0.01", "0.0316", "0.1"}
    assert layout.heights.tolist() == pytest.approx([0, 0, 1], abs=parallel.SPREAD)
    assert layout.heights[0] > layout.heights[1]
    assert layout.ticks == {0.0: "six_parts", 1.0: "whole_body"}
    assert dim.heights.tolist() == pytest.approx([1, 0, parallel.NONE], abs=parallel.SPREAD)
    assert dim.ticks[parallel.NONE] == "not used"


def test_parallel_coordinates_end_below_for_stopped_trials() -> None:
    contents = [({"loss.alpha": 0.1 * n}, (0.2 * n,)) for n in range(1, 5)]
    objective = parallel._objective(outcomes_of(study_of(contents, pruned=frozenset({3}))))
    assert objective.heights.tolist() == pytest.approx([1, 0.5, 0, parallel.NONE], abs=parallel.SPREAD)
    assert set(objective.ticks.values()) == {"20.0%", "30.0%", "40.0%", "50.0%", "60.0%", "stopped"}


def log_of(study: optuna.Study, caplog: pytest.LogCaptureFixture) -> tuple[set[str], str]:
    """Names of the figures, and what was said."""
    caplog.set_level(logging.INFO, logger=figures.__name__)
    trained = dict.fromkeys(range(len(study.trials)), EPOCHS)
    pictures = figures.draw_figures(study, metric_names=["mAP"], paper=PAPER, trained=trained, epochs=EPOCHS)
    assert {size_of(picture)[0] for picture in pictures.values()} <= {1200}
    return set(pictures), caplog.text


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [({"loss.alpha": 0.1}, TrialState.FAIL), ({"loss.alpha": 0.2}, TrialState.FAIL)],
        [({"loss.alpha": 0.1}, (math.inf,))],
        [({"loss.alpha": 0.1}, TrialState.RUNNING), ({}, TrialState.WAITING)],
    ],
    ids=["none", "all failed", "infinite", "none over"],
)
def test_without_a_value_there_is_no_figure_but_a_note(trials: Any, caplog: pytest.LogCaptureFixture) -> None:
    names, said = log_of(study_of(trials), caplog)
    assert names == set()
    assert "no trial reached a value" in said


@pytest.mark.parametrize(
    ("trials", "drawn_figures", "notes"),
    [
        (
            [({"loss.alpha": 0.1}, (0.5,))],
            {"history.png", "timeline.png"},
            ["sensitivity.png", "importance.png", "parallel.png"],
        ),
        (
            [({"loss.alpha": 0.1 * n, "loss.mining": "batch_all"}, (0.5,)) for n in range(1, 13)],
            ALWAYS | {"sensitivity.png", "parallel.png"},
            ["importance.png is left out: no parameter, or no objective, took more than one value"],
        ),
        (
            [({"loss.mining": name}, (0.1,)) for name in ("batch_all", "batch_hard")],
            ALWAYS | {"parallel.png"},
            ["sensitivity.png is left out: no numeric parameter"],
        ),
        (
            [({"loss.mining": "batch_all"}, (0.1 * n,)) for n in range(12)],
            {"history.png", "timeline.png"},
            ["importance.png is left"],
        ),
    ],
    ids=["one trial", "one objective value", "two categories", "one category"],
)
def test_what_cannot_be_drawn_is_left_out_and_said(
    trials: Any, drawn_figures: set[str], notes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    names, said = log_of(study_of(trials), caplog)
    assert names == drawn_figures
    assert all(note in said for note in [*notes, "pareto.png is left out: there is one objective"])


def test_without_a_finished_trial_the_stopped_ones_are_compared() -> None:
    study = study_of([({"loss.alpha": 0.1 * n}, (0.1 * n,)) for n in range(1, 5)], pruned=frozenset(range(4)))
    outcomes = outcomes_of(study, trained={0: 1, 1: 1, 2: 2, 3: 1})
    assert [trial.number for trial in outcomes.ranked] == [2, 3, 1, 0]
    (axes,) = figures.draw_sensitivity(outcomes).axes
    assert len(marks(axes, chart.EARLIER_LABEL)) == 4
    assert png(figures.draw_history(outcomes))
    assert png(parallel.draw_parallel(outcomes))


def test_importance_counts_stopped_trials_as_worse_than_finished_ones() -> None:
    rng = random.Random(3)
    contents = []
    for number in range(40):
        params = drawn(rng) | {"loss.gamma": rng.uniform(2, 3) if number < 8 else rng.choice([0.5, 5.0])}
        contents.append((params, (0.5 if number < 8 else 0.9,)))
    study = study_of(contents, pruned=frozenset(range(8, 40)))
    axes = figures.draw_importance(outcomes_of(study)).axes[0]
    assert axes.get_yticklabels()[0].get_text() == "γ"
    assert axes.patches[0].get_width() > 0.5  # type: ignore[attr-defined]


def test_importance_leaves_out_what_few_trials_have() -> None:
    contents = [({"loss.alpha": 0.1 * n} | ({"loss.gamma": n / 4} if n < 5 else {}), (0.1 * n,)) for n in range(1, 14)]
    (axes,) = figures.draw_importance(outcomes_of(study_of(contents))).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["α"]


def test_a_wide_space_is_cut_to_what_most_trials_have() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        base = trial.suggest_categorical("layout", ["few", "many"])
        for part in range(30 if base == "many" and trial.number % 3 else 2):
            trial.suggest_categorical(f"layout.{base}.part{part}.dim", [128, 256, 512])
        return trial.suggest_float("loss.alpha", 0, 1)

    study.optimize(objective, n_trials=40)
    outcomes = outcomes_of(study)
    assert list(outcomes.distributions)[:2] == ["loss.alpha", "layout"]
    panels = [axes for axes in figures.draw_sensitivity(outcomes).axes if axes.get_visible()]
    assert len(panels) == figures.MOST_PANELS
    numeric = [path for path in outcomes.distributions if path != "layout"]
    used = {outcomes.names[path]: sum(path in trial.params for trial in study.trials) for path in numeric}
    shown = {axes.get_xlabel() for axes in panels}
    assert min(used[name] for name in shown) >= max(used[name] for name in used.keys() - shown)
    figure = parallel.draw_parallel(outcomes)
    assert len(figure.axes) == 2
    assert f"14 of {len(outcomes.distributions)}: those that most trials have" in figure.get_suptitle()


def test_each_objective_needs_a_name() -> None:
    with pytest.raises(ValueError, match="1 for 2 objectives, give one for each"):
        figures.draw_figures(
            study_of([], "maximize", "minimize"), metric_names=["mAP"], paper={}, trained={}, epochs=EPOCHS
        )


def test_a_front_takes_two_objectives() -> None:
    with pytest.raises(NothingToDrawError):
        figures.draw_pareto(outcomes_of(study_of([({"loss.alpha": 0.1}, (0.5,))])))
