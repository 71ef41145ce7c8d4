"""Attribute accuracy by the protocol of Lin et al., "Improving Person Re-identification by Attribute and Identity
Learning", 2019.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MISSING = -1
MISSING_RULES = ("wrong", "ignore")


def attribute_accuracy(
    predictions_NA: Any, labels_NA: Any, names: Sequence[str], *, missing: str = "wrong"
) -> dict[str, float]:
    """Fraction of N images, in 0..1, whose class is predicted, for each of A attributes in the order of `names`.

    Predictions and labels are class indices (N, A), torch tensors or NumPy arrays of integers; label -1 means missing.
    The official protocol counts an image without a label ("none of the colours") as wrong, so only `missing="wrong"`
    compares with published figures; "ignore" leaves such images out, as training does: NaN where none is labelled.

    Raises ValueError for shapes or names that do not fit together, for non-integers and for no images.
    """
    if missing not in MISSING_RULES:
        raise ValueError(f"invalid missing {missing!r}, expected one of {', '.join(MISSING_RULES)}")
    labels = _as_classes("labels", labels_NA)
    predictions = _as_classes("predictions", predictions_NA).to(labels.device)
    if predictions.shape != labels.shape:
        raise ValueError(
            f"predictions have shape {tuple(predictions.shape)} and labels {tuple(labels.shape)}; "
            "give both per image and attribute, in the same order"
        )
    if len(names) != labels.shape[1] or len(set(names)) != len(names):
        raise ValueError(f"names are {list(names)} for {labels.shape[1]} attributes; give each attribute its own name")

    known_NA = labels != MISSING
    correct_A = ((predictions == labels) & known_NA).sum(0).double()
    counted_A = known_NA.sum(0) if missing == "ignore" else len(labels)
    return dict(zip(names, (correct_A / counted_A).tolist(), strict=True))


def _as_classes(name: str, classes: Any) -> Tensor:
    tensor = torch.as_tensor(classes)
    if tensor.ndim != 2 or len(tensor) == 0 or tensor.is_floating_point():
        raise ValueError(f"{name} are {tensor.dtype} {tuple(tensor.shape)}; give integers (images, attributes)")
    return tensor.long()
