"""`tail` tells a quiet topic from a Kafka that is away; a topic that is not listed may be one that is not shown."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError

from config.errors import BrokerUnavailable
from config.settings import Settings
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import explained, no_topic
from streams.adapters.kafka_errors import explained as explained_of_aiokafka
from streams.runtime.kafka.watch import Silence


class World:
    """A consumer's Kafka, and the time: a question to one that is away takes all of its time-out."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.is_there = True
        self.asked_s: list[float] = []
        self.said: list[str] = []
        self.silence = Silence(self, ["a place"], "here:9092", self.said.append, lambda: self.now_s)

    def end_offsets(self, places: list[Any], timeout_ms: int) -> dict[Any, int]:
        """As kafka-python has it."""
        self.asked_s.append(self.now_s)
        if self.is_there:
            return dict.fromkeys(places, 7)
        self.now_s += timeout_ms / 1_000
        raise kafka_python().errors.KafkaTimeoutError("no answer")

    def poll(self, until_s: float, *, has_records: bool = False) -> None:
        """Half a second each."""
        while self.now_s < until_s:
            self.now_s += 0.5
            self.silence.look(has_records)


def test_a_quiet_topic_is_waited_for_without_a_word() -> None:
    world = World()
    world.poll(1_300.0)
    assert world.said == []
    assert world.asked_s == [1_005.0 + 5 * number for number in range(60)]


def test_while_records_come_nothing_is_asked() -> None:
    world = World()
    world.is_there = False
    world.poll(1_300.0, has_records=True)
    assert (world.asked_s, world.said) == ([], [])


def test_a_kafka_that_is_away_is_told_once_and_ends_it_after_a_minute() -> None:
    world = World()
    world.is_there = False
    with pytest.raises(BrokerUnavailable, match=r"here:9092 has not answered for 60 s"):
        world.poll(2_000.0)
    assert 1_060.0 <= world.now_s <= 1_070.0
    assert len(world.said) == 1
    assert "here:9092 does not answer" in world.said[0]


def test_a_reader_that_stood_still_does_not_shorten_the_minute() -> None:
    world = World()
    world.poll(1_001.0, has_records=True)
    world.now_s = back_s = 5_000.0
    world.is_there = False
    with pytest.raises(BrokerUnavailable):
        world.poll(9_000.0)
    assert world.now_s >= back_s + 55.0


@pytest.mark.parametrize("has_records", [True, False])
def test_a_kafka_that_comes_back_is_told_and_has_a_whole_minute_again(has_records: bool) -> None:
    world = World()
    world.is_there = False
    world.poll(1_050.0)
    world.is_there = True
    world.poll(1_056.0, has_records=has_records)
    assert len(world.said) == 2
    assert "answers again" in world.said[1]
    world.is_there = False
    back_s = world.now_s
    with pytest.raises(BrokerUnavailable):
        world.poll(2_000.0)
    assert world.now_s >= back_s + 55.0
    assert len(world.said) == 3


def test_a_topic_that_is_not_listed_may_be_one_that_the_user_may_not_describe() -> None:
    shown, hidden = Settings(), Settings(kafka_username="reader")
    assert "'a.b' does not exist, or this client may not describe it" in str(no_topic("a.b", shown))
    assert "'a.b' does not exist, or the user 'reader' may not describe it" in str(no_topic("a.b", hidden))
    unknown = kafka_python().errors.UnknownTopicOrPartitionError("a.b")
    assert "or the user 'reader' may not describe it" in str(explained(unknown, hidden))
    told = str(explained_of_aiokafka(UnknownTopicOrPartitionError(), hidden))
    assert "a topic does not exist (" in told
    assert "or the user 'reader' may not describe it" in told
