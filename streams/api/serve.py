"""The API as a process: opens what it needs, listens, and stops in order."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import uvicorn
from fastapi import FastAPI

from config.errors import NoLog, TidelineError
from config.settings import Settings
from models.snapshot import ModelCodec
from streams.adapters.campaign_definitions import CampaignDefinitions, redis_campaign_definitions
from streams.adapters.embedded_log import EmbeddedEventLog
from streams.adapters.event_history import EmbeddedHistory, EventHistory, KafkaHistory
from streams.adapters.log_feed import EmbeddedTransitionLog
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.redis_api_keys import RedisApiKeys
from streams.adapters.redis_campaign_books import RedisCampaignBooks
from streams.adapters.redis_daily import RedisDaily
from streams.adapters.redis_definitions import RedisDefinitions
from streams.adapters.redis_deletion_requests import RedisDeletionRequests
from streams.adapters.redis_deliveries import RedisDeliveries
from streams.adapters.redis_redriven import RedisRedriven
from streams.api.app import Extension, Parts, create_app
from streams.api.services import ApiOptions, ChannelStores, Services
from streams.api.stored import StoreReads
from streams.api.stream_response import OpenStreams
from streams.ports import EventLog, TransitionLog
from streams.runtime.embedded.watch import lag_of as embedded_lag
from streams.runtime.ledger_key import ledger_key
from streams.runtime.place import Place, join_place
from streams.runtime.seen import PartitionLag
from streams.runtime.traces import Traces, open_traces

_STOP_S: Final = 20
"""Requests that are in hand have so long to come to their end; it is longer than an append may take."""
_UNTAKEN_MS: Final = 60_000
"""The system ends a connection whose other side has taken nothing for so long, with what is buffered for it."""
_KEEP_ALIVE_S: Final = 75
"""Longer than senders keep a connection, so that it is they who close it and no request meets a closed one."""
_GB: Final = 1_000_000_000
_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ApiJob:
    """What to serve."""

    settings: Settings
    place: Place
    codec: ModelCodec | None = None
    """Reads models that are stored as pickles."""
    traces: Traces | None = None
    """None where they are off; opened with the API."""


ExtendedAt = Callable[[str, str], AbstractContextManager[Extension]]
"""What extends the API, from the store's address and its key prefix; it is open as long as the API serves."""


def nothing_more(_url: str, _prefix: str) -> AbstractContextManager[Extension]:
    """The API alone."""
    return nullcontext(_nothing)


def _nothing(_parts: Parts) -> None:
    """Adds nothing."""


def run_api(job: ApiJob, say: Callable[[str], None], extended: ExtendedAt = nothing_more) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish the requests in hand.

    Raises StoreError, BrokerError, TopicsDiffer (a log of another number of partitions), TidelineError (the port),
    SettingsError.
    """
    key = ledger_key(job.place, has_log=job.settings.api_log == "embedded")
    with (
        open_traces(job.settings, "api") as traces,
        listening(job.settings) as listener,
        join_place(job.place) as url,
        _stores(job, url, key) as stores,
        extended(url, job.place.prefix) as extension,
    ):
        if not stores.keys.exist():
            say("There is no key yet: nobody is let in. Make one: tideline keys create --role ingest --name shop")
        asyncio.run(_serve(replace(job, traces=traces), stores, extension, listener, say))


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """A socket at the API's address. Raises TidelineError where there can be none."""
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    try:
        listener = socket.create_server((settings.api_host, settings.api_port), family=family)
    except OSError as error:
        where = f"{settings.api_host}:{settings.api_port}"
        raise TidelineError(f"the API cannot listen at {where} ({error}). Choose another --port.") from error
    with listener:
        if sys.platform == "linux":
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNTAKEN_MS)  # connections inherit it
        yield listener


def options_of(settings: Settings) -> ApiOptions:
    """The bounds that settings name."""
    return ApiOptions(
        event_bytes=settings.api_event_bytes,
        batch_bytes=settings.api_batch_bytes,
        in_flight_bytes=settings.api_in_flight_mb * _MB,
        rate_per_s=settings.api_rate_per_s,
        rate_burst=settings.api_rate_burst,
        webhooks_private=settings.webhooks_private,
        webhooks_timeout_s=settings.webhooks_timeout_s,
        scan_s=settings.api_scan_s,
        cors_origins=() if settings.api_cors_origins is None else tuple(settings.api_cors_origins.split(",")),
    )


