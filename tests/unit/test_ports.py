"""Ports that are chosen before a server takes them are nobody else's meanwhile."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks._ports import BLOCK, HOST, PORTS, Ports
from streams.adapters import kafka_server
from tests.conftest import ROOT

SYSTEM_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.fixture
def ports() -> Iterator[Ports]:
    with closing(Ports()) as found:
        yield found


def test_none_is_one_that_systems_or_the_embedded_kafka_give() -> None:
    assert PORTS.stop <= min(kafka_server._PORTS)
    if SYSTEM_PORTS.is_file():
        assert PORTS.stop <= int(SYSTEM_PORTS.read_text().split()[0])


def test_processes_beside_each_other_share_none(ports: Ports) -> None:
    words = "from benchmarks._ports import free_ports; print(*free_ports(3), flush=True); input()"
    command = [sys.executable, "-c", words]
    others = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    found = [ports.take() for _ in range(3)]
    for other in others:
        assert other.stdout is not None
        found += [int(word) for word in other.stdout.readline().split()]
    for other in others:  # each holds its own until all have theirs
        other.communicate("\n")
    assert len(set(found)) == 9
    assert len({port // BLOCK for port in found}) == 3


def test_one_that_is_taken_is_left_out_and_all_are_given_in_turn(ports: Ports) -> None:
    first = ports.take()
    with socket.create_server((HOST, first + 1)):
        assert ports.take() == first + 2
        rest = [ports.take() for _ in range(BLOCK - 4)]
        assert first + 1 not in rest
        assert ports.take() == first


def test_a_block_that_was_given_back_is_taken_again(ports: Ports) -> None:
    with closing(Ports()) as other:
        port = other.take()
        assert ports.take() // BLOCK != port // BLOCK
    with closing(Ports()) as another:
        assert another.take() // BLOCK <= port // BLOCK
