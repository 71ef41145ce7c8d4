"""A phase's checkpoint: a folder of safetensors and JSON. Nothing in it is ever unpickled.

`model.safetensors` holds the weights, `optimizer.safetensors` Adam's moments by parameter name and, where the phase
leaves an average, the weights that are trained, `pictures/` what the epoch's evaluation drew, if anything, and
`phase.json` all the rest (`PhaseState`). Every random draw of an epoch is a pure function of (seed, phase, epoch, rank)
and the learning rate one of the step, so the number of finished epochs stands for the state of all generators and of
the schedule.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError
from pydantic_core import from_json
from torch import Tensor, nn

from reid.config import Attribute, ConfigError, Count, RunConfig, Section, complaints, validate_config
from reid.storage import Place
from reid.training.average import WeightAverage
from reid.training.stage import Labels

FORMAT = 2
STATE = "phase.json"
TRAINED = "trained"
"""Of the tensors of an average's checkpoint, those of the model that is trained."""
PICTURES = "pictures"
"""Folder of a checkpoint's PNG files."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another architecture."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one finished epoch measured; `time` is seconds since 1970."""

    epoch: int
    time: float
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseState:
    """All of a phase's state but the tensors."""

    phase: str
    config: RunConfig
    num_identities: int
    attributes: dict[str, Attribute]
    texture_layout: str | None = None
    """See `Labels`."""
    history: tuple[EpochRecord, ...]
    run: str | None = None
    """Key of the run that records it; None where none does."""

    @property
    def labels(self) -> Labels:
        return Labels(
            num_identities=self.num_identities, attributes=self.attributes, texture_layout=self.texture_layout
        )

    @property
    def stage(self) -> str:
        """Name of the stage that was trained."""
        return self.config.phases[self.phase].stage

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "phase": self.phase,
            "config": self.config.model_dump(mode="json"),
            "num_identities": self.num_identities,
            "attributes": {name: attribute.model_dump(mode="json") for name, attribute in self.attributes.items()},
            "texture_layout": self.texture_layout,
            "history": [dataclasses.asdict(record) for record in self.history],
            "run": self.run,
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "PhaseState":
        if tree["format"] != FORMAT:
            raise CheckpointError(
                f"checkpoint format {str(tree['format'])[:40]} is not {FORMAT}: use the release that wrote it"
            )
        fields = _PhaseFile.model_validate(tree)
        config = validate_config(fields.config)
        if fields.phase not in config.phases:
            raise ConfigError(f"there is no phase {fields.phase[:64]}")
        return cls(
            phase=fields.phase,
            config=config,
            num_identities=fields.num_identities,
            attributes=fields.attributes,
            texture_layout=fields.texture_layout,
            history=fields.history,
            run=fields.run,
        )


class _PhaseFile(Section):
    """What `phase.json` says."""

    format: int
    phase: str
    config: dict[str, Any]
    num_identities: Count
    attributes: dict[str, Attribute]
    texture_layout: str | None = None
    history: tuple[EpochRecord, ...]
    run: str | None = None


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: PhaseState,
    pictures: Mapping[str, bytes],
    trained: nn.Module | None = None,
) -> None:
    """Write a checkpoint into an existing empty folder.

    Args:
        model: what the phase leaves.
        pictures: PNG files by name.
        trained: what the optimiser trains, where `model` is its average; none = `model` itself.
    """
    safetensors.torch.save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    tensors = _optimizer_tensors(trained or model, optimizer)
    if trained is not None:
        tensors |= {f"{TRAINED}/{name}": tensor.contiguous() for name, tensor in trained.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "optimizer.safetensors")
    (folder / STATE).write_text(json.dumps(state.to_json(), indent=1))
    save_pictures(folder, pictures)


