"""Sends run records from a thread of its own: whoever records many runs never waits for MLflow."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from reid.tracking.record import RunRecord
from reid.tracking.recorder import RETRY_AFTER_S, Recorder

PAUSE_S = 1.0
"""Between two sendings: of what changes more often, only the last is sent."""


class BackgroundRecorder:
    """A recorder whose `put` only keeps; within a `with`, a thread sends what is kept, the last of it as that ends.

    What is kept outlives this process, and is sent by the next one if need be.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._kept, self._ending = threading.Event(), threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")

    def __enter__(self) -> Self:
        self._sending = self._thread.submit(self._send)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._kept.set()
        self._thread.shutdown()
        self._sending.result()
        self._recorder.send()

    def put(self, record: RunRecord) -> None:
        self._recorder.keep(record)
        self._kept.set()

    def _send(self) -> None:
        while not self._ending.is_set():
            self._kept.wait()
            self._kept.clear()
            self._ending.wait(PAUSE_S if self._recorder.send() else RETRY_AFTER_S)
