"""Pre-trained weights: torchvision's, or a local file that is never unpickled."""

import logging
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Weights = Mapping[str, Tensor]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of RGB in 0..1; with the deviation, how the input of every pre-trained trunk was normalised."""
IMAGENET_STD = (0.229, 0.224, 0.225)


IMAGENET = "imagenet"
"""Stands for torchvision's default weights."""
_COUNTER = "num_batches_tracked"
"""What batch norms count, and no weights need."""
_SORTED = ".safetensors"
"""Files that do not keep their tensors' order."""


def require_weights(source: str | None, setting: str) -> None:
    """
    Raises:
        ValueError: a local file that a setting names is missing, or of a kind that is not read.
    """
    if source not in (None, IMAGENET):
        try:
            _file(source)
        except ValueError as error:
            raise ValueError(f"{setting}: {error}") from error


def read_weights(source: str, model: str) -> dict[str, Tensor]:
    """Reads a state dict.

    Args:
        source: `imagenet` for torchvision's default weights, or a local `.safetensors`, `.pth` or `.pt` file.
        model: name of the torchvision model that `imagenet` refers to.

    Raises:
        ValueError: the weights cannot be fetched, or the file is missing or holds anything but tensors by name.
    """
    if source == IMAGENET:
        return _download(model)
    path = _file(source)
    try:
        weights = _READERS[path.suffix](path)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
        raise ValueError(f"weights file {path} cannot be read as plain tensors: {error}") from error
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"weights file {path} is no flat mapping of names to tensors: save a model's state_dict()")
    return dict(weights)


def load_pretrained(module: nn.Module, weights: Weights, source: str, ignore: tuple[str, ...]) -> None:
    """Copies weights into a module by name or, where names differ, by order.

    Args:
        module: receives them.
        weights: names as in `module`, and names to ignore; or the module's tensors under other names, all in its order
            and each of its shape, perhaps followed by others that it has no use for: from a file that keeps the order.
        source: where they are from, for messages.
        ignore: beginnings of names that the module has no use for, such as a classifier's.

    Raises:
        ValueError: the weights belong to another architecture.
    """
    own = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith(_COUNTER)}
    given = {name: tensor for name, tensor in weights.items() if not name.endswith(_COUNTER)}
    if not own.keys() <= given.keys() and not source.endswith(_SORTED) and _like_in_order(own, given):
        logger.info("weights '%s' name their tensors otherwise: taken by order and shape", source)
        given = dict(zip(own, given.values(), strict=False))
    given = {name: tensor for name, tensor in given.items() if not name.startswith(ignore)}
    missing = [name for name in own if name not in given]
    surplus = [name for name in given if name not in own]
    if missing or surplus:
        odd = f"lack '{missing[0]}'" if missing else f"also hold '{surplus[0]}'"
        raise ValueError(_other_architecture(source, odd))
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            shapes = f"have '{name}' of shape {tuple(tensor.shape)} where {tuple(own[name].shape)} is needed"
            raise ValueError(_other_architecture(source, shapes))
    module.load_state_dict(given, strict=False)


def _like_in_order(own: Weights, given: Weights) -> bool:
    """Whether each of the module's tensors has its like at the same place: of its shape and, if names say it, kind.

    Names that were sorted would else exchange what has one shape, such as all of a normalisation.
    """
    kinds = {_kind(name) for name in own}
    pairs = zip(own.items(), given.items(), strict=False)
    return len(given) >= len(own) and all(
        mine.shape == theirs.shape and (_kind(other) == _kind(name) or _kind(other) not in kinds)
        for (name, mine), (other, theirs) in pairs
    )


def _kind(name: str) -> str:
    """`weight`, `bias`, `running_mean` and so on."""
    return name.rpartition(".")[2]


def _other_architecture(source: str, what: str) -> str:
    return (
        f"weights '{source}' {what}, so they belong to another architecture: "
        "name a file that fits, choose the matching model, or set the weights to none"
    )


def _file(source: str) -> Path:
    path = Path(source).expanduser()
    if not path.is_file():
        raise ValueError(f"weights file {path} does not exist: give another file, `imagenet`, or none")
    if path.suffix not in _READERS:
        raise ValueError(f"invalid weights file '{path.name}', expected one of {', '.join(f'*{s}' for s in _READERS)}")
    return path


def _download(model: str) -> dict[str, Tensor]:
    import torchvision  # brings Pillow along, which losses and heads do without

    weights = torchvision.models.get_model_weights(model).DEFAULT
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except OSError as error:
        raise ValueError(
            f"the ImageNet weights of {model} cannot be fetched ({error}): download {weights.url} elsewhere and name "
            "the local file as weights, or set the weights to none to train from scratch"
        ) from error


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _read_torch(path: Path) -> Weights:
    weights: Weights = torch.load(path, map_location="cpu", weights_only=True)
    return weights


_READERS: dict[str, Callable[[Path], Weights]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
}
