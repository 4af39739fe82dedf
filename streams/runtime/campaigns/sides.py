"""The two kinds of log under the service of campaigns, each with all that belongs to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from config.settings import Settings
from streams.adapters.embedded_log import EventWriter, UserCourier
from streams.adapters.kafka_feed import KafkaTransitionLog
from streams.adapters.kafka_publisher import KafkaPublisher
from streams.adapters.log_feed import EmbeddedTransitionLog
from streams.adapters.log_folder import LogFolder, bound_bytes
from streams.ports import Courier, TransitionLog
from streams.runtime.campaigns.group import KafkaOwning
from streams.runtime.campaigns.opened import Where
from streams.runtime.campaigns.outlet import EVENTS, TRIGGERS, CampaignOutlet, People
from streams.runtime.campaigns.partition_run import Defined, Recommender
from streams.runtime.campaigns.partitions import EmbeddedLogs, EmbeddedOwning, KafkaLogs, Partitions, Shared
from streams.runtime.traces import Traces

T = TypeVar("T")
GRACE_S: Final = 3.0
"""How long Kafka may take to acknowledge what is under way, when the process has to stop."""


@dataclass(frozen=True, slots=True)
class Around:
    """What a side needs of the service."""

    settings: Settings
    data_dir: Path
    where: Where
    people: People
    defined: Callable[[], Defined]
    recommender: Callable[[], Recommender]
    fail: Callable[[BaseException], None]
    look: Callable[[], object]
    """See `partition_run.Ports`."""
    traces: Traces | None = None


class Until(Protocol):
    """Asks again until it is there; None when the process has to stop first. Raises what asking again does not help."""

    async def __call__(self, look: Callable[[], Awaitable[T | None]], /) -> T | None: ...


class Side:
    """What channels and metrics see of a log. Open it with `open_embedded` or `open_kafka`."""

    def __init__(self, shards: int, courier: Courier, messages: TransitionLog, partitions: Partitions) -> None:
        self.shards = shards
        self.courier = courier
        self.messages = messages
        """What campaigns put out for channels."""
        self.partitions = partitions


async def open_embedded(around: Around, until: Until, ending: AsyncExitStack) -> Side | None:
    """All partitions of the log in the data directory, once it is there and nobody else has them."""

    async def find() -> LogFolder:
        return await asyncio.to_thread(LogFolder.find, around.data_dir)

    folder = await until(find)
    if folder is None:
        return None
    bound = bound_bytes(around.settings)
    courier = UserCourier({topic: EventWriter(folder, max_bytes=bound, topic=topic) for topic in (EVENTS, TRIGGERS)})
    ending.callback(courier.close)
    messages = EmbeddedTransitionLog(lambda: LogFolder.find(around.data_dir), TRIGGERS)
    ending.push_async_callback(messages.close)
    outlet = CampaignOutlet(courier, around.people)
    shared = Shared(around.where, outlet, around.defined, folder.shards, around.recommender, around.traces, around.look)
    partitions = Partitions(shared, EmbeddedLogs(folder), around.fail)
    owning = EmbeddedOwning(folder, partitions)
    ending.push_async_callback(owning.stop)

    async def take() -> bool:
        owning.start()
        return True

    return Side(folder.shards, courier, messages, partitions) if await until(take) else None


async def open_kafka(around: Around, until: Until, ending: AsyncExitStack) -> Side | None:
    """The partitions that the consumer group gives to this process."""
    settings = around.settings
    publisher = KafkaPublisher(settings)
    ending.push_async_callback(publisher.aclose)
    messages = KafkaTransitionLog(settings, TRIGGERS)
    ending.push_async_callback(messages.close)
    owning = KafkaOwning(settings, around.fail)
    outlet = CampaignOutlet(publisher, around.people)
    shared = Shared(
        around.where, outlet, around.defined, settings.shards, around.recommender, around.traces, around.look
    )
    partitions = owning.partitions = Partitions(shared, KafkaLogs(settings, owning), around.fail)

    async def leave() -> None:
        giving_up = asyncio.get_running_loop().call_later(GRACE_S, publisher.give_up)
        await owning.stop()
        giving_up.cancel()

    ending.push_async_callback(leave)

    async def join() -> bool:
        await owning.start()
        return True

    return Side(settings.shards, publisher, messages, partitions) if await until(join) else None
