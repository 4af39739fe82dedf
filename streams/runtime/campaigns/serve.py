"""The service of campaigns as a process: opens what it needs, shows how it is, and stops in order."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from config.catalog import Catalog
from config.errors import BrokerUnavailable, NoLog, StoreError, StoreUnavailable
from config.settings import Settings
from models.snapshot import ModelCodec
from streams.adapters.campaign_definitions import redis_campaign_definitions
from streams.adapters.kafka_topics import require_topics
from streams.adapters.redis_alerts import RedisAlerts
from streams.adapters.redis_campaigns import RedisCampaigns
from streams.adapters.redis_channels import RedisChannels
from streams.adapters.redis_definitions import RedisDefinitions
from streams.adapters.redis_desks import RedisDesks
from streams.adapters.redis_reader import holds_store
from streams.campaigns.effects import Alert, Note, Trip
from streams.ports import Message
from streams.runtime.campaigns.catalog_file import refuse_clashes
from streams.runtime.campaigns.definitions import CampaignsFollower, follow_campaigns
from streams.runtime.campaigns.endpoints import endpoint_of
from streams.runtime.campaigns.health import health, registry
from streams.runtime.campaigns.opened import Where
from streams.runtime.campaigns.outlet import TRIGGERS, events_of
from streams.runtime.campaigns.recommending import RecommendationDesk
from streams.runtime.campaigns.sides import Around as SideAround
from streams.runtime.campaigns.sides import Side, open_embedded, open_kafka
from streams.runtime.campaigns.told_catalog import ToldCatalog
from streams.runtime.campaigns.work import CampaignWork
from streams.runtime.channels.building import Means
from streams.runtime.channels.rechecking import StoredRecheck, StoredUsers
from streams.runtime.channels.service import Around, ChannelService, Stores
from streams.runtime.deliveries.pace import Limits
from streams.runtime.deliveries.sender import Sender
from streams.runtime.deliveries.waiting import is_set_within
from streams.runtime.ledger_key import ledger_key
from streams.runtime.open_files import take_all_files
from streams.runtime.place import Place, join_place
from streams.runtime.traces import Traces, open_traces
from streams.runtime.web_views import serve_views

_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")
THREADS: Final = 128
AGAIN_S: Final = 0.5
"""What is not there yet (a worker's catalog, a log, a lock) is looked for so often."""
FORGET_S: Final = 3_600.0
"""Versions that nobody is in are forgotten so often."""
LEAST_AGE_S: Final = 600.0
"""A version that was replaced less than so long ago is not forgotten: somebody may decide by it still."""


@dataclass(frozen=True, slots=True)
class CampaignsJob:
    """What to run. `codec` reads models that are stored as pickles."""

    settings: Settings
    place: Place
    codec: ModelCodec | None = None
    traces: Traces | None = None
    """None where they are off; opened with the service."""


def run_campaigns(job: CampaignsJob, say: Callable[[str], None]) -> None:
    """Decide and deliver until SIGTERM or Ctrl-C.

    Raises StoreError, BrokerError, SettingsError (the port), CatalogError (campaigns of the file that clash).
    """
    key = ledger_key(job.place, has_log=job.settings.api_log == "embedded")
    if job.settings.api_log == "kafka":
        require_topics(job.settings)
    take_all_files()
    with open_traces(job.settings, "campaigns") as traces, join_place(job.place) as url:
        where = Where(url, job.place.prefix, key, job.place.wait_for, job.codec)
        asyncio.run(CampaignsService(replace(job, traces=traces), where).run(say))


class Delivering(NamedTuple):
    """What those who deliver share with those who ask for recommendations."""

    sender: Sender
    channels: RedisChannels


class _People:
    """See `outlet.People`."""

    def __init__(self, alerts: RedisAlerts, campaigns: CampaignsFollower) -> None:
        self._alerts = alerts
        self._campaigns = campaigns

    def alert(self, alert: Alert) -> None:
        if self._alerts.add(alert, time.time()):
            _LOG.warning("campaign %s: %s", alert.campaign, alert.words)

    def trip(self, trip: Trip) -> None:
        if self._campaigns.trip(trip.campaign, trip.since_s, time.time()):
            _LOG.warning("campaign %s is paused by its breaker", trip.campaign)


class CampaignsService:
    """One process of campaigns: its partitions, and the channels where nobody else has them."""

    def __init__(self, job: CampaignsJob, where: Where) -> None:
        self._job = job
        self._where = where
        self._stopping = asyncio.Event()
        self._failed: list[BaseException] = []
        self._side: Side | None = None
        self._campaigns: CampaignsFollower | None = None
        self.channels: ChannelService | None = None

    @property
    def works(self) -> Mapping[int, CampaignWork]:
        """The partitions of this process."""
        return {} if self._side is None else self._side.partitions.works

    @property
    def troubles(self) -> int:
        """Campaigns that do not fit the catalog."""
        return 0 if self._campaigns is None else len(self._campaigns.now.troubles)

    async def run(self, say: Callable[[str], None]) -> None:
        """Until a signal or a failure. Raises what it has failed by."""
        settings = self._job.settings
        loop = asyncio.get_running_loop()
        # Calls that wait for a log or a store that is away must leave others for the lease of the channels.
        loop.set_default_executor(ThreadPoolExecutor(THREADS, "campaigns"))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        host, port = settings.web_host, settings.campaigns_port
        views = await serve_views(
            host, port, lambda: health(self, time.monotonic()), registry(self), "the service of campaigns"
        )
        try:
            say(f"Running campaigns. http://{host}:{port}/readyz says whether they are caught up.")
            with ExitStack() as closing:
                told = partial(asyncio.to_thread, self._told_catalog, closing)
                if (catalog := await self._until(told)) is not None:
                    await self._follow(catalog, closing)
        finally:
            await views.cleanup()
        if self._failed:
            raise self._failed[0]

    async def _follow(self, catalog: ToldCatalog, closing: ExitStack) -> None:
        where = self._where
        following = follow_campaigns(where.url, where.prefix, catalog, wait_for=where.wait_for)
        campaigns = self._campaigns = closing.enter_context(following)
        asyncio.wrap_future(campaigns.start()).add_done_callback(self._ended)
        async with AsyncExitStack() as ending:
            alerts = RedisAlerts(where.url, prefix=where.prefix)
            ending.callback(alerts.close)
            job = self._job
            sender = Sender(
                allow_private=job.settings.webhooks_private,
                timeout_s=job.settings.webhooks_timeout_s,
                traces=job.traces,
            )
            ending.push_async_callback(sender.close)
            channels = RedisChannels(where.url, prefix=where.prefix)
            ending.callback(channels.close)
            desk = RecommendationDesk(sender, partial(endpoint_of, channels))
            ending.push_async_callback(desk.close)
            around = SideAround(
                settings=job.settings,
                data_dir=job.place.data_dir,
                where=where,
                people=_People(alerts, campaigns),
                defined=campaigns.defined,
                recommender=desk.of_partition,
                fail=self._fail,
                look=campaigns.look,
                traces=job.traces,
            )
            opened = open_kafka if job.settings.api_log == "kafka" else open_embedded
            self._side = await opened(around, self._until, ending)
            if self._side is not None:
                await self._deliver(self._side, campaigns, Delivering(sender, channels), ending)

    async def _deliver(
        self, side: Side, campaigns: CampaignsFollower, delivering: Delivering, ending: AsyncExitStack
    ) -> None:
        """Channels, beside the partitions that are worked already."""
        settings, where = self._job.settings, self._where
        sender, channels = delivering
        desks, users = RedisDesks(where.url, prefix=where.prefix), StoredUsers(where, side.shards)
        for each in (desks, users):
            ending.callback(each.close)
        courier = side.courier

        async def publish(records: Sequence[tuple[str, bytes]]) -> None:
            await asyncio.to_thread(courier.send, [Message(TRIGGERS, user, value) for user, value in records])

        async def tell(notes: Sequence[Note]) -> None:
            await asyncio.to_thread(courier.send, events_of(notes))

        around = Around(
            log=side.messages,
            messaging=lambda: campaigns.now.definitions.messaging,
            recheck=StoredRecheck(users, lambda: campaigns.defined().plan),
            tell=tell,
            means=Means(sender, publish, allow_private=settings.webhooks_private),
            limits=Limits(attempts=settings.webhooks_attempts),
        )
        service = self.channels = ChannelService(Stores(desks, channels), around)
        working = asyncio.create_task(service.run())
        working.add_done_callback(self._ended)
        forgetting = asyncio.create_task(self._forget(service))
        forgetting.add_done_callback(self._ended)
        try:
            await self._stopping.wait()
        finally:
            forgetting.cancel()
            service.stop()
            await asyncio.gather(working, forgetting, return_exceptions=True)

    async def _forget(self, channels: ChannelService) -> None:
        """One of the processes forgets versions of campaigns that nobody is in."""
        while True:
            await asyncio.sleep(FORGET_S)
            if channels.is_owner:
                try:
                    await asyncio.to_thread(self._forget_now)
                except StoreError as error:  # also a full one, or what a newer version wrote: it may be mended later
                    _LOG.warning("versions of campaigns are forgotten later: %s", error)

    def _forget_now(self) -> None:
        assert self._campaigns is not None, "followed for as long as anything is delivered"
        before_s = time.time() - LEAST_AGE_S
        store = RedisCampaigns(self._where.url, prefix=self._where.prefix)
        try:
            needed = store.versions_in_use()
        finally:
            store.close()
        self._campaigns.forget_versions(needed, before_s)

    # --- what is waited for ------------------------------------------------------------------------------------------

    def _told_catalog(self, closing: ExitStack) -> ToldCatalog | None:
        """None as long as no worker has told it, or has a store. Raises CatalogError for what workers did not take."""
        where = self._where
        with ExitStack() as opened:
            kept = RedisDefinitions(where.url, prefix=where.prefix)
            opened.callback(kept.close)
            if (file := kept.file()) is None:
                return None
            self._refuse_clashes(file)
            if not holds_store(where.url, prefix=where.prefix):
                return None
            found = ToldCatalog(kept)
            closing.push(opened.pop_all())
            return found

    def _refuse_clashes(self, file: Catalog) -> None:
        with closing(redis_campaign_definitions(self._where.url, prefix=self._where.prefix)) as kept:
            refuse_clashes(kept, file)

    async def _until(self, look: Callable[[], Awaitable[T | None]], /) -> T | None:
        """What `look` finds, once it does; None when the process has to stop first."""
        words = ""
        while not self._stopping.is_set():
            try:
                found = await look()
                if found is not None:
                    return found
                news = "waiting for a worker, which knows the catalog"
            except (StoreUnavailable, BrokerUnavailable, NoLog) as error:
                news = f"waiting: {error}"
            if news != words:
                words = news
                _LOG.info("%s", words)
            await is_set_within(self._stopping, AGAIN_S)
        return None

    def _fail(self, error: BaseException) -> None:
        """It has come to an end by this."""
        self._failed.append(error)
        self._stopping.set()

    def _ended(self, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._fail(error)
