"""Endpoints and what waits for them, in Redis. `docs/redis.md` describes the keys.

Who owns the deliveries holds a lease under a name of its own; each step of an endpoint (its positions in the log, and
what waits) is one transaction that only the owner can make. Definitions of endpoints are written by the API.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from config.errors import Fenced, NotStored, StoreUnavailable
from streams.adapters.redis_keys import hook_keys
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_pack import command
from streams.adapters.redis_wire import Wire, refusal

DEAD_KEPT: Final = 1_000
RECENT_KEPT: Final = 200
ARCHIVED_KEPT: Final = 100
_ATTEMPTS: Final = 20
# KEYS: secrets, version. ARGV: endpoint, what it has to have, what it gets.
_SWAP: Final = b"""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('INCR', KEYS[2])
return 1
"""


class Endpoint(msgspec.Struct, frozen=True):
    """Where something is sent, and what. Times are seconds since 1970 UTC."""

    id: str
    url: str
    name: str
    created_s: float
    segments: tuple[str, ...] = ()
    """None: of all segments."""
    direction: str | None = None
    origins: tuple[str, ...] = ()
    archived_s: float | None = None
    audience: str | None = None
    """A segment that a list elsewhere is kept equal to; then nothing else is sent."""
    form: str = "webhook"
    """How changes of that list are sent: `webhook` or `segment`."""
    content: str | None = None
    """Hash of the request that made it, where that may be sent again."""


class Secrets(msgspec.Struct, frozen=True):
    """What deliveries of an endpoint are signed with."""

    current: str
    previous: str | None = None
    previous_until_s: float = 0.0
    asked: str | None = None
    """Which request made the current one, where that may be sent again."""

    def at(self, now_s: float) -> list[str]:
        """Those that are good now."""
        return [self.current, *([self.previous] if self.previous is not None and now_s < self.previous_until_s else [])]

    def __repr__(self) -> str:
        return "Secrets(...)"  # never into a log


class Progress(msgspec.Struct):
    """How far an endpoint is."""

    positions: list[int] | None = None
    """In the partitions of segment-events; None: it begins with the oldest that is kept."""
    number: int = 0
    """Of the next delivery."""
    delivered: int = 0
    failed: int = 0
    """Attempts."""
    dead: int = 0
    dead_dropped: int = 0
    """Dead letters that had to make room for later ones."""
    missed: int = 0
    """Transitions that the log did not keep long enough."""
    failures_in_a_row: int = 0
    openings: int = 0
    open_until_s: float | None = None
    last_words: str = ""
    last_s: float | None = None
    """When something came of an attempt last."""
    compared: int = 0
    """Of an audience: the comparison (`asked`) that was done last."""
    differing: int = 0
    """Changes that were given up since then: so many users are elsewhere what they are not here."""


class Sent(msgspec.Struct, frozen=True):
    """A delivery that arrived."""

    id: str
    user: str
    at_s: float
    attempts: int
    words: str


@dataclass(slots=True)
class Step:
    """One atomic step of an endpoint. Making it twice is the same as making it once, but for `recent`."""

    progress: Progress
    put: dict[str, bytes] = field(default_factory=dict)
    """Delivery id -> what waits."""
    drop: list[str] = field(default_factory=list)
    dead: dict[str, bytes] = field(default_factory=dict)
    """Number and id (`dead_field`) -> a delivery that is given up."""
    redriven: list[str] = field(default_factory=list)
    """Fields of what was to be sent again and waits from now on."""
    recent: list[Sent] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    """Users who are on the list elsewhere from now on,"""
    unlisted: list[str] = field(default_factory=list)
    """and who are not any more."""
    forgotten: list[str] = field(default_factory=list)
    """Dead letters of users who were deleted, also those that were to be sent again,"""
    forgotten_sent: list[Sent] = field(default_factory=list)
    """and what has arrived of them."""
    crowded_out: list[str] | None = None
    """Dead letters that make room for those of this step; found, and counted, when it is made first."""


def dead_field(number: int, delivery_id: str) -> str:
    """The name of a dead letter: it sorts by age."""
    return f"{number:016}:{delivery_id}"


class RedisDeliveries:
    """May be used by several threads. Every method raises StoreUnavailable, and other StoreErrors."""

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 5.0) -> None:
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._keys = hook_keys(prefix)

    # --- endpoints ---------------------------------------------------------------------------------------------------

    def all(self) -> list[Endpoint]:
        """Every endpoint, the oldest first; archived ones, too."""
        flat = self._ask("HVALS", self._keys.endpoints)
        found = [msgspec.json.decode(data, type=Endpoint) for data in flat]
        return sorted(found, key=lambda endpoint: (endpoint.created_s, endpoint.id))

    def get(self, endpoint_id: str) -> Endpoint:
        """Raises NotStored."""
        data = self._ask("HGET", self._keys.endpoints, endpoint_id)
        if data is None:
            raise NotStored(f"no webhook has the id {endpoint_id[:40]!r}")
        return msgspec.json.decode(data, type=Endpoint)

    def add(self, endpoint: Endpoint, secrets: Secrets, progress: Progress) -> None:
        """Store a new one; the oldest archived ones beyond `ARCHIVED_KEPT` are forgotten.

        One that has the id already stays as it is, with its secrets: who asks twice at the same time makes one.
        """
        keys = self._keys
        archived = [each for each in self.all() if each.archived_s is not None]
        gone = sorted(archived, key=lambda each: each.archived_s or 0.0)[: max(0, len(archived) - ARCHIVED_KEPT)]
        commands = [
            command(b"HSETNX", key, endpoint.id.encode(), msgspec.json.encode(value))
            for key, value in ((keys.endpoints, endpoint), (keys.secrets, secrets), (keys.progress, progress))
        ]
        if endpoint.audience is not None:
            commands.append(command(b"HSETNX", keys.asked, endpoint.id.encode(), b"1"))
        for each in gone:
            commands += [command(b"HDEL", key, each.id.encode()) for key in (keys.endpoints, keys.progress, keys.asked)]
            commands.append(command(b"DEL", *(keys.of(name, each.id) for name in ("dead", "recent"))))
        self._change(commands)

    def replace(self, endpoint: Endpoint) -> None:
        """Another definition of the same id; what an archived one was to get, and its secrets, are deleted."""
        keys, commands = self._keys, [self._hset(self._keys.endpoints, endpoint.id, endpoint)]
        if endpoint.archived_s is not None:
            commands.append(
                command(b"DEL", *(keys.of(name, endpoint.id) for name in ("waiting", "redriven", "listed")))
            )
            commands.append(command(b"HDEL", keys.secrets, endpoint.id.encode()))
        self._change(commands)

    def secrets(self, endpoint_id: str) -> Secrets:
        """For signing, and nothing else. Raises NotStored."""
        data = self._ask("HGET", self._keys.secrets, endpoint_id)
        if data is None:
            raise NotStored(f"the webhook {endpoint_id[:40]!r} has no secret: it is archived")
        return msgspec.json.decode(data, type=Secrets)

    def change_secrets(self, endpoint_id: str, change: Callable[[Secrets], Secrets | None]) -> tuple[Secrets, bool]:
        """Sign with others from now on: those that `change` makes of what is there, or the same where it makes none.

        Returns what is there in the end, and whether that is new. `change` is asked again where somebody else was
        first. Raises NotStored.
        """
        keys = self._keys
        for _ in range(_ATTEMPTS):
            before = self._ask("HGET", keys.secrets, endpoint_id)
            if before is None:
                raise NotStored(f"the webhook {endpoint_id[:40]!r} has no secret: it is archived")
            found = msgspec.json.decode(before, type=Secrets)
            wanted = change(found)
            if wanted is None:
                return found, False
            words = (endpoint_id.encode(), before, msgspec.json.encode(wanted))
            script = command(b"EVAL", _SWAP, b"2", keys.secrets, keys.version, *words)
            with self._lock:
                (swapped,) = self._nodes.of(keys.version).exchange([script])
            if isinstance(swapped, ResponseError):
                raise refusal(swapped, "changing the secret of a webhook") from swapped
            if swapped:
                return wanted, True
        raise StoreUnavailable(f"others change the secret of {endpoint_id[:40]!r} all the time")

    def version(self) -> int:
        """Another number after every change of endpoints."""
        return int(self._ask("GET", self._keys.version) or 0)

    # --- what becomes of deliveries ----------------------------------------------------------------------------------

    def progress(self, endpoint_id: str) -> Progress:
        """How far it is."""
        data = self._ask("HGET", self._keys.progress, endpoint_id)
        return Progress() if data is None else msgspec.json.decode(data, type=Progress)

    def waiting(self, endpoint_id: str) -> list[bytes]:
        """What waits, in no order."""
        return list(self._ask("HVALS", self._keys.of("waiting", endpoint_id)))

    def waiting_count(self, endpoint_id: str) -> int:
        """How many wait, those among them that are to be sent again."""
        keys = self._keys
        return sum(int(self._ask("HLEN", keys.of(name, endpoint_id))) for name in ("waiting", "redriven"))

    def dead(self, endpoint_id: str) -> dict[str, bytes]:
        """Dead letters by their names (`dead_field`), the oldest first."""
        return dict(sorted(self._hash(self._keys.of("dead", endpoint_id)).items()))

    def dead_count(self, endpoint_id: str) -> int:
        """How many there are."""
        return int(self._ask("HLEN", self._keys.of("dead", endpoint_id)))

    def recent(self, endpoint_id: str) -> list[Sent]:
        """What has arrived lately, the latest first."""
        found = self._ask("LRANGE", self._keys.of("recent", endpoint_id), 0, -1)
        return [msgspec.json.decode(data, type=Sent) for data in found]

    def redrive(self, endpoint_id: str, ids: frozenset[str] | None) -> int:
        """Let dead letters (those with these delivery ids; None: all) be sent again. Returns how many."""
        dead, again = (self._keys.of(name, endpoint_id) for name in ("dead", "redriven"))
        for _ in range(_ATTEMPTS):
            with self._lock:
                wire = self._nodes.of(dead)
                watched, flat = wire.exchange([command(b"WATCH", dead), command(b"HGETALL", dead)])
                _check([watched, flat], "reading dead letters")
                chosen = [
                    (name, data)
                    for name, data in zip(flat[::2], flat[1::2], strict=True)
                    if ids is None or name.decode().partition(":")[2] in ids
                ]
                body = [
                    *(command(b"HSET", again, name, data) for name, data in chosen),
                    *(command(b"HDEL", dead, name) for name, _ in chosen),
                    command(b"INCR", self._keys.version),
                ]
                if _execute(wire, body, "redriving"):
                    return len(chosen)
        raise StoreUnavailable("the dead letters keep changing")

    def redriven(self, endpoint_id: str) -> dict[str, bytes]:
        """What is to be sent again, the oldest first."""
        return dict(sorted(self._hash(self._keys.of("redriven", endpoint_id)).items()))

    # --- lists elsewhere ---------------------------------------------------------------------------------------------

    def ask_to_compare(self, endpoint_id: str) -> None:
        """Let the list be compared as a whole."""
        self._change([command(b"HINCRBY", self._keys.asked, endpoint_id.encode(), b"1")])

    def asked(self, endpoint_id: str) -> int:
        """How often that was asked for."""
        return int(self._ask("HGET", self._keys.asked, endpoint_id) or 0)

    def are_listed(self, endpoint_id: str, users: Sequence[str]) -> list[bool]:
        """Of each user whether it is on the list, as far as was told and taken."""
        if not users:
            return []
        flags = self._ask("SMISMEMBER", self._keys.of("listed", endpoint_id), *users)
        return [bool(flag) for flag in flags]

    def listed_count(self, endpoint_id: str) -> int:
        """How many are on it."""
        return int(self._ask("SCARD", self._keys.of("listed", endpoint_id)))

    def listed_page(self, endpoint_id: str, cursor: int, count: int) -> tuple[list[str], int]:
        """About `count` of them, and the cursor of the next ones; 0 at the end."""
        behind, page = self._ask("SSCAN", self._keys.of("listed", endpoint_id), cursor, "COUNT", count)
        return [user.decode() for user in dict.fromkeys(page)], int(behind)

    # --- for the owner -----------------------------------------------------------------------------------------------

    def claim(self, owner: str, lease_s: float) -> bool:
        """Become the owner, or stay it, for so long. False while another one is."""
        lease = round(lease_s * 1_000)
        if self._ask("SET", self._keys.owner, owner, "NX", "PX", lease) is not None:
            return True
        with self._lock:
            wire = self._watched(owner)
            if wire is None:
                return False
            return _execute(wire, [command(b"PEXPIRE", self._keys.owner, b"%d" % lease)], "keeping the lease")

    def release(self, owner: str) -> None:
        """Another one may become the owner at once."""
        with self._lock:
            wire = self._watched(owner)
            if wire is not None:
                _execute(wire, [command(b"DEL", self._keys.owner)], "giving the lease back")

    def step(self, owner: str, endpoint_id: str, step: Step) -> None:
        """Store all of it, or nothing. Raises Fenced if `owner` does not own the deliveries any more."""
        keys = self._keys
        if step.crowded_out is None:
            step.crowded_out = self._dead_to_drop(endpoint_id, step)
            step.progress.dead_dropped += len(step.crowded_out)
        waiting, dead, recent = (keys.of(name, endpoint_id) for name in ("waiting", "dead", "recent"))
        body = [self._hset(keys.progress, endpoint_id, step.progress)]
        body += [command(b"HSET", waiting, name.encode(), data) for name, data in step.put.items()]
        body += [command(b"HDEL", waiting, name.encode()) for name in step.drop]
        body += [command(b"HSET", dead, name.encode(), data) for name, data in step.dead.items()]
        body += [command(b"HDEL", dead, name.encode()) for name in step.crowded_out]
        body += [command(b"HDEL", keys.of("redriven", endpoint_id), name.encode()) for name in step.redriven]
        for key in (dead, keys.of("redriven", endpoint_id)):
            body += [command(b"HDEL", key, name.encode()) for name in step.forgotten]
        body += [command(b"LREM", recent, b"0", msgspec.json.encode(each)) for each in step.forgotten_sent]
        listed = keys.of("listed", endpoint_id)
        body += [command(b"SADD", listed, user.encode()) for user in step.listed]
        body += [command(b"SREM", listed, user.encode()) for user in step.unlisted]
        if step.recent:
            body.append(command(b"LPUSH", recent, *(msgspec.json.encode(each) for each in step.recent)))
            body.append(command(b"LTRIM", recent, b"0", b"%d" % (RECENT_KEPT - 1)))
        with self._lock:
            wire = self._watched(owner)
            if wire is None or not _execute(wire, body, f"a step of {endpoint_id}"):
                raise Fenced("another process has taken over the deliveries")

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()

    # --- parts -------------------------------------------------------------------------------------------------------

    def _dead_to_drop(self, endpoint_id: str, step: Step) -> list[str]:
        """The oldest dead letters, where there would be too many."""
        if not step.dead or self.dead_count(endpoint_id) + len(step.dead) <= DEAD_KEPT:
            return []
        names = [name.decode() for name in self._ask("HKEYS", self._keys.of("dead", endpoint_id))]
        names = sorted({*names, *step.dead})
        return names[: max(0, len(names) - DEAD_KEPT)]

    def _watched(self, owner: str) -> Wire | None:
        """The line on which the owner is watched, if it is still this one."""
        key = self._keys.owner
        wire = self._nodes.of(key)
        watched, found = wire.exchange([command(b"WATCH", key), command(b"GET", key)])
        _check([watched, found], "looking who owns the deliveries")
        if found == owner.encode():
            return wire
        wire.exchange([command(b"UNWATCH")])
        return None

    def _change(self, commands: Sequence[bytes]) -> None:
        body = [*commands, command(b"INCR", self._keys.version)]
        with self._lock:
            _execute(self._nodes.of(self._keys.version), body, "changing webhooks", is_watching=False)

    def _hset(self, key: bytes, name: str, value: msgspec.Struct) -> bytes:
        return command(b"HSET", key, name.encode(), msgspec.json.encode(value))

    def _hash(self, key: bytes) -> dict[str, bytes]:
        flat = self._ask("HGETALL", key)
        return {name.decode(): data for name, data in zip(flat[::2], flat[1::2], strict=True)}

    def _ask(self, verb: str, key: bytes, *rest: bytes | str | int) -> Any:
        with self._lock:
            return self._nodes.ask(verb, key, *rest)


def _execute(wire: Wire, body: Sequence[bytes], doing: str, *, is_watching: bool = True) -> bool:
    """One transaction; False if what was watched has changed."""
    replies = wire.exchange([command(b"MULTI"), *body, command(b"EXEC")], on_same_line=is_watching)
    _check(replies, doing)
    result = replies[-1]
    if result is not None:
        _check(result, doing)
    return result is not None


def _check(replies: Sequence[Any], doing: str) -> None:
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise refusal(reply, doing) from reply
