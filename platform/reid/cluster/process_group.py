"""torch's process group on the workers of a run, whose store no other machine reaches where none takes part."""

import ipaddress
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import torch.distributed as dist
from ray.train.backend import BackendConfig
from ray.train.torch import TorchConfig
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from reid.cluster.ray_internals import TorchBackend

_served: object = None
"""Of rank 0's process, for as long as that lives."""


@dataclass
class ProcessGroup(TorchConfig):
    """Ray's, but that the store listens on loopback alone in a cluster that does."""

    @property
    def backend_cls(self) -> type[TorchBackend]:
        return _Backend


class _Backend(TorchBackend):
    """torch has a store listen on every address of the machine, unless it is handed a socket that listens already."""

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        assert isinstance(backend_config, TorchConfig)
        address = worker_group.execute_single(0, serve_store_on_loopback)
        if address is None:
            super().on_start(worker_group, backend_config)
            return
        world = len(worker_group)
        group = (world, address, backend_config.backend, timedelta(seconds=backend_config.timeout_s))
        ray.get([worker_group.execute_single_async(rank, join_group, rank, *group) for rank in range(world)])


def serve_store_on_loopback() -> tuple[str, int] | None:
    """Where this process now serves a store; None, and it serves none, where Ray listens on other addresses too."""
    global _served
    node: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    if not ipaddress.ip_address(node).is_loopback:
        return None
    listener = socket.create_server((node, 0))
    port = listener.getsockname()[1]
    _served = TCPStore(node, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    return node, port


def join_group(rank: int, world: int, address: tuple[str, int], backend: str, timeout: timedelta) -> None:
    """Make this process a rank of the group whose store is served there."""
    store = TCPStore(*address, timeout=timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
