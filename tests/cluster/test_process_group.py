"""A process group that the workers of a run make themselves."""

import ipaddress
import multiprocessing
import os
import socket
from collections.abc import Callable
from types import SimpleNamespace

import psutil
import pytest
import torch
import torch.distributed as dist

from reid.cluster import process_group as group

LOOPBACK = "127.0.0.1"
AsWorkers = Callable[[Callable[[int], None]], list[int]]


@pytest.fixture
def as_workers(in_processes: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch) -> AsWorkers:
    """Calls a function in two workers on a node that Ray knows by a loopback address, with their ranks; exit codes."""
    told = multiprocessing.get_context("fork").SimpleQueue()

    def broadcast(address: object) -> object:
        if address is None:
            return told.get()
        told.put(address)
        return address

    def as_workers(function: Callable[[int], None]) -> list[int]:
        def worker(rank: int) -> None:
            context = SimpleNamespace(get_world_rank=lambda: rank, get_world_size=lambda: 2)
            monkeypatch.setattr(group.ray.train, "get_context", lambda: context)
            monkeypatch.setattr(group.ray.util, "get_node_ip_address", lambda: LOOPBACK)
            monkeypatch.setattr(group, "broadcast_from_rank_zero", broadcast)
            monkeypatch.setattr(group, "barrier", dist.barrier)
            function(rank)

        return in_processes(2, worker)

    return as_workers


def listening() -> set[str]:
    """Addresses on which this process waits for others."""
    return {found.laddr.ip for found in psutil.Process().net_connections("tcp") if found.status == psutil.CONN_LISTEN}


def test_an_address_has_an_interface() -> None:
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if address.family in (socket.AF_INET, socket.AF_INET6):
                assert group.interface_of(address.address.partition("%")[0]) == name
    with pytest.raises(OSError, match=r"no .*interface with the address 203\.0\.113\.7, .*127\.0\.0\.1.*--node-ip"):
        group.interface_of("203.0.113.7")


def test_a_group_uses_the_interface_of_the_nodes_address_alone(
    as_workers: AsWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    before = listening()

    def worker(rank: int) -> None:
        with group.process_group("gloo", 30):
            total = torch.full((3,), float(rank))
            dist.all_reduce(total)
            assert total.tolist() == [1, 1, 1]
            assert {ip for ip in listening() - before if not ipaddress.ip_address(ip).is_loopback} == set()
            assert (os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"]) == ("lo", "=lo")
        assert not dist.is_initialized()

    assert as_workers(worker) == [0, 0]


def test_a_user_who_has_chosen_an_interface_is_obeyed_and_told_what_fails(
    as_workers: AsWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "none0")

    def worker(rank: int) -> None:
        with pytest.raises(RuntimeError, match=f"rank {rank} on .* none0.* set GLOO_SOCKET_IFNAME"), one_group():
            pytest.fail("there is no such interface")

    def one_group() -> object:
        return group.process_group("gloo", 5)

    assert as_workers(worker) == [0, 0]


def test_a_single_worker_makes_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(group.ray.train, "get_context", lambda: context)
    with group.process_group("gloo", 30):
        assert not dist.is_initialized()
