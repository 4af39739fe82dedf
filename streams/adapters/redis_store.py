"""The store in Redis or Valkey: one transaction per commit, guarded by epoch, generation and commit number."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from redis.exceptions import ResponseError

from config.errors import Fenced, StoreIncompatible, StoreUnavailable
from streams.adapters.redis_keys import ShardKeys, shard_keys, store_meta
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_pack import command, on_members, set_fields, set_scores
from streams.adapters.redis_server import inspect_all, keeps_all, promise, weakest
from streams.adapters.redis_wire import Wire, refusal
from streams.commit import Patience, patiently
from streams.core.dead_letters import Named
from streams.ports import (
    Claim,
    CommitBatch,
    Identity,
    Loaded,
    Message,
    OutboxEntry,
    append_order,
    check_batch,
    outbox_entries,
)

_SCAN_COUNT = 500
_OUTBOX_PAGE = 1_000
_CLAIM_ATTEMPTS = 100

_MULTI = command(b"MULTI")
_EXEC = command(b"EXEC")
_UNWATCH = command(b"UNWATCH")
_LOG = logging.getLogger(__name__)
_FILE = b"catalog_file"
"""The field of the identity that says where the catalog is; of the start that wrote the digest."""
_PARTS = b"parts"
"""The field of `ShardKeys.staging` that counts the parts; no key has this name."""
_OTHER_STORE = "Use another store or key prefix, or start with what it was made for."
_OTHER_FILE = "Start all with one file, or use another key prefix."
_OTHER_KEY = (
    "These are marks of TIDELINE_DELETION_KEY, under which deleted users are remembered: set the first one, or put its "
    "file deletion.key back. It cannot be changed: under another one nobody who was deleted is known again."
)
_ADVICE = {b"catalog": _OTHER_FILE, b"ledger": _OTHER_KEY}
_REPLACING = b"replacing"
"""The field that marks an identity while another one takes its place."""


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Hold a commit back until this many replicas have it: in memory (WAIT), or on disk, as well as here (WAITAOF).

    `replicas=0, on_disk=True` waits for the server's own disk alone, under `appendfsync everysec` up to a second.
    """

    replicas: int
    on_disk: bool = True
    timeout_s: float = 5.0

    def command(self) -> bytes:
        milliseconds = b"%d" % round(self.timeout_s * 1000)
        if self.on_disk:
            return command(b"WAITAOF", b"1", b"%d" % self.replicas, milliseconds)
        return command(b"WAIT", b"%d" % self.replicas, milliseconds)

    def check(self, reply: Any) -> None:
        """Raises StoreUnavailable if the reply tells of fewer copies than asked for."""
        if isinstance(reply, ResponseError):
            raise refusal(reply, "waiting for copies of a commit")
        reached = tuple(reply) if self.on_disk else (1, reply)
        if reached[0] < 1 or reached[1] < self.replicas:
            raise StoreUnavailable(
                f"after {self.timeout_s:g} s the commit is on {reached[1]} of {self.replicas} replicas"
                + ("" if reached[0] else " and not on the server's own disk")
                + "; connect replicas, or wait for fewer (TIDELINE_WAIT_REPLICAS)"
            )


@dataclass(frozen=True, slots=True)
class _Guard:
    """What is watched on a line: nobody has used the line since, the claim held, and `number` was the last commit."""

    wire: Wire
    exchanges: int
    claim: Claim
    number: int


