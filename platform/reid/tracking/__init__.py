"""MLflow: one writer, nothing logged twice, nothing lost while the server is away."""

from reid.tracking.database import DamagedDatabaseError
from reid.tracking.record import DatasetInput, Measurement, RunRecord, Status
from reid.tracking.recorder import PATIENCE_S, Recorder
from reid.tracking.registry import MODEL_NAME, require_alias

__all__ = [
    "MODEL_NAME",
    "PATIENCE_S",
    "DamagedDatabaseError",
    "DatasetInput",
    "Measurement",
    "Recorder",
    "RunRecord",
    "Status",
    "require_alias",
]
