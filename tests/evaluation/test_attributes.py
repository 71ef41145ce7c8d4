"""Attribute scores on hand-counted labels, and on the one published prediction whose scores are known."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat

from reid.evaluation import (
    ATTRIBUTE_PROTOCOLS,
    attribute_accuracy,
    attribute_metrics,
    pedestrian_attribute_scores,
)

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


WORN = ["hat", "bag", "boots"]


def test_pedestrian_attributes_by_hand() -> None:
    """The third image has nothing on, the last one's hat is not labelled."""
    labels = np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0], [-1, 1, 1]])
    predictions = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 0]])
    scores = pedestrian_attribute_scores(predictions, labels, WORN)
    balanced = {"hat": (1 / 2 + 0 / 1) / 2, "bag": (1 / 2 + 2 / 2) / 2, "boots": (1 / 2 + 2 / 2) / 2}
    assert scores.balanced_accuracy == pytest.approx(balanced)
    assert scores.mA == pytest.approx((0.25 + 0.75 + 0.75) / 3)
    assert scores.accuracy == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)
    precision, recall = (1 / 1 + 1 / 1 + 1 / 1) / 3, (1 / 2 + 1 / 2 + 1 / 2) / 3
    assert (scores.precision, scores.recall, scores.F1) == pytest.approx((precision, recall, 2 / (1 + 2)))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def pedestrian_scores_by_loops(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    rates = []
    for predicted, labelled in zip(predictions.T, labels.T, strict=True):
        of_positives = [float(p == 1) for p, y in zip(predicted, labelled, strict=True) if y == 1]
        of_negatives = [float(p == 0) for p, y in zip(predicted, labelled, strict=True) if y == 0]
        if of_positives and of_negatives:
            rates.append((mean(of_positives) + mean(of_negatives)) / 2)
    overlaps, precisions, recalls = [], [], []
    for predicted, labelled in zip(predictions, labels, strict=True):
        present = {column for column, y in enumerate(labelled) if y == 1}
        found = {column for column, p in enumerate(predicted) if p == 1 and labelled[column] != -1}
        if present:
            overlaps.append(len(present & found) / len(present | found))
            precisions.append(len(present & found) / len(found) if found else 0.0)
            recalls.append(len(present & found) / len(present))
    precision, recall = mean(precisions), mean(recalls)
    return {
        "mA": mean(rates),
        "accuracy": mean(overlaps),
        "precision": precision,
        "recall": recall,
        "F1": 2 * precision * recall / (precision + recall) if precision + recall else precision,
    }


@given(
    images=st.integers(1, 6), attributes=st.integers(1, 4), seed=st.integers(0, 2**31), least=st.sampled_from([-1, 0])
)
def test_pedestrian_attributes_equal_the_loops(images: int, attributes: int, seed: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(least, 2, (images, attributes)), rng.integers(0, 2, (images, attributes))
    scores = dataclasses.asdict(pedestrian_attribute_scores(predictions, labels, list("abcd")[:attributes]))
    scores.pop("balanced_accuracy")
    assert scores == pytest.approx(pedestrian_scores_by_loops(predictions, labels), nan_ok=True)


def test_an_attribute_that_nobody_or_everybody_has_is_not_balanced() -> None:
    labels = np.array([[1, 0, 1], [1, 0, 0]])
    scores = pedestrian_attribute_scores(np.ones((2, 3), int), labels, WORN)
    assert scores.balanced_accuracy == pytest.approx({"hat": math.nan, "bag": math.nan, "boots": 0.5}, nan_ok=True)
    assert scores.mA == 0.5
    assert math.isnan(pedestrian_attribute_scores(labels[:, :2], labels[:, :2], WORN[:2]).mA)


def test_images_without_a_present_attribute_say_nothing_about_instances() -> None:
    labels = np.array([[0, -1, 0], [1, 1, 0]])
    alone = pedestrian_attribute_scores(labels[1:], labels[1:], WORN)
    assert (alone.accuracy, alone.precision, alone.recall, alone.F1) == (1, 1, 1, 1)
    with_one = pedestrian_attribute_scores(np.array([[1, 1, 1], [1, 1, 0]]), labels, WORN)
    assert (with_one.accuracy, with_one.precision, with_one.recall, with_one.F1) == (1, 1, 1, 1)
    none = pedestrian_attribute_scores(np.ones((1, 3), int), labels[:1], WORN)
    assert all(math.isnan(value) for value in (none.accuracy, none.precision, none.recall, none.F1))


def test_nothing_predicted_is_worth_nothing() -> None:
    scores = pedestrian_attribute_scores(np.zeros((2, 3), int), np.array([[1, 0, 1], [1, 1, 0]]), WORN)
    assert (scores.accuracy, scores.precision, scores.recall, scores.F1) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ([[2, 0]], [[1, 0]], "invalid predictions 2, expected one of 0, 1: give"),
        ([[-1, 0]], [[1, 0]], "invalid predictions -1, expected one of 0, 1: give"),
        ([[1, 0]], [[1, 3]], "invalid labels 3, expected one of -1, 0, 1: give"),
        ([[1, 0]], [[1]], r"predictions have shape \(1, 2\)"),
        ([[0.5, 0.1]], [[1, 0]], "predictions are torch.float32"),
    ],
)
def test_what_is_no_pedestrian_attribute_is_refused(predictions: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pedestrian_attribute_scores(torch.tensor(predictions), torch.tensor(labels), ["a", "b"])


def test_what_each_protocol_reports() -> None:
    labels = np.array([[0, 1], [1, -1], [1, 0], [0, -1]])
    predictions = np.array([[0, 1], [0, 1], [1, 1], [0, 0]])
    reported = {
        name: attribute_metrics(predictions, labels, ["hat", "bag"], protocol=name) for name in ATTRIBUTE_PROTOCOLS
    }
    assert reported["market"] == {"hat": 0.75, "bag": 0.25}
    assert reported["labelled"] == {"hat": 0.75, "bag": 0.5}
    scores = pedestrian_attribute_scores(predictions, labels, ["hat", "bag"])
    assert reported["peta"] == reported["labelled"] | {
        "mA": scores.mA,
        "instance/accuracy": scores.accuracy,
        "instance/precision": scores.precision,
        "instance/recall": scores.recall,
        "instance/F1": scores.F1,
    }


def test_what_no_label_decides_is_not_reported() -> None:
    labels = np.array([[-1, 0], [-1, 0]])
    reported = {
        name: list(attribute_metrics(np.zeros((2, 2), int), labels, ["hat", "bag"], protocol=name))
        for name in ATTRIBUTE_PROTOCOLS
    }
    assert reported == {"labelled": ["bag"], "market": ["hat", "bag"], "peta": ["bag"]}


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(ValueError, match="invalid attribute protocol 'rap', expected one of labelled, market, peta"):
        attribute_metrics(PREDICTIONS, LABELS, ["a", "b"], protocol="rap")


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
