"""The command line of jobs that use a trained model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid.training.checkpoint import load_state

CHECKPOINT_HELP = "a phase's checkpoint: a folder or a pyarrow.fs URI"


def absolute(place: str) -> str:
    """A local path made absolute; a URI as it is."""
    return place if "://" in place else str(Path(place).absolute())


def settings_of(checkpoint: str) -> Mapping[str, Any]:
    """A checkpoint's settings but those of where it was trained and recorded."""
    return load_state(checkpoint).config.model_dump(mode="json", exclude={"storage", "tracking", "scaling"})
