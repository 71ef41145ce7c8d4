"""Pre-trained weights: torchvision's, or a local file that is never unpickled."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of RGB in 0..1; with the deviation, how the input of every pre-trained trunk was normalised."""
IMAGENET_STD = (0.229, 0.224, 0.225)


def read_weights(source: str, model: str) -> dict[str, Tensor]:
    """Reads a state dict.

    Args:
        source: `imagenet` for torchvision's default weights, or a local `.safetensors`, `.pth` or `.pt` file.
        model: name of the torchvision model that `imagenet` refers to.

    Raises:
        ValueError: the weights cannot be fetched, or the file is missing or holds anything but tensors by name.
    """
    if source == "imagenet":
        return _download(model)
    path = Path(source).expanduser()
    if not path.is_file():
        raise ValueError(f"weights file {path} does not exist: give another file, `imagenet`, or none")
    read = _READERS.get(path.suffix)
    if read is None:
        raise ValueError(f"invalid weights file '{path.name}', expected one of {', '.join(f'*{s}' for s in _READERS)}")
    try:
        weights = read(path)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
        raise ValueError(f"weights file {path} cannot be read as plain tensors: {error}") from error
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"weights file {path} is no flat mapping of names to tensors: save a model's state_dict()")
    return dict(weights)


def load_pretrained(module: nn.Module, weights: Weights, source: str, ignore: tuple[str, ...]) -> None:
    """Copies weights into a module by name.

    Args:
        module: receives them.
        weights: names as in `module`, and names to ignore.
        source: where they are from, for messages.
        ignore: beginnings of names that the module has no use for, such as a classifier's.

    Raises:
        ValueError: the weights belong to another architecture.
    """
    own = module.state_dict()
    given = {name: tensor for name, tensor in weights.items() if not name.startswith(ignore)}
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    surplus = [name for name in given if name not in own]
    if missing or surplus:
        odd = f"lack '{missing[0]}'" if missing else f"also hold '{surplus[0]}'"
        raise ValueError(_other_architecture(source, odd))
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            shapes = f"have '{name}' of shape {tuple(tensor.shape)} where {tuple(own[name].shape)} is needed"
            raise ValueError(_other_architecture(source, shapes))
    module.load_state_dict(given, strict=False)


def _other_architecture(source: str, what: str) -> str:
    return (
        f"weights '{source}' {what}, so they belong to another architecture: "
        "name a file that fits, choose the matching model, or set the weights to none"
    )


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
