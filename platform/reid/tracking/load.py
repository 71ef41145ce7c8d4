"""What the node does beside a run, under the names of MLflow's own monitor and read by its probes.

That monitor itself speaks to the server, and here only the recorder's thread does.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from reid.tracking.record import Measurement

PERIOD_S = 10.0
"""Between two readings, at first."""
MOST = 360
"""Readings that are kept; when there are more, every other one is dropped, and the period doubles."""
PREFIX = "system/"


class LoadMonitor:
    """Reads the load of this node in a thread, as long as its context lasts.

    Args:
        tell: called in that thread after each reading.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell, self._period_s = tell, PERIOD_S
        self._probes = _probes()
        self._readings: list[Measurement] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read_again_and_again, name="load", daemon=True)

    @property
    def readings(self) -> tuple[Measurement, ...]:
        """So far; a reading's step is its second since 1970, so those of a run's next process follow it."""
        return tuple(self._readings)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _read_again_and_again(self) -> None:
        while not self._ended.wait(self._period_s):
            self._readings.append(self._read())
            if len(self._readings) > MOST:
                self._readings, self._period_s = self._readings[::2], 2 * self._period_s
            self._tell()

    def _read(self) -> Measurement:
        metrics: dict[str, float] = {}
        for probe in self._probes:
            probe.clear_metrics()
            probe.collect_metrics()
            metrics |= probe.aggregate_metrics()
        now = time.time()
        return Measurement(step=int(now), time=now, metrics={f"{PREFIX}{name}": v for name, v in metrics.items()})


def _probes() -> list[Any]:
    """Those of MLflow that this machine has something for."""
    probes = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]  # type: ignore[no-untyped-call]
    with suppress(ImportError, RuntimeError):  # without the package nvidia-ml-py, or without a GPU
        probes.append(GPUMonitor())  # type: ignore[no-untyped-call]
    return probes
