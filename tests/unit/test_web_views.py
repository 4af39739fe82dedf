"""Whether somebody else listens at a port, before a process does what a second one should not."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from benchmarks._ports import free_port
from config.errors import SettingsError
from streams.runtime.web_views import refuse_taken_port

ELSEWHERE = "192.0.2.1"
"""Kept for documents (RFC 5737): no machine has this address."""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def _two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name has two, of which this machine has one, as `localhost` has where there is no IPv6."""

    def found(_: str, port: int, **__: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (each, port)) for each in (ELSEWHERE, "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", found)


def test_a_port_that_is_free_is_not_refused(port: int) -> None:
    refuse_taken_port("127.0.0.1", port, "the worker")


@pytest.mark.usefixtures("_two_addresses")
def test_an_address_that_the_machine_has_not_keeps_nobody_from_the_others(port: int) -> None:
    refuse_taken_port("localhost", port, "the worker")
    with socket.create_server(("127.0.0.1", port)), pytest.raises(SettingsError, match="Address already in use"):
        refuse_taken_port("localhost", port, "the worker")


def test_where_no_address_is_the_machines_nobody_can_listen(port: int) -> None:
    with pytest.raises(SettingsError, match=rf"the worker cannot listen at {ELSEWHERE}:{port} \(Cannot assign"):
        refuse_taken_port(ELSEWHERE, port, "the worker")


def test_a_name_that_nobody_has_is_told(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with pytest.raises(SettingsError, match=rf"cannot listen at nobody:{port} \(Name or service not known\)"):
        refuse_taken_port("nobody", port, "the worker")
