"""What an app is made of: everything that it uses comes in here, and nothing else is looked for."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streams.adapters.campaign_definitions import CampaignDefinitions
from streams.adapters.definition_store import DefinitionStore
from streams.adapters.event_history import EventHistory
from streams.adapters.redis_alerts import RedisAlerts
from streams.adapters.redis_campaign_books import RedisCampaignBooks
from streams.adapters.redis_channels import RedisChannels
from streams.adapters.redis_daily import RedisDaily
from streams.adapters.redis_deletion_requests import RedisDeletionRequests
from streams.adapters.redis_deliveries import RedisDeliveries
from streams.adapters.redis_desks import RedisDesks
from streams.adapters.redis_redriven import RedisRedriven
from streams.api.auth import KeyStore
from streams.api.exports import Exports
from streams.api.few_at_once import FewTasks, log_passes
from streams.api.kept_sizes import KeptSizes
from streams.api.stored import StoreReads
from streams.api.stream_response import OpenStreams
from streams.ports import EventLog, TransitionLog
from streams.runtime.seen import PartitionLag
from streams.runtime.traces import Traces


@dataclass(frozen=True, slots=True)
class ChannelStores:
    """What is stored of channels of campaigns."""

    desks: RedisDesks
    settings: RedisChannels
    alerts: RedisAlerts

    @classmethod
    def at(cls, url: str, *, prefix: str) -> ChannelStores:
        """Connects at the first use."""
        return cls(RedisDesks(url, prefix=prefix), RedisChannels(url, prefix=prefix), RedisAlerts(url, prefix=prefix))

    def close(self) -> None:
        """Give the connections back."""
        for each in (self.desks, self.settings, self.alerts):
            each.close()


class Keys(KeyStore, Protocol):
    """Keys in a store that can be asked whether it answers."""

    def ping(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Bounds and switches; docs/settings.md has the settings that they come from."""

    event_bytes: int = 32_768
    batch_bytes: int = 512_000
    in_flight_bytes: int = 64 << 20
    rate_per_s: float = 1_000.0
    rate_burst: int = 2_000
    cors_origins: tuple[str, ...] = ()
    body_timeout_s: float = 30.0
    webhooks_private: bool = False
    webhooks_timeout_s: float = 10.0
    scan_s: float = 30.0


def new_message_id() -> str:
    """The message id of an event that came without one."""
    return f"tl-{secrets.token_hex(16)}"


@dataclass(frozen=True, slots=True)
class Services:
    """The outside of one app."""

    log: EventLog
    check_log: Callable[[], Awaitable[None]]
    """Raises BrokerError while the log does not answer."""
    keys: Keys
    stored: StoreReads
    transitions: TransitionLog
    definitions: DefinitionStore
    webhooks: RedisDeliveries
    deletion_requests: RedisDeletionRequests
    history: EventHistory
    campaigns: CampaignDefinitions
    campaign_books: RedisCampaignBooks
    channels: ChannelStores
    redriven: RedisRedriven
    daily: RedisDaily
    options: ApiOptions = field(default_factory=ApiOptions)
    ledger_key: bytes = b""
    """The secret under which deleted users are remembered (`streams.core.ledger`)."""
    version: str = "0"
    wall: Callable[[], float] = time.time
    """Seconds since 1970 UTC."""
    clock: Callable[[], float] = time.monotonic
    new_id: Callable[[], str] = new_message_id
    streams: OpenStreams = field(default_factory=OpenStreams)
    log_passes: FewTasks = field(default_factory=log_passes)
    """For questions that read much of the log of transitions."""
    traces: Traces | None = None
    """None where they are off."""
    exports: Exports = field(default_factory=Exports)
    sizes: KeptSizes = field(default_factory=KeptSizes)
    lag: Callable[[], Sequence[PartitionLag]] = tuple
    """How far workers are in the log of events; raises BrokerError. Nothing where nobody tells."""
