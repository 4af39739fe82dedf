"""Campaigns kept in Redis: one transaction per commit, guarded by epoch, owner, generation and commit number.

`docs/redis.md` describes the keys. Those of a partition have one hash tag; grants, which partitions share, have
another, and are changed by scripts that look at the partition's epoch beside them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import inf, isfinite
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from config.errors import Fenced, StoreIncompatible, StoreUnavailable
from streams.adapters.redis_keys import (
    CampaignKeys,
    campaign_keys,
    member_of_queue,
    shared_campaign_keys,
    user_in_queue,
)
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_pack import command, on_members, set_fields, set_scores
from streams.adapters.redis_store import WaitFor
from streams.adapters.redis_wire import Wire, refusal
from streams.campaigns.allowance import Grants
from streams.campaigns.ports import CampaignStore, Claim, Commit, Seen
from streams.campaigns.state import unpack_book

_ATTEMPTS: Final = 100
_OUTBOX_PAGE: Final = 1_000
_ASKED: Final = 1_000
"""Fields in one question, so that none keeps the server long."""
_MULTI: Final = command(b"MULTI")
_EXEC: Final = command(b"EXEC")
_UNWATCH: Final = command(b"UNWATCH")
_TAKEN_OVER: Final = -1

# KEYS: epochs, grant. ARGV: partition, epoch, field. A set-back may have left an earlier epoch: ours takes its place.
_OWNED: Final = """
local epoch = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if epoch > tonumber(ARGV[2]) then return -1 end
if epoch < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
local mine = tonumber(redis.call('HGET', KEYS[2], ARGV[3]) or '0')
"""
# ARGV, further: limit, wanted, until when it is kept (milliseconds; empty: for ever). As `allowance.new_grant`.
_RAISE: Final = (
    _OWNED
    + """
local others = -mine
for _, amount in ipairs(redis.call('HVALS', KEYS[2])) do others = others + tonumber(amount) end
local grant = math.max(mine, math.min(tonumber(ARGV[5]), tonumber(ARGV[4]) - others))
redis.call('HSET', KEYS[2], ARGV[3], string.format('%.0f', grant))
if ARGV[6] == '' then redis.call('PERSIST', KEYS[2]) else redis.call('PEXPIREAT', KEYS[2], ARGV[6]) end
return grant
"""
).encode()
# ARGV, further: amount.
_LOWER: Final = (
    _OWNED
    + """
