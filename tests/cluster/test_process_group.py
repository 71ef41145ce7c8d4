"""The store of a process group, where no other machine takes part."""

import ipaddress
from datetime import timedelta

import psutil
import pytest
import torch
import torch.distributed as dist

from reid.cluster.process_group import join_group, serve_store_on_loopback
from reid.cluster.ray_internals import on_loopback


def test_it_listens_on_loopback_alone_and_makes_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    with on_loopback():
        address = serve_store_on_loopback()
    assert address is not None
    join_group(0, 1, address, "gloo", timedelta(seconds=30))
    try:
        total = torch.ones(3)
        dist.all_reduce(total)
        assert total.tolist() == [1, 1, 1]
        listening = [socket.laddr for socket in psutil.Process().net_connections("tcp") if socket.status == "LISTEN"]
    finally:
        dist.destroy_process_group()
    assert address in [(socket.ip, socket.port) for socket in listening]
    assert [socket for socket in listening if not ipaddress.ip_address(socket.ip).is_loopback] == []
