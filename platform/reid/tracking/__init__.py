"""MLflow: one writer, nothing logged twice, nothing lost while the server is away."""

from reid.tracking.record import DatasetInput, Measurement, RunRecord
from reid.tracking.recorder import Recorder

__all__ = ["DatasetInput", "Measurement", "Recorder", "RunRecord"]
