"""MLflow: one writer, nothing logged twice, nothing lost while the server is away; and its browser."""

from reid.tracking.browser import serve_ui
from reid.tracking.database import DamagedDatabaseError, sqlite_file
from reid.tracking.provenance import COMMAND_TAG, provenance
from reid.tracking.record import DatasetInput, Measurement, RunRecord, Status
from reid.tracking.recorder import PATIENCE_S, Recorder
from reid.tracking.registry import MODEL_NAME, require_alias
from reid.tracking.store import MODEL_CARD

__all__ = [
    "COMMAND_TAG",
    "MODEL_CARD",
    "MODEL_NAME",
    "PATIENCE_S",
    "DamagedDatabaseError",
    "DatasetInput",
    "Measurement",
    "Recorder",
    "RunRecord",
    "Status",
    "provenance",
    "require_alias",
    "serve_ui",
    "sqlite_file",
]
