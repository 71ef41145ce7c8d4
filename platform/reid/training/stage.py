"""What a stage is: all that the loop, checkpoints, scoring, export and search have to know of a form of a model."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid.config import Attribute, RunConfig
from reid.data import DataKind, Dataset, ReIDBatches
from reid.evaluation import Evaluation
from reid.losses import Ranks

Terms = dict[str, Tensor]
"""Weighted loss terms by name; their sum is the loss. One without gradient is no part of it, and recorded alone."""
StageLoss = Callable[[Any, Any, RunConfig, Ranks], Terms]
"""What a stage minimises, from the model's output and the batch, each of the stage's own type."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a model has classifiers for, and what it knows of textures."""

    num_identities: int
    attributes: Mapping[str, Attribute]
    """By name."""
    texture_layout: str | None = None
    """Of the textures that it learns from; see `Dataset.texture_layout`."""

    @classmethod
    def of(cls, dataset: Dataset) -> "Labels":
        """Those of a dataset's training split."""
        return cls(
            num_identities=len(np.unique(dataset.splits["train"].pids_N)),
            attributes=dataset.attributes,
            texture_layout=dataset.texture_layout,
        )


class Build(Protocol):
    """Makes a stage's model.

    All initial weights are drawn from `config.seed`; the global random state stays as it was. `pretrained` = False
    leaves out pre-trained weights that the settings name, for weights from a checkpoint.

    Raises:
        ValueError: settings, labels and pre-trained weights do not fit together.
    """

    def __call__(self, config: RunConfig, labels: Labels, *, pretrained: bool) -> nn.Module: ...


class Evaluate(Protocol):
    """Scores a model in evaluation mode, sharded over the ranks; metrics are equal on every rank.

    `labels` are those that the model was trained on, `illustrated` asks rank 0 for pictures, and `beside` has the run's
    data of other kinds, by kind.
    """

    def __call__(
        self,
        model: nn.Module,
        dataset: Dataset,
        config: RunConfig,
        device: torch.device,
        dtype: torch.dtype,
        *,
        labels: Labels,
        illustrated: bool,
        beside: Mapping[str, Dataset],
    ) -> Evaluation: ...


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a phase does not change, so that it is computed once for each image."""

    key: str
    """Digest of all that it depends on beside the images."""
    compute: Callable[[ReIDBatches, NDArray[np.int64]], Tensor]
    """Of the images at some indices: pose maps (B, J, h, w), or textures (B, S, S, 3) of uint8."""
    kind: Literal["maps", "textures"] = "maps"
    """Pose maps, which a model is called with, or textures, which it learns from."""
    layout: str | None = None
    """Of textures, if it is known; see `Dataset.texture_layout`."""


def _all_alike(config: RunConfig) -> Mapping[str, float]:
    return {}


class Know(Protocol):
    """Says what a phase does not change; None where there is nothing.

    `model` has the weights that it starts from, `rates` are its multiples of the learning rate by module, and
    `consulted` are checkpoints of the stages that its stage consults, by stage.

    Raises:
        ValueError: it takes what neither dataset nor checkpoints have.
    """

    def __call__(
        self,
        model: nn.Module,
        config: RunConfig,
        rates: Mapping[str, float],
        dataset: Dataset,
        consulted: Mapping[str, str],
    ) -> Known | None: ...


def _nothing(
    model: nn.Module,
    config: RunConfig,
    rates: Mapping[str, float],
    dataset: Dataset,
    consulted: Mapping[str, str],
) -> None:
    return None


def _any_settings(config: RunConfig) -> None:
    pass


def _no_textures(config: RunConfig) -> bool:
    return False


def _nothing_untrained(config: RunConfig, trained: Collection[str]) -> None:
    return None


def _any_data(config: RunConfig, dataset: Dataset) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One form of one model, and how it is trained and judged.

    A model that describes images returns an object with `descriptor_BD`, unit vectors, and `attribute_logits`, logits
    by attribute, which may be empty; `reid.models.Output` is one.
    """

    name: str
    family: str
    """The model it is a form of; its settings are `model` for FGSAM, else `models.<family>`."""
    data: DataKind
    build: Build
    loss: StageLoss
    evaluate: Evaluate
    headline: tuple[str, str]
    """The metric that stands for all others, and its short name, such as (`eval/mAP`, `mAP`)."""
    textures: Callable[[RunConfig], bool] = _no_textures
    """Whether it learns from textures."""
    inherits: tuple[str, ...] = ()
    """Stages whose weights it starts from, where a phase of theirs was trained before."""
    consults: tuple[str, ...] = ()
    """Stages whose trained models it asks, where a phase of theirs was trained before, without taking their weights."""
    reads: tuple[str, ...] = ("",)
    """Beginnings of the settings that make a difference to its training, beside those of its phase and of the data."""
    pretrained: tuple[str, ...] = ()
    """Modules of the model that bring pre-trained weights, unless a former phase left theirs."""
    rates: Callable[[RunConfig], Mapping[str, float]] = _all_alike
    """Multiples of the learning rate by module, see `PhaseConfig.rates`, which goes before these."""
    known: Know = _nothing
    """What training leaves as it is: pose maps, which its forward then takes beside the images, or textures."""
    training_only: tuple[str, ...] = ()
    """Modules of the model that a trained one does without; its forward in evaluation mode leaves them alone."""
    describes: bool = True
    """Whether its model has a descriptor to retrieve by."""
    searched: tuple[str, ...] = ()
    """Beginnings of the settings that no stage before it depends on, so that a sweep may search them; none = it cannot
    be searched."""
    check_settings: Callable[[RunConfig], None] = _any_settings
    """Raises ValueError for settings that no data could make fit, so that nothing is rendered or prepared in vain."""
    untrained: Callable[[RunConfig, Collection[str]], str | None] = _nothing_untrained
    """What its model would take that nobody has trained, and what to set instead, given the stages trained before it;
    None where there is nothing. It is asked where phases are left out for want of data."""
    check_data: Callable[[RunConfig, Dataset], None] = _any_data
    """Raises ValueError for data that have not what the settings ask for, before anything is trained."""
    check: Callable[[RunConfig, Labels], None] | None = None
    """Raises what `build` raises for searched settings that do not fit, but in no time; none = `build` takes none."""
    descriptor_dim: Callable[[RunConfig], int] | None = None
    """Length of its descriptor where it follows from the settings: an objective of sweeps."""
    layout: Callable[[RunConfig], str] | None = None
    """Branches of its descriptor, for people to read."""


def without_training_modules(model: nn.Module, stage: Stage) -> nn.Module:
    """The model, which loses what only training needs."""
    for name in stage.training_only:
        setattr(model, name, None)
    return model
