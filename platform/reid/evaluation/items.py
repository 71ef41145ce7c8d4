# ruff: noqa: N815 - fields carry their shape as a suffix
"""What is ranked: features with their identities and cameras.

Legend: I items, D dimensions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = Tensor | NDArray[np.floating]
Integers = Tensor | NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class Items:
    features_ID: Tensor
    pids_I: Tensor
    camids_I: Tensor


def as_features(name: str, features: Floats) -> Tensor:
    """Features (I, D), checked.

    Raises:
        ValueError: they are no floats, or of another shape.
    """
    features_ID = torch.as_tensor(features)
    if features_ID.ndim != 2 or features_ID.shape[1] == 0 or not features_ID.is_floating_point():
        raise ValueError(f"{name} are {features_ID.dtype} {tuple(features_ID.shape)}; give floats (items, dimensions)")
    return features_ID


def as_items(kind: str, features: Floats, pids: Integers, camids: Integers) -> Items:
    """Queries or gallery items, checked.

    Raises:
        ValueError: shapes or dtypes do not fit together.
    """
    features_ID = as_features(f"{kind}_features", features)
    labels = []
    for name, values in {f"{kind}_pids": pids, f"{kind}_camids": camids}.items():
        label_I = torch.as_tensor(values, device=features_ID.device)
        if label_I.shape != features_ID.shape[:1]:
            raise ValueError(
                f"{name} have shape {tuple(label_I.shape)} but {kind}_features hold {len(features_ID)} items; "
                "give one per item"
            )
        if label_I.is_floating_point() and len(label_I):
            raise ValueError(f"{name} are {label_I.dtype}; give integers")
        labels.append(label_I.long())
    return Items(features_ID=features_ID, pids_I=labels[0], camids_I=labels[1])


def check_alike(query_QD: Tensor, gallery_GD: Tensor) -> None:
    """
    Raises:
        ValueError: the two were not described by the same model, or lie on different devices.
    """
    if query_QD.shape[1] != gallery_GD.shape[1]:
        raise ValueError(
            f"query_features have {query_QD.shape[1]} dimensions and gallery_features {gallery_GD.shape[1]}; "
            "extract both with the same model"
        )
    if query_QD.device != gallery_GD.device:
        raise ValueError(
            f"query_features are on {query_QD.device} and gallery_features on {gallery_GD.device}; "
            "move both to one device"
        )


def finite_sum(name: str, features_ID: Tensor, block: int) -> Tensor:
    """Sum over the items, float64 (D,).

    Raises:
        ValueError: it is not finite.
    """
    total_D = torch.zeros(features_ID.shape[1], dtype=torch.float64, device=features_ID.device)
    for start in range(0, len(features_ID), block):
        total_D += features_ID[start : start + block].double().sum(0)
    if not bool(total_D.isfinite().all()):
        raise ValueError(f"{name} contain NaN or infinity; check that training did not diverge")
    return total_D