class _Server(uvicorn.Server):
    """uvicorn without handlers of its own, which would end the process with the signal after an orderly stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Stores(NamedTuple):
    """What the process has open in the store."""

    keys: RedisApiKeys
    stored: StoreReads
    definitions: RedisDefinitions
    webhooks: RedisDeliveries
    deletion_requests: RedisDeletionRequests
    campaigns: CampaignDefinitions
    books: RedisCampaignBooks
    channels: ChannelStores
    redriven: RedisRedriven
    daily: RedisDaily
    ledger_key: bytes


@contextmanager
def _stores(job: ApiJob, url: str, key: bytes) -> Iterator[_Stores]:
    """All of them, open. `key`: under which deleted users are remembered."""
    prefix, wait_for, history = job.place.prefix, job.place.wait_for, job.settings.api_history
    with ExitStack() as opened:
        keep = opened.enter_context
        yield _Stores(
            keys=keep(closing(RedisApiKeys(url, prefix=prefix))),
            stored=keep(closing(StoreReads(url, prefix=prefix, codec=job.codec))),
            definitions=keep(closing(RedisDefinitions(url, prefix=prefix, history=history, wait_for=wait_for))),
            webhooks=keep(closing(RedisDeliveries(url, prefix=prefix))),
            deletion_requests=keep(closing(RedisDeletionRequests(url, prefix=prefix))),
            campaigns=keep(closing(redis_campaign_definitions(url, prefix=prefix, history=history, wait_for=wait_for))),
            books=keep(closing(RedisCampaignBooks(url, prefix=prefix))),
            channels=keep(closing(ChannelStores.at(url, prefix=prefix))),
            redriven=keep(closing(RedisRedriven(url, prefix=prefix))),
            daily=keep(closing(RedisDaily(url, prefix=prefix))),
            ledger_key=key,
        )


async def _serve(
    job: ApiJob, stores: _Stores, extension: Extension, listener: socket.socket, say: Callable[[str], None]
) -> None:
    log, check_log, transitions, history = _open_log(job)
    try:
        await check_log()
        services = _services(job, stores, log, check_log, transitions, history)
        app = create_app(services, extension)
        server = _Server(_uvicorn_config(app))
        _obey_signals(server, services.streams)
        gc.freeze()  # what is there stays, and need not be looked through again
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        say(f"Listening. http://{shown}:{port}/readyz says whether store and log answer; /openapi.json what there is.")
        keeping = app.state.daily.start()
        try:
            await server.serve([listener])
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping  # whatever else it has ended with is a bug, told when it happened and here
    finally:
        await transitions.close()
        await log.close()


def _services(
    job: ApiJob,
    stores: _Stores,
    log: EventLog,
    check_log: Callable[[], Any],
    transitions: TransitionLog,
    history: EventHistory,
) -> Services:
    return Services(
        log=log,
        check_log=check_log,
        keys=stores.keys,
        stored=stores.stored,
        transitions=transitions,
        definitions=stores.definitions,
        webhooks=stores.webhooks,
        deletion_requests=stores.deletion_requests,
        history=history,
        campaigns=stores.campaigns,
        campaign_books=stores.books,
        channels=stores.channels,
        redriven=stores.redriven,
        daily=stores.daily,
        options=options_of(job.settings),
        ledger_key=stores.ledger_key,
        version=version("tideline"),
        streams=OpenStreams(job.settings.api_streams),
        lag=_lag(job),
        traces=job.traces,
    )


def _uvicorn_config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
    )


def _obey_signals(server: _Server, streams: OpenStreams) -> None:
    def stop(number: int) -> None:
        streams.stop()  # they would be waited for
        server.handle_exit(number, None)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)


def _open_log(job: ApiJob) -> tuple[EventLog, Callable[[], Any], TransitionLog, EventHistory]:
    """The log of events, how it is asked whether it answers, the log of transitions, and the events that are kept."""
    if job.settings.api_log == "kafka":
        from streams.adapters.kafka_feed import KafkaTransitionLog  # with the client, which the embedded log does
        from streams.adapters.kafka_log import KafkaEventLog  # not need

        kafka = KafkaEventLog(job.settings)
        return kafka, kafka.check, KafkaTransitionLog(job.settings), KafkaHistory(job.settings)
    data_dir = job.place.data_dir
    max_bytes = round(job.settings.log_max_gb * _GB)
    events = EmbeddedEventLog(data_dir / LOG_FOLDER, _partitions(job), max_bytes=max_bytes)

    def find() -> LogFolder:
        return LogFolder.find(data_dir)

    return events, _always, EmbeddedTransitionLog(find), EmbeddedHistory(find)


def _lag(job: ApiJob) -> Callable[[], tuple[PartitionLag, ...]]:
    """What asks how far workers are in the log of events."""
    settings = job.settings
    if settings.api_log == "kafka":
        from streams.runtime.kafka.watch import lag_of as kafka_lag  # with its client, as above

        return lambda: kafka_lag(settings, settings.topic("events"))
    return lambda: embedded_lag(LogFolder.find(job.place.data_dir), "events")


def _partitions(job: ApiJob) -> int:
    """Of the log that is there; as the settings say where there is none yet."""
    try:
        return LogFolder.find(job.place.data_dir).shards
    except NoLog:
        return job.settings.shards


async def _always() -> None:
    """Files are there; where they cannot be written, the append says so."""
