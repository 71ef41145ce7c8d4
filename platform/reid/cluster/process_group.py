"""torch's process group on the workers of a run: made by themselves, over the network that joins their nodes."""

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import psutil
import ray
import ray.train
import torch.distributed as dist
from ray.train.backend import Backend
from ray.train.collective import barrier, broadcast_from_rank_zero
from ray.train.torch import TorchConfig
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from reid.config import set_until_exit
from reid.storage import DiskFullError
from reid.training import rank_and_world

MESSAGE_BYTES = 800
"""Of what rank 0 tells the others; Ray takes 1,000."""

Answer = TypeVar("Answer")

_served: object = None
"""Of rank 0's process, for as long as that lives."""


class NoGroup(TorchConfig):
    """Of a run whose workers make their process group themselves.

    Ray would make it before they run: it counts a failure there as one of its own, after which no worker is restarted,
    and has the store listen on every address of the machine.
    """

    @property
    def backend_cls(self) -> type[Backend]:
        return _SharedDevices


class _SharedDevices(Backend):
    share_cuda_visible_devices = True
    """As Ray's own for torch: a worker's GPU is seen by the others of its node, for NCCL."""


@contextmanager
def process_group(backend: str, timeout_s: float) -> Iterator[None]:
    """Within the block, this worker is a rank of a group; a single one needs none.

    The group's store and its connections use the network interface that has the address by which Ray knows the node,
    alone, but for those that the user has chosen by `GLOO_SOCKET_IFNAME` or `NCCL_SOCKET_IFNAME`. By itself, Gloo takes
    the address of the host's name, and that is often a loopback one, where no other node is heard.

    Args:
        timeout_s: seconds that a rank waits for another.

    Raises:
        OSError: this node has not the address by which Ray knows it.
        RuntimeError: the ranks do not reach each other.
    """
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    if world == 1:
        yield
        return
    node: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    interface = interface_of(node)
    set_until_exit({"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": f"={interface}"})
    address: tuple[str, int] = broadcast_from_rank_zero(serve_store(node) if rank == 0 else None)
    join_group(rank, world, address, backend, timedelta(seconds=timeout_s))
    yield
    barrier()  # nobody hangs up on one who is still listening
    dist.destroy_process_group()


def from_rank_zero(function: Callable[[], Answer]) -> Answer:
    """What a function returns on rank 0, on every rank.

    Raises:
        ValueError: on every rank alike, where the function raises one on rank 0.
    """
    answer, failure, no_room = None, b"", False
    if rank_and_world()[0] == 0:
        try:
            answer = function()
        except ValueError as error:
            failure, no_room = str(error).encode()[:MESSAGE_BYTES], isinstance(error, DiskFullError)
    told: tuple[Answer, bytes, bool] = broadcast_from_rank_zero((answer, failure, no_room))
    answer, failure, no_room = told
    if failure:
        raise (DiskFullError if no_room else ValueError)(failure.decode(errors="ignore"))
    return answer


def interface_of(address: str) -> str:
    """Name of this node's network interface that has an address.

    Raises:
        OSError: none has it.
    """
    interfaces: dict[object, str] = {
        ipaddress.ip_address(found.address.partition("%")[0]): name
        for name, addresses in psutil.net_if_addrs().items()
        for found in addresses
        if found.family in (socket.AF_INET, socket.AF_INET6)
    }
    if (name := interfaces.get(ipaddress.ip_address(address))) is None:
        raise OSError(
            f"{socket.gethostname()} has no network interface with the address {address}, by which Ray knows it, but "
            f"{', '.join(map(str, interfaces))}: start Ray there with --node-ip-address=…"
        )
    return name


def serve_store(node: str) -> tuple[str, int]:
    """Where this process now serves a store, on that address of the node alone.

    torch has one listen on every address of the machine, unless it is handed a socket that listens already.
    """
    global _served
    family = socket.AF_INET6 if ipaddress.ip_address(node).version == 6 else socket.AF_INET
    listener = socket.create_server((node, 0), family=family)
    port: int = listener.getsockname()[1]
    _served = TCPStore(node, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
    return node, port


def join_group(rank: int, world: int, address: tuple[str, int], backend: str, timeout: timedelta) -> None:
    """Make this process a rank of the group whose store is served there.

    Raises:
        RuntimeError: the ranks do not reach each other.
    """
    store = TCPStore(*address, timeout=timeout)
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
    except RuntimeError as error:
        raise RuntimeError(
            f"rank {rank} on {socket.gethostname()} does not reach the other workers: {error}; where the nodes are "
            "joined by another network than Ray's, set GLOO_SOCKET_IFNAME (NCCL_SOCKET_IFNAME on GPUs) on each node to "
            "its interface there, before ray start"
        ) from error
