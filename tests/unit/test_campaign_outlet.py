"""What campaigns put out, on its way: which log has what, in which order, and what is read again of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.errors import BrokerUnavailable
from streams.adapters.embedded_log import EventWriter, UserCourier
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.campaigns.effects import SENT, Alert, Note, Purge, Send, Trip
from streams.core.decode import SegmentDecoder
from streams.core.events import Event
from streams.core.partition import shard_of
from streams.ports import Message
from streams.runtime.campaigns.outlet import CampaignOutlet, read_trigger
from streams.runtime.channels.parcel import Parcel, cloud_event
from tests.campaign_run_world import CATALOG
from tests.unit.test_channels_desk import NOW_S, send

SHARDS = 4
NOTE = Note("note-1", "zoë", SENT, NOW_S, {"campaign": "c", "version": 1})
ALERT, TRIP = Alert("a", "c", "breaker", "too much"), Trip("c", 12.5)


class Story:
    """Everything that is asked for, in order."""

    def __init__(self, error: Exception | None = None) -> None:
        self.said: list[Any] = []
        self._error = error

    def send(self, messages: Sequence[Message]) -> None:
        if self._error is not None:
            raise self._error
        self.said.append([message.topic for message in messages])

    def alert(self, alert: Alert) -> None:
        self.said.append(alert)

    def trip(self, trip: Trip) -> None:
        self.said.append(trip)


def test_messages_go_before_notes_in_one_call_and_people_are_told_behind() -> None:
    story = Story()
    CampaignOutlet(story, story).publish([ALERT, NOTE, send(1), Purge(0, "g", 2, "ann"), TRIP])
    assert story.said == [["campaign-triggers", "campaign-triggers", "events"], ALERT, TRIP]


def test_nothing_is_sent_for_alerts_alone() -> None:
    story = Story()
    CampaignOutlet(story, story).publish([ALERT])
    assert story.said == [ALERT]


def test_nobody_is_told_of_what_was_not_acknowledged() -> None:
    story = Story(BrokerUnavailable("away"))
    with pytest.raises(BrokerUnavailable):
        CampaignOutlet(story, story).publish([send(1), ALERT])
    assert story.said == []


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder.make(tmp_path / "log", SHARDS)


def publish(folder: LogFolder, *outs: Any) -> None:
    writers = {topic: EventWriter(folder, topic=topic) for topic in ("events", "campaign-triggers")}
    with closing(UserCourier(writers)) as courier:
        CampaignOutlet(courier, Story()).publish(outs)


def values(folder: LogFolder, topic: Any, number: int) -> list[bytes]:
    with closing(PartitionReader(folder.partition(topic, number))) as reader:
        return [entry.value for entry in reader.read(reader.begin, 100)]


def test_the_partition_of_the_user_has_messages_and_purges_in_their_order(folder: LogFolder) -> None:
    put: list[Send | Purge] = [send(1, "ann"), send(2, "zoë"), send(3, "ann"), Purge(0, "g", 4, "ann")]
    publish(folder, *put)
    for number in range(SHARDS):
        found = [read_trigger(value) for value in values(folder, "campaign-triggers", number)]
        assert found == [each for each in put if shard_of(each.user, SHARDS) == number]
    assert shard_of("ann", SHARDS) != shard_of("zoë", SHARDS)


def test_a_note_is_an_event_that_the_shard_takes_under_its_id(folder: LogFolder) -> None:
    publish(folder, NOTE)
    (value,) = values(folder, "events", shard_of("zoë", SHARDS))
    event = SegmentDecoder(CATALOG).decode(value, 0, NOW_S, 0)
    assert isinstance(event, Event)
    assert (event.user, event.name, event.time_s, event.cause_id) == ("zoë", SENT, NOW_S, "note-1")
    assert msgspec.json.decode(value)["properties"] == NOTE.properties


def test_what_is_in_the_topic_for_others_is_no_message_of_channels() -> None:
    event = cloud_event(Parcel.of(send(1), "it"))
    assert [read_trigger(each) for each in (event, b"", b"\xff", b"{}", b"[" * 10_000)] == [None] * 5
