"""A consumer that hands out a partition's records as soon as they are there, whatever the others do."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.errors import KafkaError

BUSY_S: Final = 1.0
"""So long after a record others are expected."""
BUSY_WAIT_MS: Final = 20
"""One question to a broker is under way at a time, and a partition that is done with its batch waits for its answer.
While records come, Kafka answers within this time, also when it has nothing of those that were asked for."""
IDLE_WAIT_MS: Final = 500
HANDED_S: Final = 0.005
"""So long records may lie in the client's hands before it asks for those of the others; our task takes them at once."""


class PromptConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # the client has no types
    """Each partition is asked for by a task of its own (`records`).

    The client would fetch ahead: the next batch of a partition were the few records that came first while the last
    one was being worked, and what came after them waited for one more. And for a tenth of a second it would fetch
    nothing for the others while those lie in its hands.
    """

    came_s = -BUSY_S

    async def start(self) -> None:
        """See aiokafka."""
        await super().start()
        self._fetcher._prefetch_backoff = HANDED_S  # noqa: SLF001  the client has no argument for it

    async def high_watermarks(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Where partitions end, with what still waits behind a transaction that is open. Raises KafkaError.

        `end_offsets` of a consumer that reads what was committed leaves that out.
        """
        asking = copy.copy(self._fetcher)  # only to ask: it shares the connections, and has no task
        asking._isolation_level = READ_UNCOMMITTED  # noqa: SLF001  the client has no argument for it
        found: dict[TopicPartition, int] = await asking.end_offsets(places, self._request_timeout_ms)
        return found

    def waits_for_a_transaction(self, place: TopicPartition) -> bool:
        """Whether, when it was fetched last, the partition had records behind a transaction that was open."""
        stable, end = self.last_stable_offset(place), self.highwater(place)
        return stable is not None and end is not None and 0 <= stable < end

    def check_fetching(self) -> None:
        """Raises KafkaError when the client's task that fetches has ended: nothing would come, and nobody hear why."""
        fetching = self._fetcher.error_future
        if fetching.done():
            reason = None if fetching.cancelled() else fetching.exception()
            raise KafkaError(f"the client has stopped fetching: {reason!r}") from reason

    async def records(self, place: TopicPartition, timeout_ms: int, most: int) -> list[Any]:
        """The next records of a partition, at most so many; none when none come in time. Raises what the client does.

        Only when there are more already, they are fetched while these are worked.
        """
        now_s = time.monotonic()
        wait_ms = BUSY_WAIT_MS if now_s - self.came_s < BUSY_S else IDLE_WAIT_MS
        self._fetcher._fetch_max_wait_ms = wait_ms  # noqa: SLF001  nor does it let it change
        if place in self.paused():
            self.resume(place)
        found: list[Any] = (await self.getmany(place, timeout_ms=timeout_ms, max_records=most)).get(place, [])
        if found:
            self.came_s = time.monotonic()
            # At once: the question for the others goes out before anybody asks again.
            self._fetcher._fetch_max_wait_ms = BUSY_WAIT_MS  # noqa: SLF001
        if 0 < len(found) < most and place in self.assignment():
            self.pause(place)
        return found
