# ruff: noqa: N815 - mAP is the name of the field
"""A trained model as one program from pixels to descriptors, for use without this package.

Legend: B images, H × W input pixels, D length of the descriptor.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid.config import without_passwords
from reid.data import normalise
from reid.storage import Place

PT2 = "descriptor.pt2"
ONNX = "descriptor.onnx"
CARD = "descriptor.json"
INPUT, OUTPUT = "images", "descriptor"

TOLERANCE = 1e-6
"""Largest cosine distance between a program's descriptor and the model's; about 1e-12 was measured, and people differ
by 1e-2 and more in the same models."""
CHECKED_BATCHES = (1, 5)

Describe = Callable[[Tensor], Tensor]
"""uint8 images B × 3 × H × W → descriptor_BD."""


class ExportError(ValueError):
    """An exported program does not compute what the model computes."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a user of an exported folder has to know."""

    height: int
    """Height of the input in pixels."""
    width: int
    dim: int
    """Length of the descriptor."""
    phase: str
    dataset: str
    layout: str
    """Branches of the descriptor."""
    checkpoint: str
    """Where the weights are from, for people to read; a password in it is masked."""
    digest: str
    """`Descriptor.digest` of the model."""
    mAP: float | None
    """On the query and gallery of the dataset it was trained on, if it was scored."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoint", without_passwords(self.checkpoint))

    @classmethod
    def read(cls, folder: str | Path) -> "Card":
        """
        Args:
            folder: a local folder or a pyarrow.fs URI.

        Raises:
            ExportError: the folder holds no finished export.
        """
        try:
            return cls(**json.loads((Place(folder) / CARD).read()))
        except (OSError, ValueError, TypeError) as error:
            raise ExportError(f"{folder} holds no finished export ({error}): export again") from error

    def described(self) -> dict[str, str]:
        """What tells one exported model from another, as text."""
        named = {"dataset": self.dataset, "layout": self.layout, "phase": self.phase, "checkpoint": self.checkpoint}
        return named if self.mAP is None else named | {"mAP": f"{self.mAP:.4f}"}


class Descriptor(nn.Module):
    """Describes images as they come from a decoder.

    Args:
        model: a model whose output has a descriptor, on the CPU; its weights are frozen.
        image_size: (height, width) of its input, pixels.
        stage: name of its stage.
        settings: of the model, as plain values.
    """

    def __init__(
        self, model: nn.Module, image_size: tuple[int, int], *, stage: str, settings: Mapping[str, object]
    ) -> None:
        super().__init__()
        self.model = model
        self.image_size = image_size
        self._identity = (dict(settings), stage)
        self.eval().requires_grad_(False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """uint8 RGB images B × 3 × H × W, at the model's size → descriptor_BD: unit vectors in fp32."""
        descriptor_BD: Tensor = self.model(normalise(images_BCHW.permute(0, 2, 3, 1), self.image_size)).descriptor_BD
        return descriptor_BD

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(tensor.nbytes for tensor in self.model.state_dict().values())

    def digest(self) -> str:
        """Of weights, settings and image size: equal for models that describe images alike."""
        identity = [*self._identity, *self.image_size]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy())
        return digest.hexdigest()


def export_descriptor(descriptor: Descriptor, card: Card, folder: Path) -> dict[str, float]:
    """Write `descriptor.pt2` and `descriptor.onnx`, load each back and compare it with the model.

    Args:
        folder: an existing folder; `descriptor.json`, the card, is written last.

    Returns:
        Largest cosine distance from the model by file.

    Raises:
        ExportError: the model cannot be written as a program, or a program's descriptors are not the model's.
    """
    try:
        _write_programs(descriptor, folder)
    except RuntimeError as error:  # of torch.export and torch.onnx, whatever they have no program for
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise ExportError(f"the model cannot be exported ({reason}): use the checkpoint itself") from error
    onnx.checker.check_model(str(folder / ONNX), full_check=True)
    distances = {
        name: require_agreement(str(folder / name), load(folder / name), descriptor, descriptor.image_size)
        for name, load in {PT2: load_pt2, ONNX: load_onnx}.items()
    }
    (folder / CARD).write_text(json.dumps(asdict(card), indent=1))
    return distances


def _write_programs(descriptor: Descriptor, folder: Path) -> None:
    with torch.no_grad():
        program = torch.export.export(
            descriptor,
            (example_images(2, descriptor.image_size),),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        ).run_decompositions({})  # nothing is changed in place any more: MLflow has to trace it again
    content = io.BytesIO()
    torch.export.save(program, content)
    (folder / PT2).write_bytes(content.getbuffer())  # unlike torch, this says why it fails
    exported = torch.onnx.export(
        program, input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes=({0: "batch"},), dynamo=True, verbose=False
    )
    assert exported is not None
    exported.save(folder / ONNX)


def load_pt2(file: Path) -> Describe:
    """The program in a file of our own; never load one from elsewhere, torch unpickles parts of it."""
    return torch.export.load(file).module()


def load_onnx(file: Path) -> Describe:
    """The program in an ONNX file, on the CPU."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def describe(images_BCHW: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images_BCHW.numpy()})[0])

    return describe


def example_images(count: int, image_size: tuple[int, int]) -> Tensor:
    """Noise: uint8 images B × 3 × H × W, the same each time."""
    return torch.from_numpy(np.random.default_rng(count).integers(0, 256, (count, 3, *image_size), np.uint8))


def require_agreement(place: str, describe: Describe, expected: Describe, image_size: tuple[int, int]) -> float:
    """Compare two ways to describe the same images, in batches of one and of several.

    Args:
        place: where the first is from, for messages.

    Returns:
        The largest cosine distance between the two, in 0..2.

    Raises:
        ExportError: it is above `TOLERANCE`.
    """
    distances = []
    for count in CHECKED_BATCHES:
        images_BCHW = example_images(count, image_size)
        with torch.no_grad():
            found_BD, wanted_BD = describe(images_BCHW), expected(images_BCHW)
        if found_BD.shape != wanted_BD.shape or found_BD.dtype != wanted_BD.dtype:
            raise ExportError(
                f"{place} gives {found_BD.dtype} {tuple(found_BD.shape)} where the model gives {wanted_BD.dtype} "
                f"{tuple(wanted_BD.shape)}: export again"
            )
        distances.append(1 - F.cosine_similarity(found_BD.double(), wanted_BD.double()))
    largest = float(torch.cat(distances).max())
    if not largest <= TOLERANCE:  # NaN, too
        raise ExportError(
            f"{place} does not describe images as the model does: cosine distance {largest:.1e}, allowed is "
            f"{TOLERANCE:.0e}; use another trunk, or the model itself"
        )
    return max(0.0, largest)
