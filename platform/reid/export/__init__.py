"""A trained model as programs that need nothing of this package."""

from reid.export.descriptor import (
    CARD,
    ONNX,
    PT2,
    Card,
    Describe,
    Descriptor,
    ExportError,
    example_images,
    export_descriptor,
    load_onnx,
    load_pt2,
    require_agreement,
)

__all__ = [
    "CARD",
    "ONNX",
    "PT2",
    "Card",
    "Describe",
    "Descriptor",
    "ExportError",
    "example_images",
    "export_descriptor",
    "load_onnx",
    "load_pt2",
    "require_agreement",
]
