"""The consumer group: what it remembers of partitions, and of whom it takes that.

Workers speak to it by the real `GroupMemory`, over a consumer that stands in for Kafka's client. It runs in an event
loop whose time is simulated: an answer that never comes is given up at once.
"""

from __future__ import annotations

import asyncio
import atexit
import selectors
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError, KafkaError

from config.errors import BrokerUnavailable, Fenced
from config.settings import Settings, load_settings
from streams.runtime.kafka.group_memory import GroupMemory
from streams.runtime.witness import Witness

if TYPE_CHECKING:
    from tests.sim.books import Place
    from tests.sim.world import World

T = TypeVar("T")

WORDS = ("refused", "reply", "silent")
"""How a request fails: it is not taken; it is, and the answer is lost; or nobody hears anything, taken or not."""


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the time that it should have waited is over."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors`. Raises RuntimeError where nobody would ever go on."""
        if timeout is None:
            raise RuntimeError("everybody waits, and for nothing that will come")
        self.now_s += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock only goes on where everybody waits for it."""

    def __init__(self) -> None:
        self._waits = _Selector()
        super().__init__(self._waits)

    def time(self) -> float:
        """See `asyncio`."""
        return self._waits.now_s


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The one of this process; between two calls it holds nothing."""
    made = _Loop()
    atexit.register(made.close)
    return made


def wait(asked: Coroutine[Any, Any, T]) -> T:
    """The answer."""
    return loop().run_until_complete(asked)


class Group:
    """What the group remembers of all partitions."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._memory: dict[Place, tuple[int, str]] = {}

    def offset(self, place: Place) -> int:
        """0 where nobody has told one."""
        return self._memory.get(place, (0, ""))[0]

    def remembered(self, place: Place) -> tuple[int, str] | None:
        """The offset and the words beside it."""
        return self._memory.get(place)

    def take(self, worker: int, news: Mapping[Place, tuple[int, str]]) -> KafkaError | None:
        """All of it, or nothing where one of the partitions is not this worker's: then why."""
        world = self._world
        if any(not world.is_of(worker, place) for place in news):
            world.count("a zombie tells")
            return world.chance.choice([CommitFailedError, IllegalStateError])("simulated: it is another member's")
        for place, (offset, words) in news.items():
            self._memory[place] = offset, "" if world.plan.group_forgets else words
        return None


class Consumer:
    """A worker's in the group of one topic, as `GroupMemory` uses it; with what can go wrong at each request."""

    def __init__(self, world: World, worker: int, topic: str) -> None:
        self._world, self._worker, self._topic = world, worker, topic

    @property
    def is_member(self) -> bool:
        """Who has no partition may have heard that it was left out."""
        world = self._world
        if self._worker in world.owner.values() or world.is_calming or world.chance.random() < 0.5:
            return True
        world.count("a worker that was left out tells")
        return False

    async def remembered(self, place: TopicPartition) -> tuple[int, str] | None:
        """See `RememberingConsumer`. Raises KafkaError."""
        if self._word("recall", ["refused"]) != "ok":
            raise KafkaConnectionError("simulated: no answer")
        return self._world.group.remembered((self._topic, place.partition))

    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """See `AIOKafkaConsumer`. Raises KafkaError."""
        world = self._world
        await asyncio.sleep(0)  # others come meanwhile
        world.faults["told together"] += len(offsets) > 1
        word = self._word("tell", WORDS)
        refusal = None
        if word != "refused" and (word != "silent" or world.chance.random() < 0.5):
            news = {(self._topic, place.partition): said for place, said in offsets.items()}
            refusal = world.group.take(self._worker, news)
        if word == "silent":
            await loop().create_future()
        if word != "ok":
            raise KafkaConnectionError("simulated: no answer")
        if refusal is not None:
            raise refusal

    def _word(self, call: str, words: Sequence[str]) -> str:
        world = self._world
        word = world.word(world.plan.weather.sink, words)
        if word != "ok":
            world.count(f"broker {call}: {word}")
        return word


class Memory:
    """What a worker tells the group of one topic's partitions, by the product's own code."""

    def __init__(self, world: World, worker: int, topic: str) -> None:
        self._world, self._worker, self._topic = world, worker, topic
        self._memory = GroupMemory(Consumer(world, worker, topic), topic, _settings(), loop())
        self._latest: dict[int, Witness] = {}
        """What each run has told last, and the group has taken."""

    def recall(self, number: int) -> Witness | None:
        """Raises BrokerUnavailable."""
        self._latest.pop(number, None)
        try:
            return wait(self._memory.recall(number))
        except KafkaError as error:
            raise BrokerUnavailable(str(error)) from error

    def tell(self, number: int, witness: Witness) -> None:
        """At the same time as other shards of this worker, at times. Raises as `GroupMemory.tell_from_thread`."""
        others = {n: told for n, told in self._latest.items() if n != number and self._is_worked(n)}
        if self._world.is_calming or self._world.chance.random() < 0.7:
            others = {}
        wait(self._tell_all(number, witness, others))
        self._latest[number] = witness

    def _is_worked(self, number: int) -> bool:
        return (self._topic, number) in self._world.workers[self._worker].at

    async def _tell_all(self, number: int, witness: Witness, others: Mapping[int, Witness]) -> None:
        """Others say once more what they have said last; what they hear is of no interest, as nothing waits for it."""
        numbers = [number, *others]
        self._world.chance.shuffle(numbers)
        words = {**others, number: witness}
        told = {n: asyncio.ensure_future(self._memory._tell(n, words[n])) for n in numbers}
        await asyncio.wait(told.values())
        for n in others:
            with suppress(Fenced, BrokerUnavailable):
                told[n].result()
        told[number].result()

    def tell_offset(self, number: int, offset: int) -> None:
        """For dashboards: whether it was taken is of no interest."""
        with suppress(KafkaError, TimeoutError):
            wait(self._memory.tell_offsets({number: offset}))


@cache
def _settings() -> Settings:
    return load_settings()
