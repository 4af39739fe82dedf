"""What a Redis or Valkey server is, and what its settings promise about commits that it has acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from config.errors import StoreError, StoreIncompatible, StoreUnavailable
from streams.adapters.redis_nodes import Nodes
from streams.adapters.redis_wire import Wire

OLDEST_REDIS = (7, 0)
OLDEST_VALKEY = (8, 0)
OLDEST_REDIS_WITH_WAITAOF = (7, 2)
_WRITES = {
    "aof_last_write_status": "its append-only file",
    "aof_last_bgrewrite_status": "a new append-only file",
    "rdb_last_bgsave_status": "a dump",
}


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """`fsync` is None where the server does not show its configuration (managed servers often do not)."""

    product: str
    version: str
    appendonly: bool
    fsync: str | None
    replicas: int

    def refuse_waiting_for_disk(self) -> None:
        """Raises StoreIncompatible for a server that cannot say when a commit is on its disk (WAITAOF)."""
        if not self.appendonly:
            raise StoreIncompatible(
                "the server cannot wait for its disk: it runs with appendonly no. Set appendonly yes, or "
                "TIDELINE_WAIT_ON_DISK=false"
            )
        if self.product == "Redis" and _version(self.version) < OLDEST_REDIS_WITH_WAITAOF:
            raise StoreIncompatible(
                f"Redis {self.version} cannot wait for its disk: 7.2 or later is needed, or TIDELINE_WAIT_ON_DISK=false"
            )


@dataclass(frozen=True, slots=True)
class ServerCondition:
    """How a server is at the moment. Sizes are bytes, 0 for one that is not told; `clock_s` since 1970 UTC."""

    used_bytes: int
    max_bytes: int
    """Its `maxmemory`; 0 for no bound."""
    machine_bytes: int
    policy: str
    """What it does when its memory is full (`maxmemory-policy`)."""
    unwritten: tuple[str, ...]
    """What it could not write to its disk at the last try."""
    clock_s: float


def condition(wire: Wire) -> ServerCondition:
    """Ask the server how it is. Raises StoreError."""
    info = _fields(wire.ask("INFO"))
    seconds, microseconds = wire.ask("TIME")
    return ServerCondition(
        used_bytes=int(info.get("used_memory", "0")),
        max_bytes=int(info.get("maxmemory", "0")),
        machine_bytes=int(info.get("total_system_memory", "0")),
        policy=info.get("maxmemory_policy", "noeviction"),
        unwritten=tuple(words for field, words in _WRITES.items() if info.get(field, "ok") != "ok"),
        clock_s=int(seconds) + int(microseconds) / 1e6,
    )


def inspect_server(wire: Wire) -> ServerFacts:
    """Look at the server.

    Raises:
        StoreUnavailable: it does not answer or still loads its data.
        StoreIncompatible: it is too old, or would evict keys of ours when its memory is full.
    """
    info = _fields(wire.ask("INFO"))
    if info.get("loading", "0") != "0":
        raise StoreUnavailable("the server is still loading its data: wait until it has")
    valkey = info.get("valkey_version")
    product, version = ("Valkey", valkey) if valkey else ("Redis", info.get("redis_version", "0"))
    oldest = OLDEST_VALKEY if valkey else OLDEST_REDIS
    if _version(version) < oldest:
        raise StoreIncompatible(f"{product} {version} is too old: {oldest[0]}.{oldest[1]} or later is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy.startswith("allkeys"):
        raise StoreIncompatible(
            f"{product} would delete stored state when its memory is full (maxmemory-policy {policy}): "
            "set maxmemory-policy to noeviction"
        )
    return ServerFacts(
        product=product,
        version=version,
        appendonly=info.get("aof_enabled", "0") == "1",
        fsync=_fsync(wire),
        replicas=int(info.get("connected_slaves", "0")),
    )


def inspect_all(nodes: Nodes) -> list[ServerFacts]:
    """Look at every server that has keys. Raises as `inspect_server` does."""
    return [inspect_server(wire) for wire in nodes.primaries()]


def weakest(servers: Sequence[ServerFacts]) -> ServerFacts:
    """What holds of all of them: the oldest version, the weakest promise, and replicas if any has them."""
    promised = ("always", "everysec", None, "no")
    least = max(servers, key=lambda facts: (not facts.appendonly, promised.index(facts.fsync)))
    oldest = min(servers, key=lambda facts: _version(facts.version))
    return replace(least, version=oldest.version, replicas=max(facts.replicas for facts in servers))


def keeps_all(facts: ServerFacts, replicas_waited_for: int) -> bool:
    """Whether no commit that was acknowledged can be forgotten."""
    return facts.appendonly and facts.fsync == "always" and facts.replicas <= replicas_waited_for


def promise(facts: ServerFacts, replicas_waited_for: int) -> str:
    """One line: which acknowledged commits can be forgotten, and what that would mean."""
    said_again = "a crossing of that time may then be said again under another id"
    if not facts.appendonly:
        text = (
            'appendonly no: a restart forgets everything since the last dump (all of it with save ""). Set '
            f"appendonly yes and appendfsync always; {said_again}"
        )
    elif facts.fsync == "always":
        text = "appendfsync always: a commit is on disk before it is published; no crossing is said twice"
    elif facts.fsync is None:
        text = f"appendonly yes, appendfsync unknown: a power cut may forget the last commits; {said_again}"
    else:
        seconds = "second" if facts.fsync == "everysec" else "half minute"
        text = f"appendfsync {facts.fsync}: a power cut may forget the last {seconds}; {said_again}"
    if facts.replicas > replicas_waited_for:
        text += "; a failover to a replica may forget the last commits, as replication is asynchronous"
    return f"{facts.product} {facts.version}, {text}"


def _fsync(wire: Wire) -> str | None:
    try:
        reply = wire.ask("CONFIG", "GET", "appendfsync")
    except StoreUnavailable:
        raise
    except StoreError:
        return None  # a server that hides its configuration; the promise says "unknown"
    return reply[1].decode() if len(reply) == 2 else None


def _fields(info: bytes) -> dict[str, str]:
    lines = [line.partition(":") for line in info.decode().splitlines() if not line.startswith("#")]
    return {name: value for name, colon, value in lines if colon}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in text.split(".")[:2])
