"""The servers of a store, and which of them has a key: one server, a cluster's primaries, or what sentinels name.

redis-py's own clients of clusters and sentinels repeat commands and follow a key to another node by themselves. Here
nothing is repeated: a transaction belongs to the connection that watches, and a scan to the server that began it. So
whatever shows that keys may be elsewhere by now (a lost connection, MOVED, a primary that takes no writes any more)
ends the call with StoreUnavailable, and the next call looks up anew who has the key. Waiting is the caller's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from redis import exceptions
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from config.errors import StoreError, StoreIncompatible, StoreUnavailable
from config.store_address import StoreAddress, hide_password, parse_store_address
from streams.adapters.redis_wire import Wire

_LOOKUP_TIMEOUT_S = 5.0
"""For a question about who has a key, which no server takes long for: another one can be asked."""

# What a node says of a key that is elsewhere, on its way, or not to be had until the cluster is well again.
_ELSEWHERE = (exceptions.AskError, exceptions.TryAgainError, exceptions.ClusterDownError, exceptions.ReadOnlyError)

_Owners = list[tuple[int, int, tuple[str, int]]]
"""(first slot, last slot, host and port of the primary that has them)"""
_LookUp = Callable[[StoreAddress, str, Wire], _Owners]
"""How to ask one server, of which the host is given."""


class Nodes(ABC):
    """The servers of one store. One thread at a time."""

    @abstractmethod
    def of(self, key: bytes) -> Wire:
        """The line to the server that has the key, as far as is known. Raises StoreUnavailable if there is none."""

    @abstractmethod
    def primaries(self) -> list[Wire]:
        """Lines to all servers that have keys. Raises StoreUnavailable if they cannot be found out."""

    @abstractmethod
    def close(self) -> None: ...

    def ask(self, verb: str, key: bytes, *rest: bytes | str | int) -> Any:
        """The reply to one command about one key; a refusal is raised as a StoreError."""
        return self.of(key).ask(verb, key, *rest)


def open_nodes(url: str, *, timeout_s: float) -> Nodes:
    """Connects at the first use. `timeout_s`: how long one reply may take.

    Raises StoreIncompatible for what is no address.
    """
    try:
        address = parse_store_address(url)
    except ValueError as error:
        raise StoreIncompatible(f"store address {hide_password(url)!r}: expected {error}") from None
    if address.kind is None:
        return OneServer(Wire(url, timeout_s=timeout_s))
    return FoundNodes(address, _cluster_owners if address.kind == "cluster" else _named_primary, timeout_s=timeout_s)


class OneServer(Nodes):
    """A server that has all keys."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def of(self, key: bytes) -> Wire:  # noqa: ARG002  it has all of them
        return self._wire

    def primaries(self) -> list[Wire]:
        return [self._wire]

    def close(self) -> None:
        self._wire.close()


class FoundNodes(Nodes):
    """Servers that others name. The map of who has what is asked for anew after whatever it may not fit any more."""

    def __init__(self, address: StoreAddress, look_up: _LookUp, *, timeout_s: float) -> None:
        self._address = address
        self._look_up = look_up
        self._timeout_s = timeout_s
        self._wires: dict[tuple[str, int], Wire] = {}
        self._owners: _Owners = []

    def of(self, key: bytes) -> Wire:
        slot = key_slot(key)
        for first, last, server in self._known_owners():
            if first <= slot <= last:
                return self._wire(server)
        self._forget()
        raise StoreUnavailable(f"{self._address.name}: no node has slot {slot} at the moment")

    def primaries(self) -> list[Wire]:
        return [self._wire(server) for server in dict.fromkeys(server for _, _, server in self._known_owners())]

    def close(self) -> None:
        for wire in self._wires.values():
            wire.close()

    def _wire(self, server: tuple[str, int]) -> Wire:
        if server not in self._wires:
            url = self._address.server(*server)
            self._wires[server] = _WatchedWire(url, self._forget, timeout_s=self._timeout_s)
        return self._wires[server]

    def _forget(self) -> None:
        self._owners = []

    def _known_owners(self) -> _Owners:
        if not self._owners:
            self._owners = self._find_owners()
        return self._owners

    def _find_owners(self) -> _Owners:
        """What the first server that answers says; servers of the address are asked before others that were found."""
        failures = []
        for host, url in self._sources():
            with closing(Wire(url, timeout_s=min(self._timeout_s, _LOOKUP_TIMEOUT_S))) as wire:
                try:
                    return self._look_up(self._address, host, wire)
                except StoreUnavailable as error:
                    failures.append(str(error))
        missing = "no node says who has the keys" if self._address.kind == "cluster" else "no sentinel names a primary"
        raise StoreUnavailable(f"{self._address.name}: {missing} ({'; '.join(failures)})")

    def _sources(self) -> list[tuple[str, str]]:
        """(host, address) of whom to ask."""
        address = self._address
        if address.kind == "sentinel":
            return [(host, address.sentinel(host, port)) for host, port in address.hosts]
        servers = dict.fromkeys([*address.hosts, *self._wires])
        return [(host, address.server(host, port)) for host, port in servers]


class _WatchedWire(Wire):
    """A line to one of several servers, which tells when keys may have gone elsewhere."""

    def __init__(self, url: str, on_trouble: Callable[[], None], *, timeout_s: float) -> None:
        super().__init__(url, timeout_s=timeout_s)
        self._on_trouble = on_trouble

    def exchange(self, commands: Sequence[bytes], *, on_same_line: bool = False) -> list[Any]:
        try:
            replies = super().exchange(commands, on_same_line=on_same_line)
        except StoreError:
            self._on_trouble()
            raise
        for reply in replies:
            if isinstance(reply, exceptions.ResponseError):
                self._on_trouble()  # so also NOREPLICAS, of a primary that was cut off and has a successor by now
            if isinstance(reply, _ELSEWHERE):
                self.drop()  # it may watch keys still
                raise StoreUnavailable(f"{self.name} does not have the keys at the moment ({reply})") from reply
        return replies


def _cluster_owners(address: StoreAddress, host: str, wire: Wire) -> _Owners:
    """Who has which slots, as one node knows it."""
    try:
        ranges = wire.ask("CLUSTER", "SLOTS")
    except (StoreUnavailable, StoreIncompatible):
        raise
    except StoreError as error:
        raise StoreIncompatible(
            f"{wire.name} is no node of a cluster; use {address.scheme}://HOST:PORT as the address ({error})"
        ) from error
    if not ranges:
        raise StoreUnavailable(f"{wire.name} knows no node that has keys")
    # A node that does not know its own name is where it was asked.
    return [(first, last, ((name or b"").decode() or host, port)) for first, last, (name, port, *_), *_ in ranges]


def _named_primary(address: StoreAddress, host: str, wire: Wire) -> _Owners:  # noqa: ARG001  as of a cluster
    """The primary, as one sentinel knows it."""
    try:
        found = wire.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
    except StoreUnavailable:
        raise
    except StoreIncompatible as error:
        login = "a sentinel takes the login of sentinel_username and sentinel_password in the address"
        raise StoreIncompatible(f"{error}; {login}") from error
    except StoreError as error:
        raise StoreIncompatible(f"{wire.name} is no sentinel; is this the port of a server? ({error})") from error
    if found is None:
        raise StoreUnavailable(f"the sentinel {wire.name} knows no service {address.service!r}")
    name, port = found
    return [(0, REDIS_CLUSTER_HASH_SLOTS - 1, (name.decode(), int(port)))]
