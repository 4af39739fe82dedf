"""Read access to what shards have stored in Redis, for the command line, the API and people's own programs.

Reads only, takes no claim, and may be used while shards write: every shard is consistent as of one of its
commits per command, not over several commands. `docs/redis.md` describes the keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgspec

from config.errors import StoreIncompatible
from config.store_address import hide_password
from streams.adapters.redis_keys import LEARNERS, ShardKeys, shard_keys, store_meta
from streams.adapters.redis_nodes import Nodes, open_nodes
from streams.adapters.redis_traces import scanned_keys, times_in
from streams.core.ledger import ledger_name
from streams.core.partition import shard_of
from streams.ports import FORMAT

_SCAN_COUNT = 1_000
_STREAM_PAGE = 100
"""A dead letter has up to 16 KiB, so a page has at most some megabytes."""


class Score(msgspec.Struct, frozen=True):
    """What people see of one prediction for one user: score 0 to 100; the likelihood is None while it warms up."""

    score: float | None = None
    likelihood: float | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What the store was made for."""

    shards: int
    catalog: str
    input: str | None
    predictions: tuple[str, ...]
    segments: tuple[str, ...]
    ledger: str = ""
    """The mark of the secret under which deleted users are remembered; "" where that is not known yet."""


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """Where a shard stands. `number` is its last commit."""

    shard: int
    epoch: int
    number: int
    generation: str
    users: int


@dataclass(frozen=True, slots=True)
class UserView:
    """What is stored of a user; `known` is False for one that no shard has seen."""

    user: str
    shard: int
    known: bool
    scores: dict[str, Score]
    """prediction -> score; a prediction whose audience the user is not in is left out."""
    segments: tuple[str, ...]
    remembered: bytes | None


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """A transition or a dead letter. `entry_id` orders the entries of a shard."""

    shard: int
    entry_id: str
    data: bytes


class StaleScan(Exception):
    """A place in a scan that the server which would go on did not give. The scan has to begin anew."""


@dataclass(frozen=True, slots=True)
class ScanPlace:
    """Where a scan of a segment's members goes on. The beginning is shard 0."""

    shard: int = 0
    cursor: int = 0
    """The server's own; 0 is the beginning of a shard."""
    server: str = ""
    """Which start of which server gave it: to another one it means nothing."""


def holds_store(url: str, *, prefix: str = "tl", timeout_s: float = 10.0) -> bool:
    """Whether there is a store below the prefix, of any format. Raises StoreUnavailable when there is no answer."""
    with closing(open_nodes(url, timeout_s=timeout_s)) as nodes:
        return bool(nodes.ask("EXISTS", store_meta(prefix)))


