"""What campaigns put out, on its way: messages to channels, notes to the log of events, alerts and trips to the store.

    outlet = CampaignOutlet(courier, people)
    outlet.publish(outs)       # durable when it returns; what was given before may be given again

Records of `campaign-triggers` are JSON objects with a `type`. `Send` and `Purge` are for channels alone; what programs
of one's own are meant to read are the CloudEvents that a channel of the kind `topic` puts beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, cast

import msgspec

from config.settings import TopicKind
from streams.campaigns.effects import Alert, Note, Out, Purge, Send, Trip
from streams.ports import Courier, Message
from streams.runtime.channels.parcel import stamp

TRIGGERS: Final[TopicKind] = "campaign-triggers"
EVENTS: Final[TopicKind] = "events"


class People(Protocol):
    """Where alerts are shown, and standings of campaigns are kept. Raises StoreError."""

    def alert(self, alert: Alert) -> None:
        """Show it, once for each id."""

    def trip(self, trip: Trip) -> None:
        """Pause the campaign, if its standing is still the one that it names."""


class CampaignOutlet:
    """See `partition_run.Outlet`. Threads may share it if they may share what it is made of."""

    def __init__(self, courier: Courier, people: People) -> None:
        """`courier`: puts a message into the partition of the user that is its key."""
        self._courier = courier
        self._people = people

    def publish(self, outs: Sequence[Out]) -> None:
        """See the port. A stop in between leaves any part of it done, and all of it in the outbox.

        Raises BrokerUnavailable, StoreUnavailable, BrokerError, StoreError.
        """
        sends = [trigger_of(each) for each in outs if isinstance(each, Send | Purge)]
        notes = events_of([each for each in outs if isinstance(each, Note)])
        if sends or notes:
            self._courier.send([*sends, *notes])
        for each in outs:
            if isinstance(each, Alert):
                self._people.alert(each)
            elif isinstance(each, Trip):
                self._people.trip(each)


def trigger_of(each: Send | Purge) -> Message:
    """What channels are told."""
    return Message(TRIGGERS, each.user, msgspec.json.encode(each))


def events_of(notes: Sequence[Note]) -> list[Message]:
    """Notes for the log of events."""
    return [event_of(note) for note in notes]


def event_of(note: Note) -> Message:
    """A note as an event of the log, as Segment would have sent it."""
    said = {
        "type": "track",
        "userId": note.user,
        "event": note.event,
        "messageId": note.message_id,
        "timestamp": stamp(note.at_s),
        "properties": note.properties,
    }
    return Message(EVENTS, note.user, msgspec.json.encode(said))


_TRIGGER: Final = msgspec.json.Decoder(cast("type[Send | Purge]", Send | Purge))


def read_trigger(record: bytes) -> Send | Purge | None:
    """What `trigger_of` has written; None for what is there for others, or was written by them."""
    try:
        return _TRIGGER.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
