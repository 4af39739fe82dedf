"""What channels of campaigns have taken in, in Redis. `docs/redis.md` describes the keys.

One process owns all channels, under a lease; each step of a channel (how far it has read, what waits, which ids it
knows) is one transaction that only the owner can make. What is stored of a delivery is the channel's own business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from redis.exceptions import ResponseError

from config.errors import Fenced, StoreUnavailable
from streams.adapters.redis_keys import desk_keys
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_pack import command, on_members, set_fields, set_scores
from streams.adapters.redis_wire import Wire, refusal

ENDED_KEPT: Final = 1_000
"""So many of a channel's dead and of its unknown deliveries are kept, the latest."""
_ASKED: Final = 1_000
_ATTEMPTS: Final = 20

Ended = Literal["dead", "unknown"]


@dataclass(slots=True)
class DeskStep:
    """One atomic step of a channel. Making it twice is the same as making it once."""

    taken: bytes
    put: Mapping[str, bytes] = field(default_factory=dict)
    """Delivery id -> what waits."""
    drop: Sequence[str] = ()
    ids: Mapping[str, float] = field(default_factory=dict)
    """Message id -> until when it is kept (seconds since 1970 UTC)."""
    ended: Mapping[Ended, Mapping[str, bytes]] = field(default_factory=dict)
    """Kind -> name -> delivery; names sort by age (`redis_deliveries.dead_field`)."""
    ended_drop: Mapping[Ended, Sequence[str]] = field(default_factory=dict)
    """Kind -> names."""
    asked_drop: Sequence[str] = ()
    """Names of what people had asked for, and what waits from now on."""


