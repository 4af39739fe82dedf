"""A real Apache Kafka on this machine, without Java, Maven or Docker: one broker, or a cluster of several.

Every node is broker and controller in one process (KRaft). They listen on 127.0.0.1 only, end with the process that
started them, and keep all they have in the data directory, which survives a restart:

- `cluster.json`: the cluster's id, and the ports of every node, which stay the same as long as they are free;
- `1/`, `2/`, ...: of each node its configuration, its log (`kafka.log`), its process id and its data;
- `tideline.lock` is held by the process that owns the directory, `N/kafka.lock` by the node itself.

Kafka writes to the operating system and not to the disk before it answers: what was acknowledged survives the death
of every process here, and not a power failure.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from config.errors import BrokerError, BrokerUnavailable, Stopped
from streams.adapters.file_lock import ProcessLock, try_lock
from streams.adapters.kafka_jars import java, kafka_jars
from streams.adapters.owned_process import OwnedProcess

HOST: Final = "127.0.0.1"
PLAINTEXT: Final = {"PLAINTEXT": "PLAINTEXT"}
"""The default listeners: one, without security."""

FAST_JVM: Final = ("-Xmx512m",)
"""For a load."""

QUICK_JVM: Final = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""For tests: a start and an end take half the processor time (measured: 4.7 in place of 9.0 seconds), as Java compiles
less well, which only pays for a program that runs longer."""

_STOP_S: Final = 30.0
# A node without a majority of controllers waits for one for five minutes before it ends. Nothing that was acknowledged
# is lost when it is killed.
_STOP_CLUSTER_S: Final = 8.0
_START_S: Final = 120.0
_POLL_S: Final = 0.02
_NEVER: Final = threading.Event()
"""Of a start that nobody gives up."""
# Below the ports that systems give to outgoing connections: such a one could take a broker's port while it restarts.
_PORTS: Final = range(20_000, 32_000)

_CLUSTER_FILE: Final = "cluster.json"

_LOGGING: Final = """
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n%ex{short.message}%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
logger.raft.name = kafka.server.KafkaRaftServer
logger.raft.level = INFO
"""

_SETTINGS: Final = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",  # a misspelt topic is an error, and not a new topic
    "group.initial.rebalance.delay.ms": "0",
    # A commit of offsets waits 5 ms for others by default, and a worker publishes nothing before it is answered.
    "group.coordinator.append.linger.ms": "0",
    "offsets.topic.num.partitions": "4",  # of 50 by default: files that nobody needs on one machine
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
    "group.min.session.timeout.ms": "1000",
    # After kill -9 a node is let in again when its last session is over: 9 seconds by default.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
}


class _Node(msgspec.Struct):
    """Ports of a node: of the controllers among themselves, and of each listener."""

    controller: int
    listeners: dict[str, int]


class _Cluster(msgspec.Struct):
    """What `cluster.json` holds."""

    cluster_id: str
    nodes: list[_Node]


def kept_address(data_dir: Path) -> str | None:
    """Where the Kafka of a directory listens while it runs, as `bootstrap` says; None where none was ever begun.

    Raises BrokerError where that cannot be read.
    """
    path = data_dir / _CLUSTER_FILE
    if not path.exists():
        return None
    nodes = [node for node in _read_cluster(path).nodes if node.listeners]
    return ",".join(f"{HOST}:{next(iter(node.listeners.values()))}" for node in nodes)


def kept_partitions(data_dir: Path, topic: str) -> int | None:
    """How many partitions of a topic the Kafka of a directory has, which need not run; None for no such topic.

    Kafka keeps a partition in the folder `TOPIC-NUMBER`; one that is being deleted has another end.
    """
    named = re.compile(re.escape(topic) + r"-([0-9]+)")
    found = {int(name[1]) for path in data_dir.glob("*/data/*") if (name := named.fullmatch(path.name))}
    return len(found) or None


