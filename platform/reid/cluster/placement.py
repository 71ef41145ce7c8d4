"""What the cluster can place."""

from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError
from ray.util.placement_group import placement_group, remove_placement_group

from reid.config import JobStoppedError, RunConfig, ScalingConfig
from reid.training import choose_device, resolve_precision


class PlacementError(JobStoppedError):
    """The cluster cannot place the workers asked for."""


def uses_gpu(scaling: ScalingConfig) -> bool:
    """Whether the workers get a GPU each; `auto` takes GPUs when the cluster has one for every worker."""
    if scaling.accelerator == "auto":
        return bool(_resources().get("GPU", 0) >= scaling.gpus_per_worker * max(1, scaling.min_workers))
    return scaling.accelerator == "gpu"


def worker_resources(scaling: ScalingConfig) -> dict[str, float]:
    return {"CPU": scaling.cpus_per_worker, **({"GPU": scaling.gpus_per_worker} if uses_gpu(scaling) else {})}


def concurrent_runs(scaling: ScalingConfig) -> int:
    """Runs of the smallest number of workers asked for that the cluster, as it is now, holds at once; at least 1.

    So many drivers at a time cannot keep each other's workers from starting. They must take no CPU themselves.
    """
    bundle = worker_resources(scaling)
    workers = sum(
        min(int(node["Resources"].get(name, 0) // amount) for name, amount in bundle.items()) for node in alive_nodes()
    )
    return max(1, workers // max(1, scaling.min_workers))


def require_placeable(scaling: ScalingConfig) -> None:
    """Wait until the cluster can place the smallest number of workers asked for.

    Raises:
        PlacementError: it could not within `scaling.start_timeout` seconds.
    """
    if scaling.min_workers == 0:
        return
    bundle = worker_resources(scaling)
    group = placement_group([bundle] * scaling.min_workers)
    try:
        ray.get(group.ready(), timeout=scaling.start_timeout)
    except GetTimeoutError:
        has = {name: amount for name, amount in _resources().items() if name in ("CPU", "GPU")}
        raise PlacementError(
            f"scaling.num_workers: {scaling.min_workers} workers of {_show(bundle)} each could not be placed within "
            f"{scaling.start_timeout:g} s, the cluster has {_show(has)} in all; lower scaling.num_workers or "
            "scaling.cpus_per_worker, wait for other jobs to end, or add nodes (then raise scaling.start_timeout)"
        ) from None
    finally:
        remove_placement_group(group)


def require_precision(config: RunConfig, scaling: ScalingConfig) -> None:
    """
    Raises:
        ValueError: bf16 is asked of processors, and this one lacks it.
    """
    gpu = uses_gpu(scaling) if scaling.num_workers else choose_device(scaling).type == "cuda"
    if not gpu:
        resolve_precision(config, torch.device("cpu"))


def _resources() -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def alive_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _show(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(resources.items())) or "no resources"