def save_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Write PNG files into `pictures/` of a folder; nothing where there are none."""
    for name, png in pictures.items():
        file = folder / PICTURES / name
        assert file.name == name, f"{name} is no plain file name"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png)


def pictures_in(location: str) -> Place | None:
    """The folder of the PNG files in a checkpoint; None where it has none."""
    pictures = Place(location) / PICTURES
    return pictures if pictures.exists() else None


def load_weights(location: str) -> dict[str, Tensor]:
    """The model's weights in a checkpoint, on the CPU.

    Args:
        location: a checkpoint's folder: a local path or a pyarrow.fs URI.
    """
    return _tensors(location, "model.safetensors")


def load_state(location: str) -> PhaseState:
    """All of a checkpoint's state but the tensors.

    Raises:
        CheckpointError: it is missing or damaged, or names what only an extension has that was not loaded.
    """
    raw = _read(location, STATE)
    try:
        return PhaseState.from_json(from_json(raw))
    except CheckpointError as error:
        raise CheckpointError(f"{location}: {error}") from error
    except ConfigError as error:
        raise CheckpointError(
            f"{location} was written with other settings than this version has, or needs an extension: name it by "
            f"--set extensions=[FILE.py] ({error})"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        reason = complaints(error) if isinstance(error, ValidationError) else repr(error)
        raise CheckpointError(f"{location}/{STATE} is damaged ({reason}): use another checkpoint") from error


def restore(
    location: str, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None = None
) -> PhaseState:
    """Put model, optimiser and, where one is taken, the average of the weights back to where a checkpoint left them.

    Raises:
        CheckpointError: a tensor is missing, left over or of another shape; model and optimiser are then as before.
    """
    state, weights = load_state(location), load_weights(location)
    require_same(location, weights, model.state_dict())
    tensors = _tensors(location, "optimizer.safetensors")
    trained = {key: tensors.pop(key) for key in list(tensors) if key.startswith(f"{TRAINED}/")}
    parameters = dict(model.named_parameters())
    _require_moments(location, tensors, parameters)
    if average is not None:
        require_same(f"{location}/optimizer.safetensors", _without_prefix(trained), model.state_dict())
        average.model.load_state_dict(weights)
        average.resume()
        weights = _without_prefix(trained)
    model.load_state_dict(weights)
    for key, value in tensors.items():
        moment, _, name = key.partition("/")
        parameter = parameters[name]
        is_step = value.ndim == 0
        moved = value.to(parameter.device)
        optimizer.state[parameter][moment] = moved if is_step else torch.empty_like(parameter).copy_(moved)
    return state


def _without_prefix(trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{TRAINED}/"): tensor for key, tensor in trained.items()}


def _require_moments(location: str, tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    for key, value in tensors.items():
        name = key.partition("/")[2]
        if name not in parameters or (value.ndim and value.shape != parameters[name].shape):
            raise CheckpointError(
                f"{location}/optimizer.safetensors is of another architecture: {key} {tuple(value.shape)} is no moment "
                "of a weight of this model; use the configuration that wrote it"
            )


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{key}/{name}": value.contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def require_same(location: str, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """
    Raises:
        CheckpointError: a tensor is missing, left over or of another shape.
    """
    missing, extra = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
    differing = [name for name in expected.keys() & given.keys() if expected[name].shape != given[name].shape]
    if missing or extra or differing:
        detail = (
            f"lacks {missing[0]}"
            if missing
            else f"has {extra[0]} besides"
            if extra
            else f"has {differing[0]} {tuple(given[differing[0]].shape)}, not {tuple(expected[differing[0]].shape)}"
        )
        raise CheckpointError(
            f"{location} is of another architecture: it {detail}; use the configuration that wrote it"
        )


def _tensors(location: str, name: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(_read(location, name))
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{location}/{name} is damaged ({error}): use another checkpoint") from error


def _read(location: str, name: str) -> bytes:
    try:
        return (Place(location) / name).read()
    except FileNotFoundError:
        raise CheckpointError(f"{location} is no checkpoint: it has no {name}") from None
    except OSError as error:
        raise CheckpointError(f"{location}/{name} cannot be read ({error}): use another checkpoint") from error
