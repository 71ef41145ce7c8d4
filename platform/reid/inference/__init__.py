"""A trained model from wherever it lies, as one object that describes images."""

from reid.inference.loading import descriptor_of, load, load_checkpoint, load_model_of
from reid.inference.model import Model

__all__ = ["Model", "descriptor_of", "load", "load_checkpoint", "load_model_of"]