class RedisStore:
    """A `Store` in Redis 7, Valkey 8 or later. One thread at a time; the key layout is in `docs/redis.md`."""

    def __init__(
        self,
        url: str,
        *,
        patience: Patience,
        prefix: str = "tl",
        dead_letters: int = 10_000,
        outbox_keep: int = 0,
        wait_for: WaitFor | None = None,
        timeout_s: float = 30.0,
        part: str = "shard",
    ) -> None:
        """Connect and look at the server, waiting as `patience` says while it starts or loads.

        `dead_letters`: bound of the stream of dead letters of a shard.
        `outbox_keep`: how many published transitions stay in a shard's outbox stream for its readers.
        `timeout_s`: how long one reply may take.
        `part`: what errors call a shard; in the store of learners each is one of them.

        Raises StoreUnavailable, and StoreIncompatible for a server that cannot be used as it is.
        """
        self._meta_key = store_meta(prefix)
        self._prefix = prefix
        self._dead_letters = dead_letters
        self._outbox_keep = outbox_keep
        self._wait_for = wait_for
        self._part = part
        self._made_for: tuple[int, Identity] | None = None
        self._guard: _Guard | None = None
        self._nodes = open_nodes(url, timeout_s=timeout_s)
        try:
            servers = patiently(patience, lambda: inspect_all(self._nodes))
            if wait_for is not None and wait_for.on_disk:
                for facts in servers:
                    facts.refuse_waiting_for_disk()
        except BaseException:
            self._nodes.close()
            raise
        self.replicas = min(facts.replicas for facts in servers)
        """How many were connected at the start, to every server that has keys."""
        waited_for = weakest(servers), wait_for.replicas if wait_for else 0
        self.keeps_all = keeps_all(*waited_for)
        """Whether no commit that was acknowledged can be forgotten (`promises` says why not)."""
        self._promise = promise(*waited_for)

    # --- taking a shard --------------------------------------------------------------------------------------------

    def prepare(self, shards: int, identity: Identity) -> None:
        self._put_identity(shards, identity, replace=True)
        self._made_for = (shards, identity)

    def _put_identity(self, shards: int, identity: Identity, *, replace: bool) -> None:
        """Compare what the store was made for, or write it down.

        `replace`: another identity may take the place of one below which nothing was ever committed.
        """
        wanted, names = _identity_fields(shards, identity)
        for _ in range(_CLAIM_ATTEMPTS):
            meta = self._nodes.of(self._meta_key)
            found = _watch_all(meta, self._meta_key)
            if found == {**found, **wanted, **names} and _REPLACING not in found:
                meta.exchange([_UNWATCH])
                return
            names |= _file_field(found, identity)
            differing = _differences(found, wanted) if found else []
            if not differing and _REPLACING not in found:
                if _write_watched(meta, self._meta_key, {**wanted, **names}):
                    return
                continue
            if replace and identity.goes_on and differing == [b"catalog"] and _REPLACING not in found:
                if _write_watched(meta, self._meta_key, {**wanted, **names}):
                    self._tell_of_another_file(found, identity)
                    return
                continue
            if differing and (not replace or b"format" in differing):
                self._refuse_identity(meta, found, wanted, differing, identity.file)
            if not replace:
                raise StoreUnavailable(f"{self._meta_key.decode()} is being replaced by another start")
            mark, is_free = self._fence_all(meta, found)
            if not self._end_replacing(meta, mark, {**wanted, **names} if is_free else {}):
                continue
            if is_free:
                return
            if differing:
                self._refuse_identity(meta, found, wanted, differing, identity.file)
        raise StoreUnavailable(f"{self._meta_key.decode()} keeps changing: do many processes start at once?")

    def _fence_all(self, meta: Wire, found: dict[bytes, bytes]) -> tuple[bytes, bool]:
        """Fence every claim that was taken for the identity that was found, and is watched: (mark, whether all could).

        Shards may be on other servers than the identity, so replacing it is no single step. A mark comes first: whoever
        claims looks at the identity again after the claim, and does not have it beside a mark. Then the claims that
        there are are fenced, each shard by itself. The new identity takes the place of the mark, if it is still ours.
        Where this ends halfway, the next start takes the mark over.
        """
        mark = secrets.token_hex(8).encode()
        if not _write_watched(meta, self._meta_key, {_REPLACING: mark}):
            return mark, False
        metas = [self._keys(shard).meta for shard in range(_integer(found, b"shards"))]
        return mark, all(self._fence_uncommitted(key) for key in metas)

    def _end_replacing(self, meta: Wire, mark: bytes, fields: dict[bytes, bytes]) -> bool:
        """Write the fields in the place of the mark; False if it is not there any more."""
        if _watch_all(meta, self._meta_key).get(_REPLACING) != mark:
            meta.exchange([_UNWATCH])
            return False
        return _write_watched(meta, self._meta_key, fields, [command(b"HDEL", self._meta_key, _REPLACING)])

    def _fence_uncommitted(self, key: bytes) -> bool:
        """Fence whoever has claimed the shard of which this is the meta key; False if it has a commit."""
        wire = self._nodes.of(key)
        for _ in range(_CLAIM_ATTEMPTS):
            found = _watch_all(wire, key)
            if b"commit" in found or b"damaged" in found:
                wire.exchange([_UNWATCH])
                return False
            if b"epoch" not in found:
                wire.exchange([_UNWATCH])
                return True
            # Without its generation the shard takes the one that follows from the new identity.
            epoch = {b"epoch": b"%d" % (_integer(found, b"epoch") + 1)}
            if _write_watched(wire, key, epoch, [command(b"HDEL", key, b"generation")]):
                return True
        raise StoreUnavailable(f"{key.decode()} keeps being claimed by others")

    def claim(self, shard: int, *, new_generation: str, last_number: int | None = None) -> Claim:
        if self._made_for is None or not 0 <= shard < self._made_for[0]:
            raise StoreIncompatible(f"{self._part} {shard} is not one of those that this store was prepared for")
        shards, identity = self._made_for
        self._put_identity(shards, identity, replace=False)  # a store that was emptied meanwhile is noticed here
        keys = self._keys(shard)
        for _ in range(_CLAIM_ATTEMPTS):
            wire = self._nodes.of(keys.meta)
            found = _watch_all(wire, keys.meta)
            if not found:
                _refuse_leftovers(wire, keys)
            if b"damaged" in found:
                raise StoreIncompatible(
                    f"{self._part} {shard} is not whole: {found[b'damaged'].decode()}. Rebuild the store."
                )
            number = _integer(found, b"commit")
            generation = found.get(b"generation", b"").decode()
            if not generation or (last_number is not None and number < last_number):
                generation = new_generation
            epoch, owner = _integer(found, b"epoch") + 1, secrets.token_hex(8)
            fields = {b"epoch": b"%d" % epoch, b"owner": owner.encode(), b"generation": generation.encode()}
            if _write_watched(wire, keys.meta, fields):
                # Once more: whoever replaced the identity after the first look did not see this claim to fence it.
                self._put_identity(shards, identity, replace=False)
                return Claim(shard, epoch, number, generation, found.get(b"position"), owner)
        raise StoreUnavailable(f"{self._part} {shard} keeps being claimed by others")

    def load(self, claim: Claim) -> Loaded:
        keys = self._keys(claim.shard)
        self._clear_staged(claim, keys)
        flat = self._nodes.ask("HGETALL", keys.state)
        published = self._nodes.ask("HGET", keys.meta, "published")
        return Loaded(
            blobs={name.decode(): blob for name, blob in _pairs(flat)},
            outbox=self._outbox_after(keys, int(published or 0)),
            messages=self._messages_after(keys, int(published or 0)),
            rows=self._checked_rows(claim, keys),
            appended=self._appended(keys),
            remembered=self._scan(keys.remember),
            deleted=self._scan(keys.deleted),
        )

    # --- the commit ------------------------------------------------------------------------------------------------

    def commit(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
        check_batch(batch)
        keys = self._keys(claim.shard)
        body = [*self._erasures(keys, batch), *self._body(keys, batch, trim)]
        wire = self._nodes.of(keys.meta)
        if batch.replaces is not None:
            body = [*self._replacing(wire, claim, keys, batch), *body]
        elif self._guard != _Guard(wire, wire.exchanges, claim, batch.number - 1) or not wire.is_connected:
            self._watch(wire, claim, keys, batch.number - 1)
        self._guard = None
        wait = [] if self._wait_for is None else [self._wait_for.command()]
        # What the next commit stands on is watched with this one, which saves it a round trip.
        next_watch = [command(b"WATCH", keys.meta, keys.staging), _fence_fields(keys)]
        replies = wire.exchange([_MULTI, *body, _EXEC, *wait, *next_watch], on_same_line=True)
        result = replies[1 + len(body)]
        _raise_refusals([*replies[: 1 + len(body)], result], f"commit {batch.number} of {self._part} {claim.shard}")
        if result is None:
            self._watch(wire, claim, keys, batch.number - 1)  # says by whom
            raise Fenced(f"{self._part} {claim.shard} was taken over during commit {batch.number}")
        _refuse_half(wire, keys, result)
        if self._wait_for is not None:
            self._wait_for.check(replies[2 + len(body)])
        if replies[-1] == _fence(claim, batch.number):
            self._guard = _Guard(wire, wire.exchanges, claim, batch.number)

    def _watch(self, wire: Wire, claim: Claim, keys: ShardKeys, number: int, *more: bytes) -> list[Any]:
        """Watch what a write stands on; the replies to `more`.

        Raises Fenced unless the claim holds and `number` is the last commit.
        """
        # What was watched for a commit that did not come may have changed; that concerns nobody any more.
        watch = [_UNWATCH, command(b"WATCH", keys.meta, keys.staging), _fence_fields(keys)]
        replies = wire.exchange([*watch, *more])
        _raise_refusals(replies, "opening a commit")
        if replies[2] != _fence(claim, number):
            wire.exchange([_UNWATCH])
            raise _fenced(self._part, claim, number, replies[2])
        return replies[3:]

    def stage(self, claim: Claim, batch: CommitBatch, part: int) -> None:
        check_batch(batch)
        keys = self._keys(claim.shard)
        wire = self._nodes.of(keys.meta)
        (parts,) = self._watch(wire, claim, keys, batch.number - 1, command(b"HGET", keys.staging, _PARTS))
        found = int(parts or 0)
        if found != part - 1:
            wire.exchange([_UNWATCH])
            if found == part:
                return
            raise Fenced(f"{self._part} {claim.shard}: {found} parts are put aside, and part {part} was given")
        names = [(keys.staged.suffix(key), b"1") for key in _added(keys.staged, batch)]
        fields = [text for pair in [*names, (_PARTS, b"%d" % part)] for text in pair]
        body = [*_additions(keys.staged, batch), command(b"HSET", keys.staging, *fields)]
        replies = wire.exchange([_MULTI, *body, _EXEC], on_same_line=True)
        _raise_refusals(replies, f"putting a part of {self._part} {claim.shard} aside")
        if replies[-1] is None:
            raise Fenced(f"{self._part} {claim.shard} was taken over while its state was replaced")

    def _replacing(self, wire: Wire, claim: Claim, keys: ShardKeys, batch: CommitBatch) -> list[bytes]:
        """The commands that put what was put aside in the place of the state; all that they stand on is watched."""
        assert batch.replaces is not None
        replaced = batch.replaces
        questions = command(b"HGETALL", keys.staging), command(b"SMEMBERS", keys.appended_names)
        flat, appended = self._watch(wire, claim, keys, batch.number - 1, *questions)
        staging = dict(_pairs(flat))
        parts, names = int(staging.pop(_PARTS, b"0")), list(staging)
        there = 0
        if names:
            question = command(b"EXISTS", *(keys.staged.base + name for name in names))
            (there,) = wire.exchange([question], on_same_line=True)
            _raise_refusals([there], "opening a commit")
        if parts != replaced.parts or there != len(names):
            wire.exchange([_UNWATCH])
            raise Fenced(
                f"{self._part} {claim.shard}: {parts} parts are put aside in {there} of {len(names)} keys, "
                f"and {replaced.parts} are expected"
            )
        old = [keys.rows, keys.remember, keys.state, keys.appended_names, keys.staging]
        old += [key(name) for name in replaced.predictions for key in (keys.scores, keys.index)]
        old += [keys.members(name) for name in replaced.segments]
        old += [keys.base + name for name in appended]
        moves = [command(b"RENAME", keys.staged.base + name, keys.base + name) for name in names]
        return [command(b"UNLINK", *old), *moves]

    def _clear_staged(self, claim: Claim, keys: ShardKeys) -> None:
        """Delete what a stop has left aside. Raises Fenced: it may be the next owner's by now."""
        wire = self._nodes.of(keys.meta)
        (found,) = self._watch(wire, claim, keys, claim.number, command(b"HKEYS", keys.staging))
        if not found:
            wire.exchange([_UNWATCH])
            return
        names = [name for name in found if name != _PARTS]
        gone = command(b"UNLINK", keys.staging, *(keys.staged.base + name for name in names))
        replies = wire.exchange([_MULTI, gone, _EXEC], on_same_line=True)
        _raise_refusals(replies, f"loading {self._part} {claim.shard}")
        if replies[-1] is None:
            raise Fenced(f"{self._part} {claim.shard} was taken over while it was loaded")

    def confirm(self, claim: Claim, number: int) -> bool:
        keys = self._keys(claim.shard)
        wire = self._nodes.of(keys.meta)
        (stored,) = wire.exchange([_fence_fields(keys)])
        _raise_refusals([stored], "confirming a commit")
        if stored == _fence(claim, number - 1):
            return False
        if stored != _fence(claim, number):
            raise _fenced(self._part, claim, number, stored)
        if self._wait_for is not None:
            # WAIT counts from the last write of its own connection, so a new connection has to write first.
            mark = command(b"SET", keys.wait, b"%d" % number)
            written, reply = wire.exchange([mark, self._wait_for.command()])
            _raise_refusals([written], "waiting for copies of a commit")
            self._wait_for.check(reply)
        return True

    def peek(self, shard: int, name: str) -> bytes | None:
        keys = self._keys(shard)
        # In this order: a first commit in between brings both.
        if self._nodes.ask("HGET", keys.meta, "commit") is None:
            return None
        found: bytes | None = self._nodes.ask("HGET", keys.state, name)
        return found or b""

    def promises(self) -> str:
        return self._promise

    def close(self) -> None:
        self._nodes.close()

    # --- parts of the commit ---------------------------------------------------------------------------------------

    def _body(self, keys: ShardKeys, batch: CommitBatch, trim: int | None) -> list[bytes]:
        """What stands between MULTI and EXEC."""
        meta = [(b"commit", b"%d" % batch.number), (b"position", batch.position)]
        if trim is not None:
            meta.append((b"published", b"%d" % trim))
        return [
            *_removals(keys, batch),
            *_additions(keys, batch),
            *self._streams(keys, batch, trim),
            command(b"HSET", keys.meta, *[text for pair in meta for text in pair]),
        ]

    def _erasures(self, keys: ShardKeys, batch: CommitBatch) -> Iterator[bytes]:
        """Dead letters about deleted users go. Only the owner of the shard writes others, so none comes meanwhile."""
        letters = self._stream_after(keys.dead, -1) if batch.deleted_users else ()
        named = Named(batch.deleted_users, batch.id_fields)
        gone = [place.decode() for place, fields in letters if named.in_letter(fields[1])]
        yield from on_members(b"XDEL", keys.dead, gone)

    def _streams(self, keys: ShardKeys, batch: CommitBatch, trim: int | None) -> Iterator[bytes]:
        for entry_id, data in outbox_entries(batch):
            yield command(b"XADD", keys.outbox, entry_id.encode(), b"d", data)
        if trim is not None and self._outbox_keep == 0:
            yield command(b"XTRIM", keys.outbox, b"MINID", b"=", b"%d-0" % (trim + 1))
        elif trim == batch.number - 1:  # all but this batch's are published, so the oldest may go by count
            longest = self._outbox_keep + len(batch.outbox)
            yield command(b"XTRIM", keys.outbox, b"MAXLEN", b"=", b"%d" % longest)
        for index, message in enumerate(batch.messages):
            fields = (b"t", message.topic.encode(), b"k", message.key.encode(), b"d", message.data)
            yield command(b"XADD", keys.messages, b"%d-%d" % (batch.number, index), *fields)
        if trim is not None:
            yield command(b"XTRIM", keys.messages, b"MINID", b"=", b"%d-0" % (trim + 1))
        for index, data in enumerate(batch.dead_letters):
            yield command(b"XADD", keys.dead, b"%d-%d" % (batch.number, index), b"d", data)
        if batch.dead_letters:
            yield command(b"XTRIM", keys.dead, b"MAXLEN", b"=", b"%d" % self._dead_letters)

    # --- parts of claiming and loading -----------------------------------------------------------------------------

    def _keys(self, shard: int) -> ShardKeys:
        return shard_keys(self._prefix, shard)

    def _tell_of_another_file(self, found: dict[bytes, bytes], identity: Identity) -> None:
        """Whoever works with the file of before has to hear of it here: their own end comes later."""
        if self._part == "learner" or not identity.file:
            return  # learners have an identity of their own, which changes with that of the shards
        before = _file_of(found)
        known = "it was edited, or another one stood there" if before == identity.file else f"the last one was {before}"
        _LOG.warning(
            "The catalog of %s is in force from now on, and is another one than that of the last start (%s). Workers "
            "that still run with that one end as soon as they are to take a partition over: start all with this file",
            identity.file,
            known,
        )

    def _refuse_identity(
        self,
        meta: Wire,
        found: dict[bytes, bytes],
        wanted: dict[bytes, bytes],
        differing: list[bytes],
        file: str,
    ) -> NoReturn:
        meta.exchange([_UNWATCH])
        if differing == [b"catalog"] and file:
            raise StoreIncompatible(
                f"another worker was started later, with another catalog: {_file_of(found)}. That one is in force, and "
                f"this worker has {file}. {_OTHER_FILE}"
            )
        if differing == [b"shards"]:
            before = found.get(b"shards", b"").decode()
            raise StoreIncompatible(
                f"{self._meta_key.decode()} says the store was made for {before} partitions of the events (shards), "
                f"not {wanted[b'shards'].decode()}. Users would change theirs, so that is for ever: set "
                f"TIDELINE_SHARDS={before} where that is the right topic. {_OTHER_STORE}"
            )
        words = [
            f"{name.decode()} {found.get(name, b'').decode() or 'none'}, not {wanted[name].decode() or 'none'}"
            for name in differing
        ]
        advice = _ADVICE.get(differing[0], _OTHER_STORE) if len(differing) == 1 else _OTHER_STORE
        raise StoreIncompatible(f"{self._meta_key.decode()} says the store was made for {'; '.join(words)}. {advice}")

    def _check_claim(self, claim: Claim) -> None:
        """Raises Fenced if the claim does not hold any more."""
        keys = self._keys(claim.shard)
        (stored,) = self._nodes.of(keys.meta).exchange([_fence_fields(keys)])
        _raise_refusals([stored], "checking a claim")
        if stored != _fence(claim, claim.number):
            raise _fenced(self._part, claim, claim.number, stored)

    def _outbox_after(self, keys: ShardKeys, published: int) -> list[OutboxEntry]:
        return [(entry_id.decode(), fields[1]) for entry_id, fields in self._stream_after(keys.outbox, published)]

    def _messages_after(self, keys: ShardKeys, published: int) -> list[Message]:
        entries = self._stream_after(keys.messages, published)
        return [Message(fields[1].decode(), fields[3].decode(), fields[5]) for _, fields in entries]

    def _stream_after(self, key: bytes, number: int) -> Iterator[tuple[bytes, list[bytes]]]:
        """Entries of commits after `number`: id, and names and values in turn."""
        start = f"{number + 1}-0"
        while True:
            page = self._nodes.ask("XRANGE", key, start, "+", "COUNT", _OUTBOX_PAGE)
            yield from page
            if len(page) < _OUTBOX_PAGE:
                return
            start = f"({page[-1][0].decode()}"

    def _checked_rows(self, claim: Claim, keys: ShardKeys) -> Iterator[list[tuple[str, bytes]]]:
        yield from self._scan(keys.rows)
        self._check_claim(claim)

    def _scan(self, key: bytes) -> Iterator[list[tuple[str, bytes]]]:
        wire = self._nodes.of(key)
        cursor, cuts = b"0", wire.cuts
        while True:
            cursor, flat = wire.ask("HSCAN", key, cursor, "COUNT", _SCAN_COUNT)
            if wire.cuts != cuts:
                # Another process may have answered (a restart, a failover), to which the cursor means something else.
                raise StoreUnavailable(f"{wire.name}: the connection was lost while {key.decode()} was read")
            if flat:
                yield [(user.decode(), value) for user, value in _pairs(flat)]
            if cursor == b"0":
                return

    def _appended(self, keys: ShardKeys) -> Iterator[tuple[str, bytes]]:
        names = (name.decode() for name in self._nodes.ask("SMEMBERS", keys.appended_names))
        for name in sorted(names, key=append_order):
            data = self._nodes.ask("GET", keys.appended(name))
            if data is None:
                raise StoreIncompatible(f"{keys.appended(name).decode()} is missing: something removed a part of it")
            yield name, data


def _watch_all(wire: Wire, key: bytes) -> dict[bytes, bytes]:
    """WATCH a hash and read all of it."""
    replies = wire.exchange([_UNWATCH, command(b"WATCH", key), command(b"HGETALL", key)])
    _raise_refusals(replies, f"reading {key.decode()}")
    return dict(_pairs(replies[2]))


def _write_watched(wire: Wire, key: bytes, fields: dict[bytes, bytes], more: Sequence[bytes] = ()) -> bool:
    """Write to the watched hash, with `more` commands; False if somebody else wrote to what is watched since."""
    write = [command(b"HSET", key, *[text for pair in fields.items() for text in pair])] if fields else []
    replies = wire.exchange([_MULTI, *write, *more, _EXEC], on_same_line=True)
    _raise_refusals(replies, f"writing {key.decode()}")
    return replies[-1] is not None


def _refuse_leftovers(wire: Wire, keys: ShardKeys) -> None:
    """A shard without meta has no keys at all; otherwise a commit would mix with something else's data."""
    names = [keys.state, keys.rows, keys.remember, keys.deleted, keys.outbox, keys.messages, keys.dead]
    names += [keys.appended_names, keys.staging]
    if wire.ask("EXISTS", *names):
        wire.exchange([_UNWATCH])
        raise StoreIncompatible(
            f"keys below {keys.base.decode()} exist but {keys.meta.decode()} does not: "
            "something removed a part of this store. Choose another prefix, or delete these keys."
        )


def _refuse_half(wire: Wire, keys: ShardKeys, results: Sequence[Any]) -> None:
    """A command that fails inside EXEC does not undo the others: such a shard must never be used again."""
    failed = [result for result in results if isinstance(result, ResponseError)]
    if failed:
        with suppress(StoreUnavailable):  # what follows is said in any case
            wire.ask("HSET", keys.meta, "damaged", f"a commit was stored in part: {failed[0]}")
        raise StoreIncompatible(f"the server stored a commit only in part ({failed[0]}). Rebuild the store.")


def _file_of(found: dict[bytes, bytes]) -> str:
    """Where the catalog of a store is, as far as its last start has said so."""
    return found.get(_FILE, b"").decode() or f"one with the digest {found.get(b'catalog', b'').decode()}"


def _file_field(found: dict[bytes, bytes], identity: Identity) -> dict[bytes, bytes]:
    """What is written beside a digest that was not there before."""
    return {} if found.get(b"catalog") == identity.catalog.encode() else {_FILE: identity.file.encode()}


def _identity_fields(shards: int, identity: Identity) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """What must be the same at every start, and what is only written down for readers."""
    compared = {
        b"format": str(identity.format).encode(),
        b"shards": str(shards).encode(),
        b"catalog": identity.catalog.encode(),
        b"input": (identity.input or "").encode(),
    }
    if identity.ledger:
        compared[b"ledger"] = identity.ledger.encode()
    names = {
        b"predictions": " ".join(identity.predictions).encode(),
        b"segments": " ".join(identity.segments).encode(),
    }
    return compared, names


def _differences(found: dict[bytes, bytes], wanted: dict[bytes, bytes]) -> list[bytes]:
    """Where no secret was known yet, any will do."""
    return [
        name
        for name, value in wanted.items()
        if found.get(name, b"") != value and not (name == b"ledger" and name not in found)
    ]


def _removals(keys: ShardKeys, batch: CommitBatch) -> Iterator[bytes]:
    if batch.drops:
        yield command(b"UNLINK", *[keys.appended(name) for name in batch.drops])
        yield from on_members(b"SREM", keys.appended_names, batch.drops)
    yield from on_members(b"HDEL", keys.rows, batch.removed_users)
    forgotten = [user for user, properties in batch.remembered if properties is None]
    yield from on_members(b"HDEL", keys.remember, batch.removed_users + forgotten)
    yield from on_members(b"HDEL", keys.deleted, [name for name, data in batch.deleted if data is None])
    for prediction, users in batch.scores_removed.items():
        yield from on_members(b"HDEL", keys.scores(prediction), users)
    for prediction, users in batch.index_removed.items():
        yield from on_members(b"ZREM", keys.index(prediction), users)
    for segment, users in batch.members_removed.items():
        yield from on_members(b"SREM", keys.members(segment), users)


def _additions(keys: ShardKeys, batch: CommitBatch) -> Iterator[bytes]:
    yield from set_fields(keys.rows, batch.rows)
    yield from set_fields(keys.remember, [(user, data) for user, data in batch.remembered if data is not None])
    yield from set_fields(keys.deleted, [(name, data) for name, data in batch.deleted if data is not None])
    for prediction, scores in batch.scores.items():
        yield from set_fields(keys.scores(prediction), scores)
    for prediction, ranks in batch.index.items():
        yield from set_scores(keys.index(prediction), ranks)
    for segment, users in batch.members_added.items():
        yield from on_members(b"SADD", keys.members(segment), users)
    for name, data in batch.appends:
        yield command(b"APPEND", keys.appended(name), data)
    yield from on_members(b"SADD", keys.appended_names, list(dict.fromkeys(name for name, _ in batch.appends)))
    yield from set_fields(keys.state, list(batch.blobs.items()))


def _added(keys: ShardKeys, batch: CommitBatch) -> list[bytes]:
    """The keys that `_additions` writes to."""
    found = [keys.rows] if batch.rows else []
    found += [keys.remember] if any(data is not None for _, data in batch.remembered) else []
    found += [keys.scores(prediction) for prediction, scores in batch.scores.items() if scores]
    found += [keys.index(prediction) for prediction, ranks in batch.index.items() if ranks]
    found += [keys.members(segment) for segment, users in batch.members_added.items() if users]
    found += [keys.appended(name) for name, _ in batch.appends] + ([keys.appended_names] if batch.appends else [])
    return found + ([keys.state] if batch.blobs else [])


def _fence_fields(keys: ShardKeys) -> bytes:
    return command(b"HMGET", keys.meta, b"epoch", b"commit", b"generation", b"owner")


def _fence(claim: Claim, number: int) -> list[bytes | None]:
    """What `_fence_fields` answers when `number` is the last commit and the claim holds."""
    return [b"%d" % claim.epoch, b"%d" % number if number else None, claim.generation.encode(), claim.owner.encode()]


def _fenced(part: str, claim: Claim, number: int, stored: Sequence[bytes | None]) -> Fenced:
    epoch, commit, generation, owner = [value.decode() if value else "none" for value in stored]
    other = "" if owner == claim.owner else " by another claim"
    return Fenced(
        f"{part} {claim.shard}: expected epoch {claim.epoch} of generation {claim.generation} after commit {number}, "
        f"found epoch {epoch} of generation {generation} after commit {commit}{other}"
    )


def _raise_refusals(replies: Sequence[Any], doing: str) -> None:
    """Raises the first refusal among the replies: it, not the EXECABORT at the end, says why."""
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise refusal(reply, doing) from reply


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _integer(fields: dict[bytes, bytes], name: bytes) -> int:
    text = fields.get(name, b"0")
    if not text.isdigit():
        raise StoreIncompatible(f"{name.decode()} is {text!r} instead of a whole number: this is no store of ours")
    return int(text)