if tonumber(ARGV[4]) < mine then redis.call('HSET', KEYS[2], ARGV[3], ARGV[4]) end
return 0
"""
).encode()


class RedisCampaigns(CampaignStore):
    """See `CampaignStore`. One thread at a time. Every method may raise other StoreErrors, too."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "tl",
        wait_for: WaitFor | None = None,
        timeout_s: float = 30.0,
        new_generation: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """Connects at the first use. `wait_for`: a commit has come when so many copies have it."""
        self._prefix = prefix
        self._shared = shared_campaign_keys(prefix)
        self._wait_for = wait_for
        self._new_generation = new_generation
        self._seen: dict[int, Seen] = {}
        """Per partition, the last commit that was made here."""
        self._nodes = open_nodes(url, timeout_s=timeout_s)

    # --- owning a partition ------------------------------------------------------------------------------------------

    def claim(self, partition: int, seen: Seen | None = None) -> Claim:
        """See the port. Raises StoreIncompatible for a partition of which a part is missing."""
        keys = self._keys(partition)
        for _ in range(_ATTEMPTS):
            wire = self._nodes.of(keys.meta)
            watched, flat = wire.exchange([command(b"WATCH", keys.meta), command(b"HGETALL", keys.meta)])
            _raise_refusals([watched, flat], f"claiming campaigns of partition {partition}")
            found: dict[bytes, bytes] = dict(_pairs(flat))
            self._refuse_parts(wire, keys, found)
            number, generation = int(found.get(b"commit", b"0")), found.get(b"generation", b"").decode()
            known = [each for each in (seen, self._seen.get(partition)) if each is not None]
            went_back = any(each.generation == generation and number < each.number for each in known)
            if not generation or went_back:
                generation = self._new_generation()
            epoch, owner = int(found.get(b"epoch", b"0")) + 1, secrets.token_hex(8)
            fields = [b"epoch", b"%d" % epoch, b"owner", owner.encode(), b"generation", generation.encode()]
            if self._execute(wire, [command(b"HSET", keys.meta, *fields)], "claiming campaigns") is not None:
                # From here on nobody who owned it before gives a grant back or asks for one.
                self._nodes.ask("HSET", self._shared.epochs, str(partition), epoch)
                return Claim(partition, epoch, number, generation, found.get(b"position"), owner)
        raise StoreUnavailable(f"campaigns of partition {partition} keep being claimed by others")

    def _refuse_parts(self, wire: Wire, keys: CampaignKeys, found: Mapping[bytes, bytes]) -> None:
        what = None
        if b"damaged" in found:
            what = found[b"damaged"].decode()
        elif not found:
            names = (keys.rows, keys.profiles, keys.due, keys.queued, keys.books, keys.outbox)
            (left,) = wire.exchange([command(b"EXISTS", *names)], on_same_line=True)
            _raise_refusals([left], "claiming campaigns")
            what = f"keys below {keys.base.decode()} exist without {keys.meta.decode()}" if left else None
        if what is not None:
            wire.exchange([_UNWATCH])
            raise StoreIncompatible(f"campaigns are not whole: {what}. Put back a whole copy, or delete these keys.")

    # --- what is stored ----------------------------------------------------------------------------------------------

    def state(self, claim: Claim) -> bytes | None:
        found: bytes | None = self._nodes.ask("HGET", self._keys(claim.partition).meta, "state")
        return found

    def books(self, claim: Claim) -> Mapping[str, bytes]:
        flat = self._nodes.ask("HGETALL", self._keys(claim.partition).books)
        return {name.decode(): data for name, data in _pairs(flat)}

    def rows(self, claim: Claim, users: Iterable[str]) -> Mapping[str, bytes]:
        return self._fields(self._keys(claim.partition).rows, users)

    def profiles(self, claim: Claim, users: Iterable[str]) -> Mapping[str, bytes]:
        return self._fields(self._keys(claim.partition).profiles, users)

    def due(self, claim: Claim, until_s: float, limit: int) -> list[str]:
        key = self._keys(claim.partition).due
        until = repr(until_s) if isfinite(until_s) else "+inf" if until_s > 0.0 else "-inf"
        return [user.decode() for user in self._nodes.ask("ZRANGEBYSCORE", key, "-inf", until, "LIMIT", 0, limit)]

    def queued(self, claim: Claim, queue: str, limit: int) -> list[str]:
        members = self._nodes.ask("ZRANGE", self._keys(claim.partition).queue(queue), 0, limit - 1)
        return [user_in_queue(member.decode()) for member in members] if limit > 0 else []

    def queues(self, claim: Claim, names: Iterable[str]) -> list[str]:
        keys, asked = self._keys(claim.partition), list(names)
        questions = [command(b"EXISTS", keys.queue(name)) for name in asked]
        replies = self._nodes.of(keys.meta).exchange(questions) if questions else []
        _raise_refusals(replies, "looking for queues of campaigns")
        return [name for name, is_there in zip(asked, replies, strict=True) if is_there]

    def outbox(self, claim: Claim) -> list[tuple[int, bytes]]:
        key, start, found = self._keys(claim.partition).outbox, "-", list[tuple[int, bytes]]()
        while page := self._nodes.ask("XRANGE", key, start, "+", "COUNT", _OUTBOX_PAGE):
            found += [(int(place.partition(b"-")[0]), fields[1]) for place, fields in page]
            start = f"({page[-1][0].decode()}"
        return found

    def hours(self, campaigns: Sequence[str]) -> dict[str, list[Mapping[int, int]]]:
        found: dict[str, list[Mapping[int, int]]] = {id_: [] for id_ in campaigns}
        partitions = sorted(int(each) for each in self._nodes.ask("HKEYS", self._shared.epochs)) if campaigns else []
        for each in partitions:
            for id_, data in self._fields(self._keys(each).books, campaigns).items():
                found[id_].append(unpack_book(data).hours)
        return found

    # --- for channels, which own no partition ------------------------------------------------------------------------

    def tell_read(self, partition: int, read_s: float) -> None:
        """What the log of events held up to this time (seconds since 1970 UTC) is in rows and profiles.

        Whoever says so is right, also one that has lost the partition meanwhile.
        """
        self._nodes.ask("SET", self._keys(partition).read, repr(read_s))

    def told_read(self, partition: int) -> tuple[float, bytes | None]:
        """That time (minus infinity before it was told), and the position of the last commit."""
        keys = self._keys(partition)
        read_s = self._nodes.ask("GET", keys.read)
        return -inf if read_s is None else float(read_s), self._nodes.ask("HGET", keys.meta, "position")

    def profiles_of(self, partition: int, users: Iterable[str]) -> Mapping[str, bytes]:
        """As `profiles`, of a partition that others own."""
        return self._fields(self._keys(partition).profiles, users)

    def versions_in_use(self) -> dict[str, set[int]]:
        """Campaign or journey -> versions that users of any partition are in; with nobody in it, an empty set."""
        found: dict[str, set[int]] = {}
        for each in self._nodes.ask("HKEYS", self._shared.epochs):
            for name, data in _pairs(self._nodes.ask("HGETALL", self._keys(int(each)).books)):
                book = unpack_book(data)
                found.setdefault(name.decode(), set()).update(book.inside, book.open)
        return found

    def close(self) -> None:
        """Give the connections back."""
        self._nodes.close()

    # --- the commit --------------------------------------------------------------------------------------------------

    def commit(self, claim: Claim, commit: Commit) -> None:
        keys, doing = self._keys(claim.partition), f"commit {commit.number} of campaigns"
        users = [*commit.rows, *commit.rows_removed]
        wire = self._nodes.of(keys.meta)
        number, places = self._watch(wire, claim, keys, users)
        if number == commit.number:
            wire.exchange([_UNWATCH])
            self._wait_again(wire, keys, commit.number)  # the reply was lost, or that of the copies
        elif number != commit.number - 1:
            wire.exchange([_UNWATCH])
            raise Fenced(f"campaigns of partition {claim.partition}: commit {commit.number} after {number}")
        else:
            body = [*_removals(keys, commit), *_additions(keys, commit), *_queues(keys, commit, places)]
            results = self._execute(wire, [*body, _meta(keys, commit)], doing, waits=True)
            if results is None:
                raise Fenced(f"campaigns of partition {claim.partition} were taken over during {doing}")
            _refuse_half(wire, keys, results)
        self._seen[claim.partition] = Seen(claim.generation, commit.number)

    def trim(self, claim: Claim, number: int) -> None:
        keys = self._keys(claim.partition)
        wire = self._nodes.of(keys.meta)
        self._watch(wire, claim, keys, ())
        trim = command(b"XTRIM", keys.outbox, b"MINID", b"=", b"%d-0" % (number + 1))
        if self._execute(wire, [trim], "trimming the outbox of campaigns") is None:
            raise Fenced(f"campaigns of partition {claim.partition} were taken over")

    def grants(self, claim: Claim) -> Grants:
        return _RedisGrants(self, claim)

    # --- parts -------------------------------------------------------------------------------------------------------

    def run_script(self, claim: Claim, script: bytes, resource: str, *more: bytes) -> int:
        """A change of a grant of the claim's partition. Raises Fenced."""
        key = self._shared.grant(resource)
        mine = f"{claim.partition}:{claim.generation}".encode()
        words = (b"%d" % claim.partition, b"%d" % claim.epoch, mine, *more)
        (found,) = self._nodes.of(key).exchange([command(b"EVAL", script, b"2", self._shared.epochs, key, *words)])
        _raise_refusals([found], f"changing the grant of {resource}")
        if found == _TAKEN_OVER:
            raise Fenced(f"campaigns of partition {claim.partition} have another owner")
        return int(found)

    def _keys(self, partition: int) -> CampaignKeys:
        return campaign_keys(self._prefix, partition)

    def _fields(self, key: bytes, users: Iterable[str]) -> dict[str, bytes]:
        names = list(dict.fromkeys(users))
        questions = _questions(key, names)
        replies = self._nodes.of(key).exchange(questions) if questions else []
        _raise_refusals(replies, f"reading {key.decode()}")
        found = [data for reply in replies for data in reply]
        return {user: data for user, data in zip(names, found, strict=True) if data is not None}

    def _watch(
        self, wire: Wire, claim: Claim, keys: CampaignKeys, users: Sequence[str]
    ) -> tuple[int, Mapping[str, Sequence[str]]]:
        """Watch what a write stands on: the last commit's number, and queues in which users stand. Raises Fenced."""
        names = (b"commit", b"epoch", b"owner", b"generation")
        asked = [_UNWATCH, command(b"WATCH", keys.meta), command(b"HMGET", keys.meta, *names)]
        replies = wire.exchange([*asked, *_questions(keys.queued, users)])
        _raise_refusals(replies, "opening a commit of campaigns")
        number, *fence = replies[2]
        if fence != [b"%d" % claim.epoch, claim.owner.encode(), claim.generation.encode()]:
            wire.exchange([_UNWATCH])
            raise Fenced(f"campaigns of partition {claim.partition} have another owner")
        stored = [data for reply in replies[3:] for data in reply]
        places = {user: data for user, data in zip(users, stored, strict=True) if data is not None}
        return int(number or 0), {user: msgspec.msgpack.decode(data) for user, data in places.items()}

    def _execute(self, wire: Wire, body: Sequence[bytes], doing: str, *, waits: bool = False) -> list[Any] | None:
        """One transaction behind WATCH: its replies; None if somebody else wrote to what is watched."""
        wait = [self._wait_for.command()] if waits and self._wait_for is not None else []
        replies = wire.exchange([_MULTI, *body, _EXEC, *wait], on_same_line=True)
        result: list[Any] | None = replies[1 + len(body)]
        _raise_refusals([*replies[: 1 + len(body)], result], doing)
        if wait and result is not None and self._wait_for is not None:
            self._wait_for.check(replies[-1])
        return result

    def _wait_again(self, wire: Wire, keys: CampaignKeys, number: int) -> None:
        """WAIT counts from the last write of its own connection, so this one has to write first."""
        if self._wait_for is None:
            return
        mark = command(b"SET", keys.wait, b"%d" % number)
        written, reply = wire.exchange([mark, self._wait_for.command()])
        _raise_refusals([written], "waiting for copies of a commit of campaigns")
        self._wait_for.check(reply)


