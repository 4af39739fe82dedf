"""What a consumer group remembers of its partitions: an offset for dashboards, and beside it the witness of a shard.

Kafka takes it only of the member that has the partition, and gives a partition to the next member when the one before
has lost it: so whoever takes it over recalls the last thing that was told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from config.errors import BrokerUnavailable, Fenced
from config.settings import Settings
from streams.adapters.kafka_errors import explained
from streams.runtime.kafka.fetching import PromptConsumer
from streams.runtime.witness import Witness

_LOG: Final = logging.getLogger(__name__)
TELL_S: Final = 2.0
"""How long one attempt to tell something may take."""


class RememberingConsumer(PromptConsumer):
    """A consumer that also reads what stands beside an offset, which the client's own `committed` leaves out."""

    @property
    def is_member(self) -> bool:
        """Whether the group knows us, as far as is known here. A group without members takes offsets of everybody."""
        return bool(self._coordinator.generation > 0)

    async def remembered(self, place: TopicPartition) -> tuple[int, str] | None:
        """The offset and the words beside it; None where the group knows of none. Raises KafkaError."""
        found = (await self._coordinator.fetch_committed_offsets([place])).get(place)
        return None if found is None else (found.offset, found.metadata)


class GroupMemory:
    """The partitions of one topic, in the event loop `loop`. One request is under way at a time, so nothing overtakes;
    what comes meanwhile goes together with the next one: many shards commit at once, and each waits for its own.
    """

    def __init__(self, consumer: Any, topic: str, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._consumer = consumer
        self._topic = topic
        self._settings = settings
        self._loop = loop
        self._lock = asyncio.Lock()
        self._told: dict[int, tuple[int, str]] = {}
        """Of the partitions: what the group remembers, as far as is known here."""
        self._waiting: dict[int, Witness] = {}
        """Of the partitions: what is to be told, and goes with the next request."""
        self._alone: set[int] = set()
        """Partitions of which a request together was refused: each of them asks for itself next."""

    async def recall(self, number: int) -> Witness | None:
        """The witness of a partition that was just taken over, None if the group knows none. Raises KafkaError."""
        offset, words = await self._consumer.remembered(self._place(number)) or (0, "")
        self._told[number] = offset, words
        witness = Witness.from_text(words)
        if words and witness is None:
            _LOG.warning("%s %d: beside the group's offset stands %r, not ours", self._topic, number, words)
        return witness

    def tell_from_thread(self, number: int, witness: Witness) -> None:
        """Let the group remember; it does when this returns.

        Raises Fenced when the partition is another member's now, BrokerUnavailable (try again), BrokerError.
        """
        asyncio.run_coroutine_threadsafe(self._tell(number, witness), self._loop).result()

    async def _tell(self, number: int, witness: Witness) -> None:
        self._waiting[number] = witness
        try:
            async with asyncio.timeout(TELL_S), self._lock:
                if self._waiting.get(number) is witness:  # else it went with another one's
                    await self._tell_those_that_wait(number)
        except (CommitFailedError, IllegalStateError) as error:
            raise Fenced(f"{self._topic} {number} is another member's of the group: {error}") from error
        except KafkaError as error:
            raise explained(error, self._settings) from error
        except TimeoutError as error:
            servers = self._settings.kafka_bootstrap_servers
            raise BrokerUnavailable(f"Kafka at {servers} has not taken an offset for {TELL_S:.0f} s") from error
        finally:
            if self._waiting.get(number) is witness:
                del self._waiting[number]
            self._alone.discard(number)

    async def _tell_those_that_wait(self, number: int) -> None:
        """All in one request. Where that is refused each asks for itself, as nobody says whose fault it was."""
        if not self._consumer.is_member:
            raise Fenced(f"{self._topic} {number} may be another member's: the group does not know us any more")
        alone = {number: self._waiting[number]}
        together = {n: witness for n, witness in self._waiting.items() if n not in self._alone}
        waiting = alone if number in self._alone else together
        try:
            await self._tell_together(waiting)
        except KafkaError:
            if len(waiting) == 1:
                raise
            self._alone |= waiting.keys()
            waiting = alone
            await self._tell_together(waiting)
        for n, witness in waiting.items():
            if self._waiting.get(n) is witness:  # whoever gave it up meanwhile may have another one
                del self._waiting[n]

    async def _tell_together(self, waiting: Mapping[int, Witness]) -> None:
        await self._commit({n: (self._told.get(n, (0, ""))[0], witness.to_text()) for n, witness in waiting.items()})

    async def tell_offsets(self, offsets: Mapping[int, int]) -> None:
        """Tell those that are new, each with the words that stand beside it. Raises KafkaError, TimeoutError."""
        async with asyncio.timeout(TELL_S), self._lock:
            known = {number: self._told.get(number, (0, "")) for number in offsets}
            news = {number: at for number, at in offsets.items() if at and at != known[number][0]}
            await self._commit({number: (at, known[number][1]) for number, at in news.items()})

    async def _commit(self, news: Mapping[int, tuple[int, str]]) -> None:
        if news:
            await self._consumer.commit({self._place(number): words for number, words in news.items()})
            self._told.update(news)

    def _place(self, number: int) -> TopicPartition:
        return TopicPartition(self._topic, number)