def _read_cluster(path: Path) -> _Cluster:
    """Raises BrokerError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Cluster)
    except (OSError, msgspec.DecodeError) as error:
        raise BrokerError(f"{path} cannot be read: {error}") from error


class EmbeddedKafka:
    """One Kafka for one data directory. Use as a context manager, or `start` and `stop`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        cache_dir: Path,
        nodes: int = 1,
        port: int | None = None,
        listeners: Mapping[str, str] = PLAINTEXT,
        properties: Mapping[str, str] | None = None,
        jvm: Sequence[str] = FAST_JVM,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`cache_dir`: where Kafka's program is kept. `port`: of the first listener of the only node; else a free one.

        `listeners`: name to security protocol; the first one must be PLAINTEXT, and is what `bootstrap` names.
        `properties` go into `server.properties` as they are. `jvm`: options of Java.
        """
        self.data_dir = data_dir.resolve()
        self._cache_dir = cache_dir.expanduser()
        self._count = nodes
        self._port = port
        self._protocols = dict(listeners)
        self._properties = dict(properties or {})
        self._jvm = tuple(jvm)
        self._say = say
        self._owner = ProcessLock(self.data_dir / "tideline.lock")
        self._jars: tuple[Path, ...] = ()
        self._java = Path()
        self._cluster = _Cluster("", [])
        self._locks: dict[int, int] = {}
        self._running: dict[int, OwnedProcess] = {}
        self.bootstrap = ""
        """`host:port` of every node, with commas between them; empty when it is not running."""

    def start(self, stopping: threading.Event | None = None) -> str:
        """Start every node, wait until they answer, and return `bootstrap`.

        Raises BrokerError: the directory is in use or cannot be used (a full disk), or a node does not start (with its
        last words). Raises Stopped when `stopping` is set, at once but for a download in hand; nothing runs then.
        """
        try:
            return self._start(_NEVER if stopping is None else stopping)
        except OSError as error:
            where = error.filename or self.data_dir
            raise BrokerError(f"Kafka cannot use {where}: {error.strerror or error}") from error

    def _start(self, stopping: threading.Event) -> str:
        self._java = java()
        self._jars = kafka_jars(self._cache_dir, say=self._say, stopping=stopping)
        self._own_directory()
        try:
            for node in self._numbers():
                self._take_lock(node, stopping)
            self._plan()
            self._format(stopping)
            for node in self._numbers():
                self._spawn(node)
            for node in self._numbers():
                self._wait_until_ready(node, stopping)
        except BaseException:
            self.stop()
            raise
        first = next(iter(self._protocols))
        self.bootstrap = self.address(first)
        return self.bootstrap

    def stop(self) -> None:
        """End every node, which closes its files, and give the directory back. Does nothing when not running."""
        running, self._running = self._running, {}
        for process in running.values():
            process.terminate()
        deadline_s = time.monotonic() + (_STOP_S if self._count == 1 else _STOP_CLUSTER_S)
        for process in running.values():
            process.stop(max(0.0, deadline_s - time.monotonic()))
        for lock in self._locks.values():
            os.close(lock)
        self._locks.clear()
        self.bootstrap = ""
        self._owner.release()

    def address(self, listener: str) -> str:
        """`host:port` of every node's listener of that name, with commas between them."""
        return ",".join(f"{HOST}:{node.listeners[listener]}" for node in self._cluster.nodes)

    def kill(self, node: int = 1) -> None:
        """End a node as kill -9 does, and wait until it is gone. For tests."""
        self._running.pop(node).kill()

    def stop_node(self, node: int = 1) -> None:
        """End one node in an orderly way."""
        self._running.pop(node).stop(_STOP_S)

    def start_node(self, node: int = 1) -> None:
        """Start a node that was ended, on its ports, and wait until it answers. Raises BrokerError."""
        self._spawn(node)
        self._wait_until_ready(node, _NEVER)

    def check(self) -> None:
        """Raises BrokerError with a node's last words if it has ended by itself."""
        for node, process in self._running.items():
            if process.ended.is_set():
                raise BrokerError(f"Kafka node {node} has ended (status {process.status}){process.last_words()}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- the directory -----------------------------------------------------------------------------------------------

    def _numbers(self) -> range:
        return range(1, self._count + 1)

    def _folder(self, node: int) -> Path:
        return self.data_dir / str(node)

    def _own_directory(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            for node in self._numbers():
                self._folder(node).mkdir(exist_ok=True, mode=0o700)
            owned = self._owner.acquire()
        except OSError as error:
            raise BrokerError(f"{self.data_dir} cannot be Kafka's data directory: {error}") from error
        if not owned:
            raise BrokerError(
                f"{self.data_dir} is in use by process {self._owner.holder()}. "
                "Wait until it has ended, or choose another directory."
            )

    def _take_lock(self, node: int, stopping: threading.Event) -> None:
        """Wait for the node of an owner that died: it is ending, or has to be told to."""
        lock = os.open(self._folder(node) / "kafka.lock", os.O_RDWR | os.O_CREAT, 0o600)
        pid_file = self._folder(node) / "kafka.pid"
        deadline_s = time.monotonic() + _STOP_S
        told = False
        while not try_lock(lock):
            if not told and pid_file.exists():
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(int(pid_file.read_text()), signal.SIGTERM)
                told = True
            if stopping.is_set():
                os.close(lock)
                raise Stopped
            if time.monotonic() > deadline_s:
                os.close(lock)
                raise BrokerError(f"an earlier Kafka of {self._folder(node)} does not end")
            time.sleep(_POLL_S)
        pid_file.unlink(missing_ok=True)
        self._locks[node] = lock

    def _plan(self) -> None:
        """Read `cluster.json`, or write it; ports that somebody else has taken meanwhile are exchanged."""
        path = self.data_dir / _CLUSTER_FILE
        if path.exists():
            cluster = _read_cluster(path)
            if len(cluster.nodes) != self._count:
                raise BrokerError(f"{self.data_dir} holds a Kafka of {len(cluster.nodes)} nodes, not {self._count}")
        else:
            # 22 characters of base64 are 128 bits; the tool that formats takes a leading - for an option.
            cluster = _Cluster("t" + secrets.token_urlsafe(16)[1:], [_Node(0, {}) for _ in self._numbers()])
        taken: set[int] = set()
        for at, node in enumerate(cluster.nodes):
            node.controller = _free_port(node.controller, taken)
            ports = {name: _free_port(node.listeners.get(name, 0), taken) for name in self._protocols}
            if self._port is not None and at == 0:
                _check_port(self._port)
                ports[next(iter(ports))] = self._port
            node.listeners = ports
        draft = path.with_name(path.name + ".new")
        draft.write_bytes(msgspec.json.encode(cluster))
        draft.replace(path)
        self._cluster = cluster

    # --- the nodes ---------------------------------------------------------------------------------------------------

    def _write_properties(self, node: int) -> Path:
        found = self._cluster.nodes[node - 1]
        listeners = [f"{name}://{HOST}:{port}" for name, port in found.listeners.items()]
        protocols = {"CONTROLLER": "PLAINTEXT", **self._protocols}
        copies = str(min(3, self._count))
        lines = _SETTINGS | {
            "node.id": str(node),
            "log.dirs": str(self._folder(node) / "data"),
            # A fixed list of voters, and not a quorum in the data: so that ports can change between two starts.
            "controller.quorum.voters": ",".join(
                f"{number}@{HOST}:{each.controller}" for number, each in enumerate(self._cluster.nodes, 1)
            ),
            "listeners": ",".join([*listeners, f"CONTROLLER://{HOST}:{found.controller}"]),
            "advertised.listeners": ",".join(listeners),
            "inter.broker.listener.name": next(iter(self._protocols)),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": str(min(2, self._count)),
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": str(min(2, self._count)),
            "default.replication.factor": copies,
            "min.insync.replicas": str(min(2, self._count)),
            **self._properties,
        }
        path = self._folder(node) / "server.properties"
        path.touch(mode=0o600)  # it may hold passwords
        path.write_text("".join(f"{name}={_escaped(value)}\n" for name, value in lines.items()), encoding="ascii")
        (self._folder(node) / "log4j2.properties").write_text(_LOGGING)
        return path

    def _process(self, node: int, program: str, *arguments: str, jvm: Sequence[str]) -> OwnedProcess:
        folder = self._folder(node)
        command = [
            str(self._java),
            *jvm,
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
            "-cp",
            os.pathsep.join(map(str, self._jars)),
            program,
            *arguments,
        ]
        process = OwnedProcess(f"embedded-kafka-{node}", command, log=folder / "kafka.log")
        try:
            process.start(folder=folder, held=[self._locks[node]])
        except OSError as error:
            raise BrokerError(f"Kafka cannot be run: {error}") from error
        return process

    def _format(self, stopping: threading.Event) -> None:
        """Make the data directory of every node that has none."""
        formatting = {}
        for node in self._numbers():
            path = self._write_properties(node)
            if not (self._folder(node) / "data" / "meta.properties").exists():
                arguments = ("format", f"--cluster-id={self._cluster.cluster_id}", "--config", str(path))
                formatting[node] = self._process(
                    node, "kafka.tools.StorageTool", *arguments, "--ignore-formatted", jvm=QUICK_JVM
                )
        deadline_s = time.monotonic() + _START_S
        for process in formatting.values():
            while not process.ended.wait(_POLL_S) and not stopping.is_set() and time.monotonic() < deadline_s:
                pass
            if stopping.is_set():
                for each in formatting.values():
                    each.kill()
                raise Stopped
            if not process.ended.is_set():
                process.kill()
            if process.status != 0:
                raise BrokerError(f"Kafka's data directory cannot be made{process.last_words()}")

    def _spawn(self, node: int) -> None:
        self._running[node] = process = self._process(
            node, "kafka.Kafka", str(self._folder(node) / "server.properties"), jvm=self._jvm
        )
        (self._folder(node) / "kafka.pid").write_text(str(process.pid))

    def _wait_until_ready(self, node: int, stopping: threading.Event) -> None:
        """Until it takes connections, which it does when it has caught up with the cluster."""
        process = self._running[node]
        deadline_s = time.monotonic() + _START_S
        for port in self._cluster.nodes[node - 1].listeners.values():
            while not _answers(port):
                if process.ended.wait(_POLL_S):
                    raise BrokerUnavailable(f"Kafka node {node} does not start{process.last_words()}")
                if stopping.is_set():
                    raise Stopped
                if time.monotonic() > deadline_s:
                    raise BrokerUnavailable(f"Kafka node {node} does not get ready{process.last_words()}")


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: closed connections do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _check_port(port: int) -> None:
    if not _is_free(port):
        raise BrokerError(f"port {port} of {HOST} is taken; choose another one, or end what listens there")


def _free_port(wanted: int, taken: set[int]) -> int:
    """`wanted` if it can be had, else any other; added to `taken`."""
    candidates = [wanted] if wanted else []
    candidates += random.sample(_PORTS, 200)
    for port in candidates:
        if port not in taken and _is_free(port):
            taken.add(port)
            return port
    raise BrokerError(f"no free port on {HOST} between {_PORTS.start} and {_PORTS.stop}")


def _escaped(value: str) -> str:
    """A value as a properties file reads it: backslashes doubled, one line, ASCII."""
    text = value.replace("\\", "\\\\").replace("\n", "\\n")
    return "".join(each if each.isascii() else f"\\u{ord(each):04x}" for each in text)
