"""Loads a model from a checkpoint, from an export or from MLflow's registry. Nothing in them is unpickled."""

import os

import torch
from torch import Tensor

from reid.config import DataError, RunConfig, ScalingConfig, validate_config
from reid.data import DescriptorTable, normalise
from reid.export import CARD, Descriptor
from reid.inference.model import Model
from reid.inference.programs import load_export
from reid.stages import Trained, load_describer
from reid.storage import Place
from reid.training import STATE, autocast, checkpoints_in, choose_device, load_state, resolve_precision

REGISTRY = "models:"


def load(place: str | os.PathLike[str], *, device: str | None = None) -> Model:
    """Load a trained model, to describe images with.

    Args:
        place: a checkpoint, the folder of an epoch such as `…/final/epoch_0060` or its pyarrow.fs URI; an export, a
            folder with `descriptor.onnx` and `descriptor.json` or its URI; or a model in MLflow's registry,
            `models:/reid-descriptor@pipeline` or `models:/reid-descriptor/3`, looked up in `$MLFLOW_TRACKING_URI`, else
            in the database of `$REID_STORAGE` (default `~/reid`).
        device: where a checkpoint's model computes, such as `cpu` or `cuda:1`; none = a GPU if there is one. Exports
            compute on the CPU.

    Raises:
        ValueError: the place is none of these, what lies there is damaged or does not describe images, or it holds a
            password. A checkpoint that needs an extension says so: `reid.config.load_extensions` loads it.
        ConnectionError: MLflow is out of reach.
    """
    address = os.fspath(place)
    folder = Place(address).absolute
    if address.startswith(f"{REGISTRY}/"):
        from reid.inference.registered import load_registered  # it imports MLflow, which takes seconds

        return load_registered(address)
    try:
        if (folder / STATE).exists():
            wanted = choose_device(ScalingConfig()) if device is None else torch.device(device)
            return load_checkpoint(folder, load_state(folder).config, wanted)
        if (folder / CARD).exists():
            return load_export(folder)
        inside = checkpoints_in(folder)
    except OSError as error:
        raise ValueError(f"{folder} cannot be read ({error}): check the address") from error
    raise ValueError(
        f"{folder} holds no model: give a checkpoint (a folder with {STATE}), an export (with {CARD}) or a name in "
        f"MLflow's registry ({REGISTRY}/NAME@ALIAS)" + (f"; did you mean {inside[-1]}?" if inside else "")
    )


def load_checkpoint(place: str, config: RunConfig, device: torch.device) -> Model:
    """The model in a checkpoint, as the jobs use it.

    Args:
        place: the checkpoint's folder or URI.
        config: holds the model's settings, which must be those it was trained with.

    Raises:
        CheckpointError: see `reid.stages.load_describer`.
    """
    return _as_model(place, load_describer(place, config, device), config, device)


def load_model_of(table: DescriptorTable, config: RunConfig | None = None) -> Model:
    """The model that a table of descriptors was written with, on the CPU.

    Args:
        config: see `load_checkpoint`; none = the table's settings.

    Raises:
        CheckpointError: see `reid.stages.load_describer`.
        DataError: the checkpoint holds another model by now.
    """
    origin, device = table.origin, torch.device("cpu")
    config = config or validate_config(origin.settings)
    trained = load_describer(origin.checkpoint, config, device)
    if descriptor_of(trained, config).digest() != origin.digest:
        raise DataError(
            f"{origin.checkpoint} holds another model than the one that {table.path} was written with: write it anew"
        )
    return _as_model(origin.checkpoint, trained, config, device)


def descriptor_of(trained: Trained, config: RunConfig) -> Descriptor:
    """A trained model as one function from pixels to descriptors."""
    settings = config.settings_of(trained.stage.family).model_dump(mode="json")
    size = (config.data.height, config.data.width)
    return Descriptor(trained.model, size, stage=trained.stage.name, settings=settings)


def _as_model(place: str, trained: Trained, config: RunConfig, device: torch.device) -> Model:
    image_size = (config.data.height, config.data.width)
    dtype = resolve_precision(config, device)
    memory = torch.channels_last if config.channels_last else torch.contiguous_format

    @torch.inference_mode()
    def forward(images_BHWC: Tensor) -> Tensor:
        images_BCHW = normalise(images_BHWC.to(device), image_size).contiguous(memory_format=memory)
        with autocast(device, dtype):
            output = trained.model(images_BCHW)
        descriptor_BD: Tensor = output.descriptor_BD.float().cpu()
        return descriptor_BD

    return Model(place, forward, image_size, batch_size=config.evaluation.batch_size)