class _RedisGrants:
    """See `allowance.Grants`."""

    def __init__(self, store: RedisCampaigns, claim: Claim) -> None:
        self._store = store
        self._claim = claim

    def raise_to(self, resource: str, limit: int, wanted: int, until_s: float) -> int:
        until = b"%d" % round(until_s * 1_000.0) if until_s != inf else b""
        return self._store.run_script(self._claim, _RAISE, resource, b"%d" % limit, b"%d" % wanted, until)

    def lower_to(self, resource: str, amount: int) -> None:
        self._store.run_script(self._claim, _LOWER, resource, b"%d" % amount)


# --- commands of a commit --------------------------------------------------------------------------------------------


def _removals(keys: CampaignKeys, commit: Commit) -> Iterator[bytes]:
    never = [user for user, (_, due) in commit.rows.items() if due.next_s == inf]
    yield from on_members(b"HDEL", keys.rows, commit.rows_removed)
    yield from on_members(b"ZREM", keys.due, [*commit.rows_removed, *never])
    yield from on_members(b"HDEL", keys.profiles, commit.profiles_removed)
    yield from on_members(b"HDEL", keys.books, commit.books_removed)


def _additions(keys: CampaignKeys, commit: Commit) -> Iterator[bytes]:
    yield from set_fields(keys.rows, [(user, data) for user, (data, _) in commit.rows.items()])
    yield from set_scores(keys.due, [(user, due.next_s) for user, (_, due) in commit.rows.items() if due.next_s != inf])
    yield from set_fields(keys.profiles, list(commit.profiles.items()))
    yield from set_fields(keys.books, list(commit.books.items()))
    for index, data in enumerate(commit.outbox):
        yield command(b"XADD", keys.outbox, b"%d-%d" % (commit.number, index), b"d", data)


