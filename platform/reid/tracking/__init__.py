"""MLflow: one writer, nothing logged twice, nothing lost while the server is away."""

from reid.tracking.background import BackgroundRecorder
from reid.tracking.record import DatasetInput, Measurement, RunRecord, Status
from reid.tracking.recorder import Recorder
from reid.tracking.registry import MODEL_NAME, require_alias

__all__ = [
    "MODEL_NAME",
    "BackgroundRecorder",
    "DatasetInput",
    "Measurement",
    "Recorder",
    "RunRecord",
    "Status",
    "require_alias",
]
