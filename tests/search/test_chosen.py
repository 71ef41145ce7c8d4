"""A space of the user's own: found in its file, and every way in which it can be wrong said before the first trial."""

from pathlib import Path
from typing import Any

import pytest

from reid.config import ConfigError, load_config
from reid.search.chosen import check_space, find_space

CONFIG = load_config(preset="smoke")

GOOD = """
PAPER = {"margins": "wide"}

def space(trial, config):
    narrow = trial.suggest_categorical("margins", ("wide", "narrow")) == "narrow"
    return {"loss.alpha": trial.suggest_float("loss.alpha", 0.1, 0.6), **({"loss.beta": 0.02} if narrow else {})}

def other(trial, config):
    return {"phases.final.learning_rate": trial.suggest_float("phases.final.learning_rate", 1e-4, 1e-2, log=True)}
"""


def written(folder: Path, source: str) -> str:
    file = folder / "mine.py"
    file.write_text(source)
    return str(file)


def drawing(body: str) -> str:
    return f"def space(trial, config):\n    {body}\n"


def refused(name: str, dataset: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check_space(find_space(name), CONFIG, dataset)
    return str(caught.value)


def test_a_file_holds_spaces(tmp_path: Path, dataset: Any) -> None:
    file = written(tmp_path, GOOD)
    assert check_space(find_space(file), CONFIG, dataset) == {"margins": "wide", "loss.alpha": 0.5}
    assert check_space(find_space(f"{file}:other"), CONFIG, dataset) == {"phases.final.learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("focal_triple", "search.space: invalid space 'focal_triple', expected one of focal_triplet, branch_layout, "),
        ("/nowhere/mine.py", "search.space: there is no file /nowhere/mine.py"),
        ("/nowhere/mine.py:space", "search.space: there is no file /nowhere/mine.py"),
    ],
)
def test_a_space_that_is_not_there(name: str, message: str, dataset: Any) -> None:
    assert refused(name, dataset).startswith(message)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def space(", "mine.py cannot be run: SyntaxError"),
        ("import nothing_of_the_kind", "mine.py cannot be run: ModuleNotFoundError: No module named"),
        ("x = 1", "mine.py has no function space(trial, config)"),
        (drawing("return 7"), "must return settings by dotted path, not 7"),
        (drawing("raise KeyError('z')"), "cannot draw a trial: KeyError: 'z' (line 2: raise KeyError('z'))"),
        ("x = 1\ny = z", "mine.py cannot be run: NameError: name 'z' is not defined (line 2: y = z)"),
        (drawing("return {'loss.alpa': trial.suggest_float('loss.alpha', 0.1, 1)}"), "(did you mean 'alpha'?)"),
        (drawing("return {'losses.alpha': trial.suggest_float('loss.alpha', 0.1, 1)}"), "losses: "),
        (drawing("return {'loss.alpha': trial.suggest_float('loss.alpha', 1.0, 0.1)}"), "low=1.0, high=0.1"),
        (drawing("return {'loss.alpha': -trial.suggest_float('loss.alpha', 0.1, 1)}"), "loss.alpha: must be greater"),
        (
            drawing("return {'loss.alpha': trial.suggest_float('loss.alpha', 0.6, 1)}"),
            "the configuration's own value loss.alpha = 0.5, which lies outside of the space",
        ),
        (
            drawing("return {'loss.alpha': trial.suggest_float('margin', 0.1, 1)}"),
            "parameter 'margin' has no value for the first trial: name it by the dotted path",
        ),
        (
            drawing("return {'model.trunk': trial.suggest_categorical('model.trunk', ('resnet18', 'resnet34'))}"),
            "model.trunk cannot be searched, since all trials share the phases before final",
        ),
        (
            drawing("return {'phases.baseline.epochs': trial.suggest_int('phases.baseline.epochs', 1, 4)}"),
            "phases.baseline.epochs cannot be searched",
        ),
        (
            drawing(
                "trial.suggest_float('loss.alpha', 0, 1); "
                "return {'model.layout': {'parts': [{'name': 'a', 'joints': ['nise']}]}}"
            ),
            "invalid joint 'nise', expected one of nose, neck",
        ),
        (
            drawing("return {'model.layout': {'parts': [{'name': 'a', 'joints': ['nose'], 'attributes': ['hut']}]}}"),
            "invalid attribute 'hut', the dataset has gender, hair",
        ),
        (
            drawing("return {'model.layout': {'parts': [{'name': 'a', 'joints': ['nose'], 'triplet': False}]}}"),
            "part 'a' has neither a triplet loss nor an attribute",
        ),
        (drawing("return {'phases.final.batch_size': 4096}"), "identities do not fill a batch of 1024 identities"),
    ],
)
def test_a_space_that_is_wrong(tmp_path: Path, source: str, message: str, dataset: Any) -> None:
    said = refused(written(tmp_path, source), dataset)
    assert message in said
    assert said.startswith("search.space: ")
    assert "mine.py" in said or "margin" in said


def test_an_error_behind_a_condition_is_found(tmp_path: Path, dataset: Any) -> None:
    source = drawing(
        "alpha = trial.suggest_float('loss.alpha', 0, 1); return {'loss.alpha' if alpha < 0.9 else 'x': 1}"
    )
    assert "x: unknown key, expected one of" in refused(written(tmp_path, source), dataset)
