"""Attribute accuracy on hand-counted labels, and on the one published prediction whose scores are known."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from reid.evaluation import attribute_accuracy

LABELS = np.array([[0, 2], [1, -1], [1, 0], [0, -1]])
PREDICTIONS = np.array([[0, 2], [0, -1], [1, 1], [0, 0]])


def test_missing_labels_count_as_wrong_under_the_official_protocol() -> None:
    assert attribute_accuracy(PREDICTIONS, LABELS, ["hat", "colour"]) == {"hat": 0.75, "colour": 0.25}


def test_missing_labels_can_be_left_out() -> None:
    assert attribute_accuracy(PREDICTIONS, LABELS, ["hat", "colour"], missing="ignore") == {"hat": 0.75, "colour": 0.5}


def test_nothing_labelled_is_not_a_number() -> None:
    accuracy = attribute_accuracy(torch.zeros(3, 1).long(), torch.full((3, 1), -1), ["hat"], missing="ignore")
    assert np.isnan(accuracy["hat"])


@pytest.mark.parametrize("missing", ["wrong", "ignore"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_naive_loop(seed: int, missing: str) -> None:
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(-1, 3, (40, 5)), rng.integers(0, 3, (40, 5))
    names = list("abcde")
    for index, accuracy in enumerate(attribute_accuracy(predictions, labels, names, missing=missing).values()):
        outcomes = []
        for prediction, label in zip(predictions[:, index], labels[:, index], strict=True):
            if label != -1:
                outcomes.append(prediction == label)
            elif missing == "wrong":
                outcomes.append(False)
        assert accuracy == pytest.approx(np.mean(outcomes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PREDICTIONS[:3], LABELS, ["a", "b"]), r"\(3, 2\) and labels \(4, 2\)"),
        ((PREDICTIONS, LABELS, ["a"]), "names are .* for 2 attributes"),
        ((PREDICTIONS, LABELS, ["a", "a"]), "each attribute its own name"),
        ((PREDICTIONS / 2, LABELS, ["a", "b"]), "predictions are torch.float64 .*give integers"),
        ((PREDICTIONS[:0], LABELS[:0], ["a", "b"]), r"labels are torch.int64 \(0, 2\)"),
    ],
)
def test_inputs_that_do_not_fit_are_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attribute_accuracy(*arguments)


def test_unknown_rule_for_missing_labels_is_named() -> None:
    with pytest.raises(ValueError, match="invalid missing 'skip', expected one of wrong, ignore"):
        attribute_accuracy(PREDICTIONS, LABELS, ["a", "b"], missing="skip")


PUBLISHED = {
    "gender": 86.45,
    "hair": 83.65,
    "age": 87.08,
    "up": 93.66,
    "down": 93.32,
    "clothes": 91.46,
    "hat": 97.13,
    "backpack": 82.79,
    "bag": 75.07,
    "handbag": 89.98,
    "upcolour": 73.40,
    "downcolour": 69.91,
}
COLOURS = {
    "upcolour": [f"up{colour}" for colour in ["black", "white", "red", "purple", "gray", "blue", "green", "yellow"]],
    "downcolour": [
        f"down{colour}" for colour in ["black", "white", "pink", "gray", "blue", "green", "brown", "yellow", "purple"]
    ],
}


@pytest.mark.protocol
def test_reproduces_the_published_accuracies_on_market() -> None:
    folder = Path(os.environ["REID_PROTOCOL_DATA"])
    attributes = loadmat(folder / "market_attribute.mat", simplify_cells=True)["market_attribute"]["test"]
    predictions_NA = loadmat(folder / "gallery_market.mat")["gallery"].astype(np.int64)
    pids = loadmat(folder / "market_testID.mat")["testID"].ravel().astype(np.int64)
    pids_N = np.sort(pids[pids > 0])

    classes = []  # of each identity, 1-based as the predictions are
    for name in PUBLISHED:
        if name in COLOURS:
            marked = np.stack([attributes[field] for field in COLOURS[name]], axis=1) == 2
            classes.append(np.where(marked.any(1), marked.argmax(1) + 1, -1))
        else:
            classes.append(attributes[name])
    identities = attributes["image_index"].astype(np.int64)
    rows_N = np.searchsorted(identities, pids_N)
    assert np.array_equal(identities[rows_N], pids_N)

    accuracy = attribute_accuracy(predictions_NA, np.stack(classes, axis=1)[rows_N], list(PUBLISHED))
    assert {name: round(100 * value, 2) for name, value in accuracy.items()} == PUBLISHED
    assert round(100 * float(np.mean(list(accuracy.values()))), 4) == 85.3253