class RedisReader:
    """One thread at a time. Every method raises StoreUnavailable when the server does not answer."""

    def __init__(self, url: str, *, prefix: str = "tl", timeout_s: float = 10.0) -> None:
        """Raises StoreIncompatible if there is no store of this format below the prefix."""
        self._prefix = prefix
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        try:
            self.info = _store_info(self._nodes, url, prefix)
        except BaseException:
            self._nodes.close()
            raise
        self._keys = [shard_keys(prefix, shard) for shard in range(self.info.shards)]
        self._place = url, prefix, timeout_s

    def learners(self) -> RedisReader | None:
        """A reader of the learners of the same service, to be closed by the caller; None where a run learns itself."""
        url, prefix, timeout_s = self._place
        if not holds_store(url, prefix=prefix + LEARNERS, timeout_s=timeout_s):
            return None
        return RedisReader(url, prefix=prefix + LEARNERS, timeout_s=timeout_s)

    def deletion(self, user: str, key: bytes) -> bytes | None:
        """What the ledger knows of a deleted user (`streams.core.ledger.Deleted`); `key`: the ledger's secret.

        Raises StoreIncompatible for another secret than the one of the store, under which nobody would be known.
        """
        self._refuse_other_ledger(key)
        keys = self._keys[shard_of(user, self.info.shards)]
        found: bytes | None = self._nodes.ask("HGET", keys.deleted, ledger_name(key, user))
        return found

    def deletions(self, users: Sequence[str], key: bytes) -> list[bytes | None]:
        """`deletion` of several users in order. StoreIncompatible also without a secret where one is used."""
        if self.info.ledger and not key:
            raise StoreIncompatible("who was deleted cannot be asked without TIDELINE_DELETION_KEY; set it here, too")
        self._refuse_other_ledger(key)
        return self._fields(lambda keys: keys.deleted, users, lambda user: ledger_name(key, user))

    def _refuse_other_ledger(self, key: bytes) -> None:
        if key and self.info.ledger and self.info.ledger != ledger_name(key, ""):
            words = "it remembers deleted users under another TIDELINE_DELETION_KEY; set the first one"
            raise StoreIncompatible(f"the store cannot be asked who was deleted: {words}")

    def traces(self, user: str) -> list[str]:
        """Keys that hold the user, each with how often, of all that this Tideline has in the store.

        Looks at every key: fields and members by their names, entries of streams, what is waiting and what was read of
        the past by what they say.
        """
        found: list[str] = []
        for wire in self._nodes.primaries():
            for key in scanned_keys(wire, self._prefix):
                times = times_in(wire, self._nodes, key, user)
                if times:
                    found.append(f"{key.decode()}: {times}")
        return sorted(found)

    def user(self, user: str) -> UserView:
        """Everything about one user."""
        shard = shard_of(user, self.info.shards)
        keys = self._keys[shard]
        scores = {name: self._nodes.ask("HGET", keys.scores(name), user) for name in self.info.predictions}
        return UserView(
            user=user,
            shard=shard,
            known=bool(self._nodes.ask("HEXISTS", keys.rows, user)),
            scores={name: msgspec.json.decode(data, type=Score) for name, data in scores.items() if data is not None},
            segments=tuple(
                name for name in self.info.segments if self._nodes.ask("SISMEMBER", keys.members(name), user)
            ),
            remembered=self._nodes.ask("HGET", keys.remember, user),
        )

    def row(self, user: str) -> bytes | None:
        """The user's row as its shard stored it."""
        keys = self._keys[shard_of(user, self.info.shards)]
        row: bytes | None = self._nodes.ask("HGET", keys.rows, user)
        return row

    def rows(self, users: Sequence[str]) -> list[bytes | None]:
        """The rows of users, in the same order; None for one that nobody has seen."""
        return self._fields(lambda keys: keys.rows, users)

    def remembered(self, users: Sequence[str]) -> list[bytes | None]:
        """Remembered properties of users as stored, in the same order; None for who has none."""
        return self._fields(lambda keys: keys.remember, users)

    def each_row(self, shard: int) -> Iterator[list[tuple[str, bytes]]]:
        """All users of a shard with their rows, in pages and no order; a user may come twice while others come.

        Raises StoreUnavailable when the line to the server is lost on the way: begin anew.
        """
        for flat in self._scan_hash(self._keys[shard].rows):
            yield [(user.decode(), row) for user, row in zip(flat[::2], flat[1::2], strict=True)]

    def ids_like(self, shard: int, pattern: str) -> Iterator[list[str]]:
        """Users of a shard whose ids match a glob pattern, in pages that may be empty; else as `each_row`."""
        for flat in self._scan_hash(self._keys[shard].rows, "MATCH", pattern):
            yield [user.decode() for user in flat[::2]]

    def scores(self, prediction: str, users: Sequence[str]) -> list[Score | None]:
        """The scores of users, in the same order; None for one who is not in the audience."""
        found = self._fields(lambda keys: keys.scores(prediction), users)
        return [None if data is None else msgspec.json.decode(data, type=Score) for data in found]

    def members(self, segment: str) -> Iterator[str]:
        """The users in a segment, in no order; those who enter or leave while this runs may be missed or included."""
        for keys in self._keys:
            cursor = b"0"
            seen: set[bytes] = set()  # a scan may give a member twice
            wire = self._nodes.of(keys.members(segment))  # a cursor means something to the server that gave it
            while True:
                cursor, page = wire.ask("SSCAN", keys.members(segment), cursor, "COUNT", _SCAN_COUNT)
                fresh = set(page) - seen
                seen |= fresh
                yield from (member.decode() for member in fresh)
                if cursor == b"0":
                    break

    def members_page(self, segment: str, place: ScanPlace, count: int) -> tuple[list[str], ScanPlace | None]:
        """About `count` members from a place on, and the place behind them; None at the end.

        Who is in the segment all the time is in one of the pages; one may be in two of them, and a page may be empty.
        Raises StaleScan where the place means nothing any more: another server answers than the one that gave it.
        """
        keys = self._keys[place.shard].members(segment)
        wire = self._nodes.of(keys)
        server = _run_id(wire.ask("INFO", "server"))
        if place.cursor and place.server != server:
            raise StaleScan(f"{wire.name} did not give this place in a scan")
        cursor, page = wire.ask("SSCAN", keys, place.cursor, "COUNT", count)
        users = [member.decode() for member in dict.fromkeys(page)]
        if cursor != b"0":
            return users, ScanPlace(place.shard, int(cursor), server)
        return users, ScanPlace(place.shard + 1) if place.shard + 1 < self.info.shards else None

    def are_members(self, segment: str, users: Sequence[str]) -> list[bool]:
        """Of each user whether it is in the segment now."""
        found: dict[str, bool] = {}
        by_shard: dict[int, list[str]] = {}
        for user in users:
            by_shard.setdefault(shard_of(user, self.info.shards), []).append(user)
        for shard, some in by_shard.items():
            key = self._keys[shard].members(segment)
            flags = self._nodes.ask("SMISMEMBER", key, *(user.encode() for user in some))
            found |= {user: bool(flag) for user, flag in zip(some, flags, strict=True)}
        return [found[user] for user in users]

    def member_count(self, segment: str) -> int:
        return sum(self._nodes.ask("SCARD", keys.members(segment)) for keys in self._keys)

    def by_score(
        self, prediction: str, *, low: float = 0.0, high: float = math.inf, limit: int = 100
    ) -> list[tuple[str, float]]:
        """The users with low <= score < high, highest first, at most `limit`. The index follows whole points."""
        found: list[tuple[str, float]] = []
        for keys in self._keys:
            bounds = ("+inf" if math.isinf(high) else f"({high!r}", repr(low), "BYSCORE", "REV", "LIMIT", 0, limit)
            flat = self._nodes.ask("ZRANGE", keys.index(prediction), *bounds, "WITHSCORES")
            found += [(user.decode(), float(score)) for user, score in zip(flat[::2], flat[1::2], strict=True)]
        found.sort(key=lambda pair: (-pair[1], pair[0]))
        return found[:limit]

    def score_count(self, prediction: str, *, low: float = 0.0, high: float = math.inf) -> int:
        """How many users have low <= score < high."""
        bounds = (repr(low), "+inf" if math.isinf(high) else f"({high!r}")
        return sum(self._nodes.ask("ZCOUNT", keys.index(prediction), *bounds) for keys in self._keys)

    def transitions(self, limit: int = 100) -> list[StreamEntry]:
        """The latest transitions that the store still has, newest first within each shard."""
        return [entry for shard in range(self.info.shards) for entry in self._latest(shard, "outbox", limit)]

    def shard_transitions(self, shard: int, limit: int) -> list[StreamEntry]:
        """The same of one shard."""
        return self._latest(shard, "outbox", limit)

    def dead_letters(self, limit: int = 100) -> list[StreamEntry]:
        """The latest dead letters, newest first within each shard."""
        return [entry for shard in range(self.info.shards) for entry in self._latest(shard, "dead", limit)]

    def each_dead_letter(self, shard: int) -> Iterator[StreamEntry]:
        """All dead letters of a shard that the store has, newest first; read a page at a time."""
        last = "+"
        while True:
            page = self._page(shard, "dead", last, _STREAM_PAGE)
            yield from page
            if len(page) < _STREAM_PAGE:
                return
            last = f"({page[-1].entry_id}"

    def dead_letter(self, shard: int, entry_id: str) -> StreamEntry | None:
        """One dead letter; None where the store does not have it (any more)."""
        page = self._nodes.ask("XRANGE", self._keys[shard].dead, entry_id, entry_id)
        return StreamEntry(shard, page[0][0].decode(), page[0][1][1]) if page else None

    def dead_letters_before(self, shard: int, entry_id: str | None, limit: int) -> list[StreamEntry]:
        """Dead letters of a shard, newest first, older than an entry; from the newest on for None."""
        return self._page(shard, "dead", "+" if entry_id is None else f"({entry_id}", limit)

    def dead_letters_from(self, shard: int, entry_id: str, limit: int) -> list[StreamEntry]:
        """Dead letters of a shard, oldest first, from an entry on; `0-0` is before all."""
        page = self._nodes.ask("XRANGE", self._keys[shard].dead, entry_id, "+", "COUNT", limit)
        return [StreamEntry(shard, found.decode(), fields[1]) for found, fields in page]

    def dead_letters_kept(self, shard: int) -> int:
        """How many dead letters of one shard the store has."""
        found: int = self._nodes.ask("XLEN", self._keys[shard].dead)
        return found

    def position(self, shard: int) -> bytes | None:
        """Where a shard stands in its input, as the runtime writes it; None before the first commit."""
        found: bytes | None = self._nodes.ask("HGET", self._keys[shard].meta, "position")
        return found

    def dead_letter_count(self) -> int:
        return sum(self._nodes.ask("XLEN", keys.dead) for keys in self._keys)

    def shard_infos(self) -> list[ShardInfo]:
        return [self.shard_info(shard) for shard in range(self.info.shards)]

    def blobs(self, shard: int) -> dict[str, bytes]:
        """All named parts of a shard's state, as of one commit; empty before the first one."""
        flat: list[bytes] = self._nodes.ask("HGETALL", self._keys[shard].state)
        return {name.decode(): data for name, data in zip(flat[::2], flat[1::2], strict=True)}

    def blob(self, shard: int, name: str) -> bytes | None:
        """One named part of a shard's state."""
        blob: bytes | None = self._nodes.ask("HGET", self._keys[shard].state, name)
        return blob

    def appended(self, shard: int, name: str) -> bytes | None:
        """One part of what grows by appending (`pending:12`); None where it is not there any more."""
        part: bytes | None = self._nodes.ask("GET", self._keys[shard].appended(name))
        return part

    def close(self) -> None:
        self._nodes.close()

    def _fields(
        self,
        key: Callable[[ShardKeys], bytes],
        users: Sequence[str],
        name: Callable[[str], str | bytes] = lambda user: user,
    ) -> list[bytes | None]:
        """The fields of users in a hash that every shard has, in a command per shard."""
        places: dict[int, list[int]] = {}
        for place, user in enumerate(users):
            places.setdefault(shard_of(user, self.info.shards), []).append(place)
        found: list[bytes | None] = [None] * len(users)
        for shard, of_shard in places.items():
            values = self._nodes.ask("HMGET", key(self._keys[shard]), *(name(users[place]) for place in of_shard))
            for place, value in zip(of_shard, values, strict=True):
                found[place] = value
        return found

    def _scan_hash(self, key: bytes, *options: str) -> Iterator[list[bytes]]:
        cursor, wire = b"0", self._nodes.of(key)  # a cursor means something to the server that gave it
        while True:
            cursor, flat = wire.ask("HSCAN", key, cursor, *options, "COUNT", _SCAN_COUNT)
            yield flat
            if cursor == b"0":
                return

    def shard_info(self, shard: int) -> ShardInfo:
        """Where one shard stands."""
        keys = self._keys[shard]
        fields = _dictionary(self._nodes.ask("HGETALL", keys.meta))
        return ShardInfo(
            shard=shard,
            epoch=int(fields.get("epoch", "0")),
            number=int(fields.get("commit", "0")),
            generation=fields.get("generation", ""),
            users=self._nodes.ask("HLEN", keys.rows),
        )

    def _latest(self, shard: int, stream: str, limit: int) -> list[StreamEntry]:
        return self._page(shard, stream, "+", limit)

    def _page(self, shard: int, stream: str, last: str, limit: int) -> list[StreamEntry]:
        key = self._keys[shard].outbox if stream == "outbox" else self._keys[shard].dead
        page = self._nodes.ask("XREVRANGE", key, last, "-", "COUNT", limit)
        return [StreamEntry(shard, entry_id.decode(), fields[1]) for entry_id, fields in page]


