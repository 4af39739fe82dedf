"""Asks for recommendations of messages, beside the partitions that wait for them.

    desk = RecommendationDesk(sender, settings.endpoint, loop)
    recommender = desk.of_partition()        # `partition_run.Recommender`, for the thread of a partition
    await ask_once(sender, endpoint, asked)  # for a preview

An endpoint is the address and secret of a channel of the kind webhook. It gets a signed POST under the id of the
question, which a repetition has again, and answers with a list or an object of JSON. A circuit keeps from asking one
that fails.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from config.errors import StoreError
from streams.campaigns.question import Answer, Asked
from streams.runtime.deliveries.pace import Breaker, Limits
from streams.runtime.deliveries.sender import Outcome
from streams.runtime.deliveries.signing import signed_headers

_LOG: Final = logging.getLogger(__name__)
ANSWER_BYTES: Final = 64 << 10
DEPTH: Final = 8
"""Lists and objects within each other, at most."""
WAITING: Final = 1_000
"""Messages of a partition that are asked for at once; others come again a minute later."""
TYPE: Final = "tideline.recommendations.v1"


class Asking(Protocol):
    """See `Sender.ask`."""

    async def ask(self, url: str, headers: dict[str, str], body: bytes, most_bytes: int) -> tuple[Outcome, bytes]: ...


class Endpoint(NamedTuple):
    """Whom to ask."""

    url: str
    secrets: Sequence[str]
    """Those that are good now."""


async def ask_once(sender: Asking, endpoint: Endpoint, asked: Asked, now_s: float) -> Answer:
    """One attempt; whatever goes wrong is an answer that has failed."""
    told = {"type": TYPE, "id": asked.id, "user_id": asked.user, **asked.subject}
    body = msgspec.json.encode(told)
    headers = signed_headers(endpoint.secrets, asked.id, now_s, body)
    # What is packed could become very much.
    headers |= {"Content-Type": "application/json", "User-Agent": "Tideline", "Accept-Encoding": "identity"}
    outcome, answer = await sender.ask(endpoint.url, headers, body, ANSWER_BYTES)
    return read_answer(answer) if outcome.is_delivered else Answer(None)


def read_answer(body: bytes) -> Answer:
    """A list or an object that is not too deep; else it has failed."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Answer(None)
    return Answer(found if isinstance(found, list | dict) and _depth(found, DEPTH) <= DEPTH else None)


def _depth(value: Any, most: int) -> int:
    """Of lists and objects; not looked into further than `most` and one."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        return 0
    return 1 if most == 0 else 1 + max((_depth(each, most - 1) for each in inner), default=0)


@dataclass(slots=True)
class _Gate:
    """How one endpoint is treated."""

    room: asyncio.Semaphore
    breaker: Breaker = field(default_factory=Breaker)
    is_probing: bool = False


class RecommendationDesk:
    """For one event loop. `endpoint` finds the address and secrets of a channel, in a thread; None: it has none yet.
    Then there is no answer, which is no failure of whom it would be. Where it raises StoreError nobody knows whom to
    ask, and the message comes again.
    """

    def __init__(
        self,
        sender: Asking,
        endpoint: Callable[[str], Endpoint | None],
        *,
        limits: Limits | None = None,
        wall: Callable[[], float] = time.time,
        rng: Random | None = None,
    ) -> None:
        self._sender = sender
        self._endpoint = endpoint
        self._limits = limits or Limits()
        self._wall = wall
        self._rng = rng or Random()  # noqa: S311  it spreads attempts
        self._loop = asyncio.get_running_loop()
        self._gates: dict[str, _Gate] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of_partition(self) -> PartitionRecommender:
        """For the thread of one partition."""
        return PartitionRecommender(self._begin)

    async def close(self) -> None:
        """Ask nobody any more; what is under way is given up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, asked: Asked, told: Callable[[Answer | None], None]) -> None:
        """From any thread. `told` gets None where nobody could be asked."""
        self._loop.call_soon_threadsafe(self._start, asked, told)

    def _start(self, asked: Asked, told: Callable[[Answer | None], None]) -> None:
        task = self._loop.create_task(self._answer(asked, told))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: Asked, told: Callable[[Answer | None], None]) -> None:
        found: Answer | None = None  # also where the service stops
        try:
            found = await self._ask(asked)
        except StoreError as error:
            _LOG.warning("whom to ask for recommendations is not known: %s", error)
        finally:
            told(found)

    async def _ask(self, asked: Asked) -> Answer:
        gate = self._gates.setdefault(asked.source, _Gate(asyncio.Semaphore(self._limits.at_once)))
        async with gate.room:
            state = gate.breaker.state(self._wall())
            if state == "open" or (state == "half-open" and gate.is_probing):
                return Answer(None)
            is_probe = state == "half-open"
            gate.is_probing = gate.is_probing or is_probe
            try:
                found = await self._of_endpoint(asked)
            finally:
                gate.is_probing = gate.is_probing and not is_probe
            if found is None:
                return Answer(None)
            if found.found is None:
                gate.breaker.failed(self._wall(), self._limits, self._rng)
            else:
                gate.breaker.arrived()
            return found

    async def _of_endpoint(self, asked: Asked) -> Answer | None:
        endpoint = await asyncio.to_thread(self._endpoint, asked.source)
        return None if endpoint is None else await ask_once(self._sender, endpoint, asked, self._wall())


class PartitionRecommender:
    """See `partition_run.Recommender`."""

    def __init__(self, begin: Callable[[Asked, Callable[[Answer | None], None]], None]) -> None:
        self._begin = begin
        self._lock = threading.Lock()
        self._under_way: dict[str, str] = {}
        """Id of a question -> campaign."""
        self._arrived: deque[tuple[Asked, Answer]] = deque()

    def ask(self, asked: Iterable[Asked]) -> None:
        """See the port. What is under way is not asked for again, and what there is no room for not yet."""
        for each in asked:
            with self._lock:
                if each.id in self._under_way or len(self._under_way) >= WAITING:
                    continue
                self._under_way[each.id] = each.campaign
            self._begin(each, partial(self._tell, each))

    def take(self, limit: int) -> list[tuple[Asked, Answer]]:
        """See the port."""
        with self._lock:
            found = [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]
            for asked, _ in found:
                del self._under_way[asked.id]
        return found

    def under_way(self) -> Counter[str]:
        """See the port."""
        with self._lock:
            return Counter(self._under_way.values())

    def _tell(self, asked: Asked, answer: Answer | None) -> None:
        with self._lock:
            if answer is None:  # the message comes again by itself
                del self._under_way[asked.id]
            else:
                self._arrived.append((asked, answer))
