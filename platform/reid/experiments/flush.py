"""Sends MLflow the records that earlier jobs could not."""

from reid.config import RunConfig
from reid.experiments.records import open_recorder
from reid.progress import say_result
from reid.storage import Storage
from reid.tracking import PATIENCE_S


def run_flush(config: RunConfig) -> int:
    """Send all that is kept for the configured server, experiment and storage; returns how many records that were.

    Raises:
        ValueError: the storage or a damaged database does not permit it.
        ConnectionError: something is still unsent.
    """
    storage = Storage.of(config)
    storage.make_ready()
    recorder = open_recorder(config, storage)
    waiting = len(recorder.kept())
    recorder.send(wait_s=PATIENCE_S)
    for file in recorder.damaged():
        say_result(f"{file} was damaged when it was to be sent: mend it and name it .json, or delete it")
    if left := recorder.kept():
        raise ConnectionError(
            f"MLflow at {recorder.uri} lacks {len(left)} of {waiting} records, which wait in {left[0].parent}: flush "
            "again when it takes them and no other job is sending"
        )
    say_result(f"MLflow: {recorder.uri}, experiment {recorder.experiment}, has all records; {waiting} were sent now")
    return waiting