def _store_info(nodes: Nodes, url: str, prefix: str) -> StoreInfo:
    """Raises StoreIncompatible if there is no store of this format below the prefix."""
    fields = _dictionary(nodes.ask("HGETALL", store_meta(prefix)))
    if not fields:
        raise StoreIncompatible(f"{hide_password(url)} holds no store of Tideline with the key prefix {prefix!r}")
    if fields.get("format") != str(FORMAT):
        raise StoreIncompatible(
            f"the store has format {fields.get('format')}; this Tideline reads {FORMAT}. Use the version that made "
            "it, or begin anew (--fresh)."
        )
    return StoreInfo(
        shards=int(fields["shards"]),
        catalog=fields["catalog"],
        input=fields["input"] or None,
        predictions=tuple(fields["predictions"].split()),
        segments=tuple(fields["segments"].split()),
        ledger=fields.get("ledger", ""),
    )


def _run_id(info: bytes) -> str:
    """Which start of a server this is, from its answer to INFO."""
    found = re.search(rb"^run_id:(\w+)", info, re.MULTILINE)
    return "" if found is None else found[1].decode()


def _dictionary(flat: list[Any]) -> dict[str, str]:
    # The position of an input is bytes of the runtime's own choice; nothing here shows it.
    texts = [item.decode(errors="replace") for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))
