"""Weights from one training phase to the next, by name."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

_CLASSIFIERS = (".identity.", ".attributes.")
_PROJECTION = "project.weight"
"""Of a branch, from a fused vector to an embedding."""


@dataclass(frozen=True, kw_only=True)
class CarryOver:
    """Names of state entries, sorted."""

    carried: tuple[str, ...]
    """Taken over from an earlier phase."""
    new: tuple[str, ...]
    """In the model alone: as initialised."""
    dropped: tuple[str, ...]
    """In an earlier phase alone: of no more use."""


def carry_over(model: nn.Module, state_dicts: Iterable[Mapping[str, Tensor]]) -> CarryOver:
    """Loads the weights that earlier phases left, wherever name and shape agree.

    A branch whose embedding has another length, as layouts that a sweep tries have it, is new as a whole.

    Args:
        model: receives them.
        state_dicts: one state dict per earlier phase, in the order in which they ran; of one name, the last counts.

    Returns:
        What was carried over, is new, was dropped. A classifier whose number of classes differs, as between datasets,
        is new, and its former weights are dropped.

    Raises:
        ValueError: any other tensor has another shape: the checkpoint belongs to another architecture.
    """
    own = model.state_dict()
    left: dict[str, Tensor] = {}
    for state_dict in state_dicts:
        left |= state_dict
    renewed = tuple(_branches_of_other_length(own, left))
    carried = {}
    for name in own.keys() & left.keys():
        if name.startswith(renewed):
            continue
        if own[name].shape == left[name].shape:
            carried[name] = left[name]
        elif not _only_classes_differ(name, own[name], left[name]):
            raise ValueError(
                f"'{name}' has shape {tuple(own[name].shape)} in the model and {tuple(left[name].shape)} in the "
                "checkpoint of an earlier phase, which belongs to another architecture: start from a checkpoint of the "
                "same `model` configuration, or train the earlier phases anew"
            )
    model.load_state_dict(carried, strict=False)
    return CarryOver(
        carried=tuple(sorted(carried)),
        new=tuple(sorted(own.keys() - carried.keys())),
        dropped=tuple(sorted(left.keys() - carried.keys())),
    )


def _branches_of_other_length(own: Mapping[str, Tensor], left: Mapping[str, Tensor]) -> Iterator[str]:
    """Beginnings of the names of branches."""
    for name in own.keys() & left.keys():
        if name.endswith(_PROJECTION):
            (dim, features), (left_dim, left_features) = own[name].shape, left[name].shape
            if features == left_features and dim != left_dim:
                yield name.removesuffix(_PROJECTION)


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters of every top-level module."""
    return {name: sum(p.numel() for p in module.parameters()) for name, module in model.named_children()}


def _only_classes_differ(name: str, own: Tensor, left: Tensor) -> bool:
    return any(kind in name for kind in _CLASSIFIERS) and own.shape[1:] == left.shape[1:]
