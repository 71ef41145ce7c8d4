"""Models that were exported as programs: uint8 images B × 3 × H × W in, unit vectors out."""

from pathlib import Path

import torch
from torch import Tensor

from reid.export import ONNX, Card, Describe, ExportError, load_onnx
from reid.inference.model import Model
from reid.storage import Place


def load_export(folder: Place) -> Model:
    """The ONNX program of an export; `descriptor.pt2` is left alone, since torch unpickles parts of it.

    Raises:
        ExportError: the folder holds no finished export, or the program is damaged or not as its card says.
    """
    card = Card.read(folder)
    with (folder / ONNX).on_this_node() as file:
        if file is None:
            raise ExportError(f"{folder} has no {ONNX}: export again")
        return onnx_model(folder, file, (card.height, card.width))


def onnx_model(place: str, file: Path, image_size: tuple[int, int]) -> Model:
    """
    Args:
        place: where the program is from, for messages.

    Raises:
        ExportError: the file is no ONNX program, or it does not describe images of that size.
    """
    try:
        return program_model(place, load_onnx(file), image_size)
    except Exception as error:  # onnxruntime has one of its own for each complaint, with no base in common
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise ExportError(f"{place}: {ONNX} does not describe images ({reason}): export again") from error


def program_model(place: str, program: Describe, image_size: tuple[int, int]) -> Model:
    """A program as a model."""

    @torch.no_grad()
    def forward(images_BHWC: Tensor) -> Tensor:
        return program(images_BHWC.permute(0, 3, 1, 2).contiguous())

    return Model(place, forward, image_size)
