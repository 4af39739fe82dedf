"""One partition of campaigns on its real store: what its run works on, opened and closed together."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from typing import Final

import msgspec

from models.snapshot import ModelCodec
from streams.adapters.redis_campaigns import RedisCampaigns
from streams.adapters.redis_marks import RedisMarks
from streams.adapters.redis_reader import RedisReader
from streams.adapters.redis_store import WaitFor
from streams.campaigns.ports import Seen
from streams.commit import Patience
from streams.runtime.campaigns.listening import Shard
from streams.runtime.campaigns.partition_run import CampaignRun, Defined, Outlet, Ports, Recommender
from streams.runtime.campaigns.shard_facts import StoredShardFacts
from streams.runtime.campaigns.two_logs import Log, OwnLog, ShardAt, TwoLogs
from streams.runtime.records import Position
from streams.runtime.traces import Traces


class _Head(msgspec.Struct):
    id: str


_HEAD: Final = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class Where:
    """The store of the service."""

    url: str
    prefix: str
    ledger_key: bytes = b""
    """The secret under which shards remember deleted users."""
    wait_for: WaitFor | None = None
    codec: ModelCodec | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What a run needs beside store and logs."""

    outlet: Outlet
    patience: Patience
    defined: Callable[[], Defined]
    tell: Callable[[Seen], None]
    recommender: Recommender
    traces: Traces | None = None
    look: Callable[[], object] = lambda: None
    """See `partition_run.Ports`."""


class OpenedPartition:
    """Its `run`, for one thread. Connects at the first use; the logs are the caller's."""

    def __init__(
        self,
        where: Where,
        shard: Shard,
        events: Log,
        transitions: Log,
        around: Around,
        past: Callable[[], OwnLog],
    ) -> None:
        """`past` opens the log of events once more."""
        self._closing = ExitStack()
        self._marks = RedisMarks(where.url, prefix=where.prefix)
        self._shard = shard
        self._told_read_s = -inf
        self._store = store = RedisCampaigns(where.url, prefix=where.prefix, wait_for=where.wait_for)
        facts = StoredShardFacts(
            lambda: RedisReader(where.url, prefix=where.prefix),
            shard.number,
            clock=time.monotonic,
            ledger_key=where.ledger_key,
            codec=where.codec,
        )
        for each in (self._marks, store, facts):
            self._closing.callback(each.close)
        ports = Ports(
            store=store,
            logs=TwoLogs(events, transitions, self._at),
            past=past,
            facts=facts,
            outlet=around.outlet,
            patience=around.patience,
            defined=around.defined,
            look=around.look,
            recommender=around.recommender,
            tell=around.tell,
            traces=around.traces,
        )
        self.run = CampaignRun(ports, shard)
        self._closing.callback(self.run.drop)

    def tell_read(self) -> None:
        """Let channels know how far the partition is. Raises StoreUnavailable."""
        if self.run.read_s > self._told_read_s:
            self._store.tell_read(self._shard.number, self.run.read_s)
            self._told_read_s = self.run.read_s

    def close(self) -> None:
        """Give the connections back."""
        self._closing.close()

    def _at(self) -> ShardAt:
        mark = self._marks.mark(self._shard.number)
        pending = None if mark.pending is None else _HEAD.decode(mark.pending).id
        return ShardAt(Position.from_bytes(mark.position).offset, pending)
