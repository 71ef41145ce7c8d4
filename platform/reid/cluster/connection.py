"""Joining the Ray cluster."""

import logging
import os
import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import ray

import reid
from reid.cluster.ray_internals import last_started_address, on_loopback, route_output
from reid.cluster.relay import hear
from reid.config import load_extensions, set_until_exit
from reid.progress import note, say

LOOPBACK_ADDRESS = "127.0.0.1"


def connect(extensions: Sequence[str] = ()) -> None:
    """Join the cluster that `RAY_ADDRESS` names or `ray start` started here last, else start one for this process.

    One that is started here listens on loopback alone, with all that runs on it.

    The package's own source travels along: workers run the code that was submitted, whatever version is installed. So
    do extensions, which load where a configuration that names them arrives. What is said on the cluster with
    `reid.progress` is heard here, and what its processes print is noted.

    Raises:
        ConnectionError: nothing answers at `RAY_ADDRESS`.
    """
    if ray.is_initialized():
        return
    _join(extensions)
    route_output(note)
    hear()


def on_several_nodes() -> bool:
    """Whether the cluster that was joined can have other nodes: none joins one whose addresses are loopback's."""
    nodes = ray.nodes() if ray.is_initialized() else []  # type: ignore[no-untyped-call]
    return any(node["NodeManagerAddress"] != LOOPBACK_ADDRESS for node in nodes)


def _join(extensions: Sequence[str]) -> None:
    modules: list[object] = [str(Path(reid.__file__).parent), *load_extensions(extensions)]
    start = partial(ray.init, runtime_env={"py_modules": modules}, logging_level=logging.ERROR)
    if "RAY_ADDRESS" in os.environ:
        start()
        return
    if (address := last_started_address()) is not None:
        try:
            start(address=address)
            return
        except ConnectionError:
            say(f"the cluster last started here, {address}, does not answer: starting one for this job")
    # A token for this cluster alone: Ray would leave one in the home directory that other users can read, and that
    # changes how clusters started later behave. And nobody takes this node away.
    set_until_exit({"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"})
    with on_loopback():
        start(address="local")
