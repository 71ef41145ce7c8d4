"""What Ray keeps to itself and we need nevertheless, each with its reason: to be looked at when it is renewed."""

import logging

import ray.train.v2._internal.execution.context
from ray._private.services import find_bootstrap_address

# `ray.train` offers the same classes by the same names, but a type checker sees its first version's there.
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.result import Result
from ray.train.v2.torch.torch_trainer import TorchTrainer

__all__ = [
    "FailureConfig",
    "LoggingConfig",
    "Result",
    "RunConfig",
    "ScalingConfig",
    "TorchTrainer",
    "last_started_address",
    "silence_reports",
]


def last_started_address() -> str | None:
    """Address of the cluster that `ray start` started on this node last, if any.

    `ray.init()` looks for it too, but starts a cluster of its own where it finds none, without saying so: then the
    token for that cluster would come too late.
    """
    address: str | None = find_bootstrap_address(None)
    return address


def silence_reports() -> None:
    """Every worker prints each report in full, under a logger that `LoggingConfig(log_level=…)` does not reach."""
    logging.getLogger(ray.train.v2._internal.execution.context.__file__).setLevel(logging.WARNING)
