"""Scores of predicted person attributes, by the protocol that each dataset's figures are published in.

Legend: N images, A attributes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from reid.evaluation.items import Integers

MISSING = -1
MISSING_RULES = ("wrong", "ignore")
ABSENT, PRESENT = 0, 1


def attribute_accuracy(
    predictions_NA: Integers, labels_NA: Integers, names: Sequence[str], *, missing: str = "wrong"
) -> dict[str, float]:
    """Fraction of N images, in 0..1, whose class is predicted, for each of A attributes in the order of `names`.

    Predictions and labels are class indices (N, A), torch tensors or NumPy arrays of integers; label -1 means missing.
    The official protocol of Market-1501's attributes (Lin et al., "Improving Person Re-identification by Attribute and
    Identity Learning", 2019) counts an image without a label ("none of the colours") as wrong, so only
    `missing="wrong"` compares with its figures; "ignore" leaves such images out, as training does: NaN where none is
    labelled.

    Raises ValueError for shapes or names that do not fit together, for non-integers and for no images.
    """
    if missing not in MISSING_RULES:
        raise ValueError(f"invalid missing {missing!r}, expected one of {', '.join(MISSING_RULES)}")
    predictions_NA, labels_NA = _checked(predictions_NA, labels_NA, names)
    known_NA = labels_NA != MISSING
    correct_A = ((predictions_NA == labels_NA) & known_NA).sum(0).double()
    counted_A = known_NA.sum(0) if missing == "ignore" else len(labels_NA)
    return dict(zip(names, (correct_A / counted_A).tolist(), strict=True))


@dataclass(frozen=True, kw_only=True)
class AttributeScores:
    """How well attributes that are absent or present are recognised, in 0..1; NaN where nothing could be scored."""

    balanced_accuracy: dict[str, float]
    """Mean of true positive rate and true negative rate, by attribute."""
    mA: float  # noqa: N815 - its published name
    """Mean balanced accuracy of the attributes that have one."""
    accuracy: float
    """Intersection over union of the attributes predicted present and those present; mean over images, as the next."""
    precision: float
    """Share of the attributes predicted present that are."""
    recall: float
    """Share of the attributes present that are predicted."""
    F1: float
    """Harmonic mean of `precision` and `recall`."""


def pedestrian_attribute_scores(predictions_NA: Integers, labels_NA: Integers, names: Sequence[str]) -> AttributeScores:
    """The label-based and the instance-based metrics that PETA and RAP are published in.

    Source: Li et al., "A Richly Annotated Dataset for Pedestrian Attribute Recognition", 2016, and its evaluation code.
    Predictions and labels are 0 (absent) or 1 (present), (N, A), torch tensors or NumPy arrays of integers. A label -1
    is missing: it counts nowhere, whatever is predicted. Where a ratio has nothing below its line:

    - an attribute that is present in no image, or in all, has no balanced accuracy (NaN), and `mA` leaves it out;
    - an image without any present attribute is left out of the instance-based metrics, as in the published code;
    - an image of which nothing is predicted present has precision 0; without a hit in any image F1 is 0.

    Raises ValueError for shapes or names that do not fit together, for other values and for no images.
    """
    predictions_NA, labels_NA = _checked(predictions_NA, labels_NA, names)
    for what, values_NA, known in (("predictions", predictions_NA, (0, 1)), ("labels", labels_NA, (-1, 0, 1))):
        strange = values_NA[~torch.isin(values_NA, values_NA.new_tensor(known))]
        if len(strange):
            expected = ", ".join(map(str, known))
            raise ValueError(f"invalid {what} {strange[0].item()}, expected one of {expected}: give 1 for what is seen")
    present_NA, absent_NA = labels_NA == PRESENT, labels_NA == ABSENT
    predicted_NA = (predictions_NA == PRESENT) & (present_NA | absent_NA)
    hits_NA = present_NA & predicted_NA

    sensitivity_A = hits_NA.sum(0).double() / present_NA.sum(0)
    specificity_A = (absent_NA & ~predicted_NA).sum(0).double() / absent_NA.sum(0)
    balanced_A = (sensitivity_A + specificity_A) / 2

    scored_N = present_NA.any(1)
    hits_N = hits_NA.sum(1)[scored_N].double()
    precision = (hits_N / predicted_NA.sum(1)[scored_N].clamp(min=1)).mean().item()
    recall = (hits_N / present_NA.sum(1)[scored_N]).mean().item()
    return AttributeScores(
        balanced_accuracy=dict(zip(names, balanced_A.tolist(), strict=True)),
        mA=balanced_A.nanmean().item(),
        accuracy=(hits_N / (present_NA | predicted_NA).sum(1)[scored_N]).mean().item(),
        precision=precision,
        recall=recall,
        F1=2 * precision * recall / (precision + recall) if precision + recall else precision,
    )


def _peta_metrics(predictions_NA: Integers, labels_NA: Integers, names: Sequence[str]) -> dict[str, float]:
    scores = pedestrian_attribute_scores(predictions_NA, labels_NA, names)
    return {
        **attribute_accuracy(predictions_NA, labels_NA, names, missing="ignore"),
        "mA": scores.mA,
        "instance/accuracy": scores.accuracy,
        "instance/precision": scores.precision,
        "instance/recall": scores.recall,
        "instance/F1": scores.F1,
    }


ATTRIBUTE_PROTOCOLS: dict[str, Callable[[Integers, Integers, Sequence[str]], dict[str, float]]] = {
    "labelled": partial(attribute_accuracy, missing="ignore"),
    "market": partial(attribute_accuracy, missing="wrong"),
    "peta": _peta_metrics,
}
"""Metrics by name, from predictions, labels and attribute names, for each `Manifest.attribute_protocol`: the accuracy
of every attribute under its own name, and the summaries of `peta`, which no attribute can be named like."""


def attribute_metrics(
    predictions_NA: Integers, labels_NA: Integers, names: Sequence[str], *, protocol: str
) -> dict[str, float]:
    """Metrics of predicted attributes by name, without those that no label could decide.

    Args:
        predictions_NA: class indices, as for `attribute_accuracy`.
        labels_NA: class indices, -1 = missing.
        names: names of the A attributes.
        protocol: a key of `ATTRIBUTE_PROTOCOLS`.

    Raises:
        ValueError: the protocol is unknown, or predictions, labels and names do not fit together or not the protocol.
    """
    if protocol not in ATTRIBUTE_PROTOCOLS:
        raise ValueError(f"invalid attribute protocol '{protocol}', expected one of {', '.join(ATTRIBUTE_PROTOCOLS)}")
    metrics = ATTRIBUTE_PROTOCOLS[protocol](predictions_NA, labels_NA, names)
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def _checked(predictions_NA: Integers, labels_NA: Integers, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Predictions and labels as int64 tensors on one device."""
    labels = _as_classes("labels", labels_NA)
    predictions = _as_classes("predictions", predictions_NA).to(labels.device)
    if predictions.shape != labels.shape:
        raise ValueError(
            f"predictions have shape {tuple(predictions.shape)} and labels {tuple(labels.shape)}; "
            "give both per image and attribute, in the same order"
        )
    if len(names) != labels.shape[1] or len(set(names)) != len(names):
        raise ValueError(f"names are {list(names)} for {labels.shape[1]} attributes; give each attribute its own name")
    return predictions, labels


def _as_classes(name: str, classes: Integers) -> Tensor:
    tensor = torch.as_tensor(classes)
    if tensor.ndim != 2 or len(tensor) == 0 or tensor.is_floating_point():
        raise ValueError(f"{name} are {tensor.dtype} {tuple(tensor.shape)}; give integers (images, attributes)")
    return tensor.long()