class RedisDesks:
    """May be used by several threads. Every method raises StoreUnavailable, and other StoreErrors."""

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 5.0) -> None:
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        self._lock = threading.Lock()
        self._keys = desk_keys(prefix)

    # --- owning ------------------------------------------------------------------------------------------------------

    def claim(self, owner: str, lease_s: float) -> bool:
        """Become the owner, or stay it, for so long. False while another one is."""
        lease = round(lease_s * 1_000)
        with self._lock:
            if self._nodes.ask("SET", self._keys.owner, owner, "NX", "PX", lease) is not None:
                return True
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

    # --- what is stored ----------------------------------------------------------------------------------------------

    def taken(self, channel: str) -> bytes | None:
        """How far the channel is; None if it has never taken anything in."""
        found: bytes | None = self._ask("HGET", self._keys.taken, channel)
        return found

    def waiting(self, channel: str) -> list[bytes]:
        """What waits, in no order."""
        return list(self._ask("HVALS", self._keys.of("waiting", channel)))

    def known(self, channel: str, ids: Collection[str], now_s: float) -> set[str]:
        """Which of these were taken in, and are kept still."""
        names, found = list(dict.fromkeys(ids)), set[str]()
        for first in range(0, len(names), _ASKED):
            some = names[first : first + _ASKED]
            until = self._ask("ZMSCORE", self._keys.of("ids", channel), *some)
            found |= {name for name, at_s in zip(some, until, strict=True) if at_s is not None and float(at_s) > now_s}
        return found

    def ended(self, channel: str, kind: Ended) -> dict[str, bytes]:
        """Deliveries that were given up, or of which nobody knows whether they arrived, by their names."""
        flat = self._ask("HGETALL", self._keys.of(kind, channel))
        return dict(sorted((name.decode(), data) for name, data in zip(flat[::2], flat[1::2], strict=True)))

    def waiting_count(self, channel: str) -> int:
        """How many wait, those among them that people have asked for."""
        return sum(int(self._ask("HLEN", self._keys.of(name, channel))) for name in ("waiting", "asked"))

    def counted(self, channel: str, kind: Ended) -> int:
        """How many there are of them."""
        return int(self._ask("HLEN", self._keys.of(kind, channel)))

    def asked(self, channel: str) -> dict[str, bytes]:
        """What people want sent (again), by its names, the oldest first."""
        flat = self._ask("HGETALL", self._keys.of("asked", channel))
        return dict(sorted((name.decode(), data) for name, data in zip(flat[::2], flat[1::2], strict=True)))

    # --- for people --------------------------------------------------------------------------------------------------

    def version(self) -> int:
        """Another number after everything that people have asked for or changed."""
        return int(self._ask("GET", self._keys.version) or 0)

    def ask(self, channel: str, name: str, delivery: bytes) -> None:
        """Let the owner of the channels send this. Asking twice under one name is the same as asking once."""
        body = [command(b"HSET", self._keys.of("asked", channel), name.encode(), delivery)]
        with self._lock:
            wire = self._nodes.of(self._keys.version)
            _execute(wire, [*body, command(b"INCR", self._keys.version)], "asking a channel to send")

    def redrive(self, channel: str, kind: Ended, renewed: Callable[[str, bytes], bytes | None]) -> int:
        """Let ended deliveries be sent again: those of which `renewed`, asked for name and delivery, makes what is to
        be sent. Returns how many. Raises StoreUnavailable also where they keep changing.
        """
        ended, again = self._keys.of(kind, channel), self._keys.of("asked", channel)
        for _ in range(_ATTEMPTS):
            with self._lock:
                wire = self._nodes.of(ended)
                watched, flat = wire.exchange([command(b"WATCH", ended), command(b"HGETALL", ended)])
                _check([watched, flat], "reading what was not delivered")
                pairs = ((name, renewed(name.decode(), data)) for name, data in zip(flat[::2], flat[1::2], strict=True))
                chosen = [(name, data) for name, data in pairs if data is not None]
                body = [
                    *(command(b"HSET", again, name, data) for name, data in chosen),
                    *(command(b"HDEL", ended, name) for name, _ in chosen),
                    command(b"INCR", self._keys.version),
                ]
                if _execute(wire, body, "redriving"):
                    return len(chosen)
        raise StoreUnavailable(f"what channel {channel} has not delivered keeps changing")

    # --- for the owner -----------------------------------------------------------------------------------------------

    def step(self, owner: str, channel: str, step: DeskStep, now_s: float) -> None:
        """Store all of it, or nothing; ids that are not kept any more go. Raises Fenced for who is not the owner."""
        keys = self._keys
        waiting, ids = keys.of("waiting", channel), keys.of("ids", channel)
        body = [
            command(b"HSET", keys.taken, channel.encode(), step.taken),
            *on_members(b"HDEL", waiting, step.drop),
            *on_members(b"HDEL", keys.of("asked", channel), step.asked_drop),
            *set_fields(waiting, list(step.put.items())),
            *set_scores(ids, list(step.ids.items())),
        ]
        if step.ids:
            body.append(command(b"ZREMRANGEBYSCORE", ids, b"-inf", repr(now_s).encode()))
        with self._lock:
            for kind, names in self._ended_drop(channel, step).items():
                body += on_members(b"HDEL", keys.of(kind, channel), names)
            for kind, found in step.ended.items():
                body += set_fields(keys.of(kind, channel), list(found.items()))
            wire = self._watched(owner)
            if wire is None or not _execute(wire, body, f"a step of channel {channel}"):
                raise Fenced("another process has taken over the channels of campaigns")

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._nodes.close()

    # --- parts -------------------------------------------------------------------------------------------------------

    def _ended_drop(self, channel: str, step: DeskStep) -> dict[Ended, list[str]]:
        """What is to go, and the oldest where there would be too many."""
        found: dict[Ended, list[str]] = {kind: list(names) for kind, names in step.ended_drop.items()}
        for kind, more in step.ended.items():
            gone = set(found.get(kind, ()))
            names = {name.decode() for name in self._nodes.ask("HKEYS", self._keys.of(kind, channel))} - gone
            names = names | set(more)
            too_many = sorted(names)[: max(0, len(names) - ENDED_KEPT)]
            found[kind] = [*gone, *(name for name in too_many if name not in more)]
        return found

    def _watched(self, owner: str) -> Wire | None:
        """The line on which the owner is watched, if it is still this one."""
        key = self._keys.owner
        wire = self._nodes.of(key)
        watched, found = wire.exchange([command(b"WATCH", key), command(b"GET", key)])
        _check([watched, found], "looking who owns the channels")
        if found == owner.encode():
            return wire
        wire.exchange([command(b"UNWATCH")])
        return None

    def _ask(self, verb: str, key: bytes, *rest: bytes | str | int) -> Any:
        with self._lock:
            return self._nodes.ask(verb, key, *rest)


def _execute(wire: Wire, body: Sequence[bytes], doing: str) -> bool:
    """One transaction behind WATCH; False if what was watched has changed."""
    replies = wire.exchange([command(b"MULTI"), *body, command(b"EXEC")], on_same_line=True)
    _check(replies, doing)
    if replies[-1] is not None:
        _check(replies[-1], doing)
    return replies[-1] is not None


def _check(replies: Sequence[Any], doing: str) -> None:
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise refusal(reply, doing) from reply