def _queues(keys: CampaignKeys, commit: Commit, places: Mapping[str, Sequence[str]]) -> Iterator[bytes]:
    """Users leave the queues in which they stood, and stand in those of their new rows."""
    left: dict[str, list[str]] = {}
    for user, campaigns in places.items():
        for campaign in campaigns:
            left.setdefault(campaign, []).append(member_of_queue(campaign, user))
    joined: dict[str, list[tuple[str, float]]] = {}
    named: list[tuple[str, bytes]] = []
    for user, (_, due) in commit.rows.items():
        for campaign, since_s in due.queued.items():
            joined.setdefault(campaign, []).append((member_of_queue(campaign, user), since_s))
        if due.queued:
            named.append((user, msgspec.msgpack.encode(list(due.queued))))
    for campaign, members in left.items():
        yield from on_members(b"ZREM", keys.queue(campaign), members)
    for campaign, ranked in joined.items():
        yield from set_scores(keys.queue(campaign), ranked)
    yield from on_members(b"HDEL", keys.queued, list(places))
    yield from set_fields(keys.queued, named)


def _meta(keys: CampaignKeys, commit: Commit) -> bytes:
    fields = (b"commit", b"%d" % commit.number, b"position", commit.position, b"state", commit.state)
    return command(b"HSET", keys.meta, *fields)


def _questions(key: bytes, users: Sequence[str]) -> list[bytes]:
    pieces = (users[first : first + _ASKED] for first in range(0, len(users), _ASKED))
    return [each for piece in pieces for each in on_members(b"HMGET", key, piece)]


def _refuse_half(wire: Wire, keys: CampaignKeys, results: Sequence[Any]) -> None:
    """A command that fails inside EXEC does not undo the others: such a partition must never be used again."""
    failed = [result for result in results if isinstance(result, ResponseError)]
    if failed:
        with suppress(StoreUnavailable):  # what follows is said in any case
            wire.ask("HSET", keys.meta, "damaged", f"a commit was stored in part: {failed[0]}")
        raise StoreIncompatible(f"the server stored a commit of campaigns only in part ({failed[0]})")


def _raise_refusals(replies: Sequence[Any], doing: str) -> None:
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise refusal(reply, doing) from reply


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
