"""What Ray keeps to itself and we need nevertheless, each with its reason: to be looked at when it is renewed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray._private.worker
from ray._private import ray_constants
from ray._private.ray_logging import global_worker_stdstream_dispatcher
from ray._private.services import find_bootstrap_address
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import (
    ReschedulingState,
    RestartingState,
    RunningState,
    TrainControllerState,
)

# `ray.train` offers the same classes by the same names, but a type checker sees its first version's there.
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import ControllerError
from ray.train.v2.api.result import Result
from ray.train.v2.torch.torch_trainer import TorchTrainer

__all__ = [
    "ControllerCallback",
    "ControllerError",
    "FailureConfig",
    "LoggingConfig",
    "ReschedulingState",
    "RestartingState",
    "Result",
    "RunConfig",
    "RunningState",
    "ScalingConfig",
    "TorchTrainer",
    "TrainControllerState",
    "WorkerGroupStartupTimeoutError",
    "hand_on",
    "last_started_address",
    "on_loopback",
    "route_output",
]


def last_started_address() -> str | None:
    """Address of the cluster that `ray start` started on this node last, if any.

    `ray.init()` looks for it too, but starts a cluster of its own where it finds none, without saying so: then the
    token for that cluster would come too late.
    """
    address: str | None = find_bootstrap_address(None)
    return address


@contextmanager
def on_loopback() -> Iterator[None]:
    """A cluster that `ray.init` starts within listens on 127.0.0.1 alone.

    There is no setting for that: Ray takes the address that other machines know this one by, even where
    `_node_ip_address` is 127.0.0.1. It does not where it allows for no other machines, as on macOS.
    """
    allowed = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = allowed


def route_output(hear: Callable[[str], None]) -> None:
    """What the cluster's processes print goes, line by line, to a function and not to this process's own output, and so
    does what Ray has to say of nodes that went. What Ray logs here goes where all logging goes.

    `ray.init(log_to_driver=False)` would drop the former, and nothing the latter. That Ray counts what several say in
    the same words is lost.
    """

    def handle(data: dict[str, Any], ignore_prefix: bool = False) -> None:
        who = data.get("actor_name") or data.get("task_name") or "process"
        for line in data["lines"]:
            hear(f"({who} pid={data['pid']}, {data.get('ip', 'of the cluster')}) {line}")

    own = logging.getLogger("ray")
    own.handlers.clear()
    own.propagate = True
    global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")
    global_worker_stdstream_dispatcher.add_handler("reid", handle)
    ray._private.worker.print_to_stdstream = handle


def hand_on(variable: str) -> None:
    """Ray Train's controller gets an environment variable of who starts it, and what it starts itself gets it from it.

    There is a runtime environment for its workers alone. Its helper that frees the workers of a run that was killed
    asks the cluster at `RAY_ADDRESS`; without, it looks for one on the node, and gives up where it finds several.
    """
    ENV_VARS_TO_PROPAGATE.add(variable)
