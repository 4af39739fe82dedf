"""An app with a log and keys in memory, and a clock that stands still."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
from fastapi import FastAPI
from fastapi.dependencies import models as dependencies

from config.errors import BrokerUnavailable, StoreUnavailable
from streams.adapters.campaign_definitions import CampaignDefinitions, memory_campaign_definitions
from streams.adapters.event_history import MemoryHistory
from streams.adapters.memory_definitions import MemoryDefinitions
from streams.adapters.memory_feed import MemoryTransitionLog
from streams.adapters.memory_log import MemoryLog
from streams.adapters.redis_api_keys import KeyRecord, KeyState
from streams.adapters.redis_campaign_books import RedisCampaignBooks
from streams.adapters.redis_daily import RedisDaily
from streams.adapters.redis_deletion_requests import RedisDeletionRequests
from streams.adapters.redis_deliveries import Endpoint, RedisDeliveries
from streams.adapters.redis_redriven import RedisRedriven
from streams.api.app import Extension, create_app
from streams.api.keys import Role, make_key
from streams.api.services import ApiOptions, ChannelStores, Services
from streams.api.stored import StoreReads
from streams.api.stream_response import OpenStreams
from streams.runtime.seen import PartitionLag
from streams.runtime.traces import Traces

NO_STORE = "unix:///no/such/socket"
NOW_S = 1_780_000_000.0  # 2026-05-28T20:26:40Z


class MemoryKeys:
    """Keys in memory; with `is_away` set it does not answer."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.revoked: dict[str, float] = {}
        self.used: dict[str, float] = {}
        self.asked = 0
        self.is_away = False

    def find(self, key_id: str) -> KeyState | None:
        self.asked += 1
        self.ping()
        record = self.records.get(key_id)
        return None if record is None else KeyState(record, self.revoked.get(key_id), self.used.get(key_id))

    def note_use(self, key_id: str, now_s: float) -> None:
        self.used[key_id] = now_s

    def ping(self) -> None:
        if self.is_away:
            raise StoreUnavailable("redis://inside:6379 does not answer")


class NoEndpoints(RedisDeliveries):
    """Webhooks of a store that is not there: those that a test puts here."""

    def __init__(self, url: str, *, prefix: str) -> None:
        super().__init__(url, prefix=prefix)
        self.endpoints: list[Endpoint] = []

    def all(self) -> list[Endpoint]:
        return self.endpoints


def forget_apps() -> None:
    """FastAPI remembers what thousands of functions are, and with them dozens of apps that nobody has any more."""
    for found in vars(dependencies).values():
        if hasattr(found, "cache_clear"):
            found.cache_clear()


def no_transitions() -> MemoryTransitionLog:
    """A log that cannot be read: `ask` waits for whole answers, and a stream has no end."""
    log = MemoryTransitionLog()
    log.failure = BrokerUnavailable("kafka://inside:9092 does not answer")
    return log


@dataclass
class ApiWorld:
    """One app and what is around it."""

    options: ApiOptions = field(default_factory=ApiOptions)
    log: MemoryLog = field(default_factory=MemoryLog)
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    transitions: MemoryTransitionLog = field(default_factory=no_transitions)
    streams: OpenStreams = field(default_factory=OpenStreams)
    definitions: MemoryDefinitions = field(default_factory=MemoryDefinitions)
    campaigns: CampaignDefinitions = field(default_factory=memory_campaign_definitions)
    history: MemoryHistory = field(default_factory=MemoryHistory)
    store_url: str = NO_STORE
    prefix: str = "tl"
    ledger_key: bytes = b""
    most_ahead_ms: int | None = None
    """How far the clock for deletions may be ahead of the store's; the one here has nothing to do with that."""
    lag: tuple[PartitionLag, ...] = ()
    reads: type[StoreReads] = StoreReads
    extensions: tuple[Extension, ...] = ()
    traces: Traces | None = None
    now_s: float = 0.0
    """Of the clock that never goes back."""
    app: FastAPI = field(init=False)
    stored: StoreReads = field(init=False)
    webhooks: RedisDeliveries = field(init=False)
    made: dict[Role, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        forget_apps()
        numbers = itertools.count(1)
        self.stored = self.reads(self.store_url, prefix=self.prefix, clock=lambda: self.now_s)
        self.webhooks = (NoEndpoints if self.store_url == NO_STORE else RedisDeliveries)(
            self.store_url, prefix=self.prefix
        )
        self.app = create_app(
            Services(
                log=self.log,
                check_log=self.log.check,
                keys=self.keys,
                stored=self.stored,
                transitions=self.transitions,
                webhooks=self.webhooks,
                deletion_requests=RedisDeletionRequests(
                    self.store_url, prefix=self.prefix, most_ahead_ms=self.most_ahead_ms
                ),
                ledger_key=self.ledger_key,
                streams=self.streams,
                traces=self.traces,
                definitions=self.definitions,
                history=self.history,
                campaigns=self.campaigns,
                campaign_books=RedisCampaignBooks(self.store_url, prefix=self.prefix),
                channels=ChannelStores.at(self.store_url, prefix=self.prefix),
                redriven=RedisRedriven(self.store_url, prefix=self.prefix),
                daily=RedisDaily(self.store_url, prefix=self.prefix),
                lag=lambda: self.lag,
                options=self.options,
                wall=lambda: NOW_S + self.now_s,
                clock=lambda: self.now_s,
                new_id=lambda: f"made-{next(numbers)}",
            ),
            *self.extensions,
        )
        for role in Role:
            self.made[role] = self.new_key(role)

    def new_key(self, role: Role) -> str:
        """A good key."""
        key, record = make_key(role, "a test", NOW_S)
        self.keys.records[record.id] = record
        return key

    def headers(self, role: Role = Role.INGEST) -> dict[str, str]:
        """What a caller with a key of that role sends."""
        return {"Authorization": f"Bearer {self.made[role]}"}

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, without the key of anybody."""

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                return await client.request(method, path, **more)

        return asyncio.run(run())

    def post(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        """An ingest call with a key."""
        return self.ask("POST", path, json=json, headers=self.headers() | more.pop("headers", {}), **more)

    def events(self) -> list[dict[str, Any]]:
        """What is in the log."""
        return [msgspec.json.decode(event) for _, event in self.log.records]
