"""A phase's checkpoint: a folder of safetensors and JSON. Nothing in it is ever unpickled.

`model.safetensors` holds the weights, `optimizer.safetensors` Adam's moments by parameter name and, where the phase
leaves an average, the weights that are trained, `pictures/` what the epoch's evaluation drew, if anything, and
`phase.json` all the rest (`PhaseState`) with a digest of each file of tensors. Every random draw of an epoch is a pure
function of (seed, phase, epoch, rank) and the learning rate one of the step, so the number of finished epochs stands
for the state of all generators and of the schedule.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import safetensors.torch
import torch
from pydantic import ValidationError
from pydantic_core import from_json
from torch import Tensor, nn

from reid.config import ConfigError, complaints
from reid.storage import Place
from reid.training.average import WeightAverage
from reid.training.state import CheckpointError, DamagedCheckpointError, PhaseState

STATE = "phase.json"
MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
TRAINED = "trained"
"""Of the tensors of an average's checkpoint, those of the model that is trained."""
PICTURES = "pictures"
"""Folder of a checkpoint's PNG files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Save:
    """What a checkpoint holds: called with an empty folder, it writes it there."""

    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    """And whatever else the optimiser's file holds."""
    state: PhaseState
    pictures: Mapping[str, bytes]
    """PNG files by name."""

    @classmethod
    def of(
        cls,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: PhaseState,
        pictures: Mapping[str, bytes],
        trained: nn.Module | None = None,
    ) -> Self:
        """What is now: the tensors are those of the training, see `copied`.

        Args:
            model: what the phase leaves.
            trained: what the optimiser trains, where `model` is its average; none = `model` itself.
        """
        moments = _optimizer_tensors(model, optimizer, trained)
        return cls(weights=model.state_dict(), moments=moments, state=state, pictures=pictures)

    def copied(self) -> Self:
        """The same in memory of its own, which the training leaves alone."""
        return dataclasses.replace(self, weights=_copied(self.weights), moments=_copied(self.moments))

    def __call__(self, folder: Path) -> None:
        digests = {
            MODEL: _write_tensors(folder / MODEL, self.weights),
            OPTIMIZER: _write_tensors(folder / OPTIMIZER, self.moments),
        }
        (folder / STATE).write_text(json.dumps(self.state.to_json() | {"digests": digests}, indent=1))
        save_pictures(Place(folder), self.pictures)

    @property
    def size(self) -> int:
        """Bytes of the checkpoint, more or less."""
        texts = [json.dumps(self.state.to_json()), *self.pictures.values()]
        tensors = (*self.weights.values(), *self.moments.values())
        return sum(int(tensor.nbytes) for tensor in tensors) + sum(map(len, texts))


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def save_pictures(folder: Place, pictures: Mapping[str, bytes]) -> None:
    """Write PNG files into `pictures/` of a folder; nothing where there are none."""
    for name, png in pictures.items():
        assert Path(name).name == name, f"{name} is no plain file name"
        (folder / PICTURES / name).write(png)


def pictures_in(location: str) -> Place | None:
    """The folder of the PNG files in a checkpoint; None where it has none."""
    pictures = Place(location) / PICTURES
    return pictures if pictures.exists() else None


def load_weights(location: str) -> dict[str, Tensor]:
    """The model's weights in a checkpoint, on the CPU.

    Args:
        location: a checkpoint's folder: a local path or a pyarrow.fs URI.
    """
    return _tensors(location, MODEL)


def require_sound(location: str) -> None:
    """Read all of a checkpoint.

    Raises:
        CheckpointError: it is missing or damaged, or this version cannot read it.
    """
    load_state(location)
    for name in (MODEL, OPTIMIZER):
        _tensors(location, name)


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
        raise DamagedCheckpointError(f"{Place(location) / STATE} is damaged ({reason})", location) from error


def restore(
    location: str, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None = None
) -> PhaseState:
    """Put model, optimiser and, where one is taken, the average of the weights back to where a checkpoint left them.

    Raises:
        CheckpointError: a tensor is missing, left over or of another shape; model and optimiser are then as before.
    """
    state, weights = load_state(location), load_weights(location)
    _require_same(location, weights, model.state_dict())
    tensors = _tensors(location, OPTIMIZER)
    trained = {key: tensors.pop(key) for key in list(tensors) if key.startswith(f"{TRAINED}/")}
    parameters = dict(model.named_parameters())
    _require_moments(location, tensors, parameters)
    if average is not None:
        _require_same(f"{Place(location) / OPTIMIZER}", _without_prefix(trained), model.state_dict())
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
                f"{Place(location) / OPTIMIZER} is of another architecture: {key} {tuple(value.shape)} is no moment "
                "of a weight of this model; use the configuration that wrote it"
            )


def _optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, trained: nn.Module | None
) -> dict[str, Tensor]:
    moments = {
        f"{key}/{name}": value
        for name, parameter in (trained or model).named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    weights = {} if trained is None else trained.state_dict()
    return moments | {f"{TRAINED}/{name}": tensor for name, tensor in weights.items()}


def _write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a file of tensors; returns its digest."""
    content = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    file.write_bytes(content)  # unlike `save_file`, this says why it fails
    return hashlib.sha256(content).hexdigest()


def load_into(location: str, model: nn.Module) -> None:
    """Give a model the weights of a checkpoint.

    Raises:
        CheckpointError: the checkpoint is damaged, or a tensor is missing, left over or of another shape.
    """
    weights = load_weights(location)
    _require_same(location, weights, model.state_dict())
    model.load_state_dict(weights)


def _require_same(location: str, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
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
    content, digest = _read(location, name), _digests(location).get(name)
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise DamagedCheckpointError(f"{Place(location) / name} is damaged (its checksum is another)", location)
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise DamagedCheckpointError(f"{Place(location) / name} is damaged ({error})", location) from error


def _digests(location: str) -> Mapping[str, object]:
    """Digests of the files of tensors, as far as the checkpoint states them."""
    try:
        digests = dict(from_json(_read(location, STATE))).get("digests", {})
    except (TypeError, ValueError) as error:
        raise DamagedCheckpointError(f"{Place(location) / STATE} is damaged ({error!r})", location) from error
    return digests if isinstance(digests, dict) else {}


def _read(location: str, name: str) -> bytes:
    try:
        return (Place(location) / name).read()
    except FileNotFoundError:
        if name == STATE:
            raise CheckpointError(f"{location} is no checkpoint: it has no {name}") from None
        raise DamagedCheckpointError(f"{Place(location) / name} is missing", location) from None
    except OSError as error:
        raise DamagedCheckpointError(f"{Place(location) / name} cannot be read ({error})", location) from error
