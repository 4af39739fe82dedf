"""Which transitions somebody wants to be told of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import msgspec

Direction = Literal["entered", "exited"]


class CrossingData(msgspec.Struct, gc=False):
    """What is looked at in a transition's `data`."""

    segment_id: str
    prediction_id: str | None
    in_segment: bool
    origin: str


class CrossingHead(msgspec.Struct, gc=False):
    """What is looked at in a transition."""

    id: str
    type: str
    subject: str
    time: datetime
    sequence: str
    data: CrossingData
    causationid: str | None = None
    """The message id of the event that caused it."""


_KIND: Final = "tideline.segment."
_HEAD: Final = msgspec.json.Decoder(CrossingHead)


def head_of(data: bytes) -> CrossingHead | None:
    """Of a transition as JSON; None for anything else, which others may have written to the topic."""
    try:
        head = _HEAD.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return head if head.type.startswith(_KIND) else None


@dataclass(frozen=True, slots=True)
class WantedCrossings:
    """A transition is wanted if it fits everything that is named; what names nothing fits all."""

    segments: frozenset[str] = frozenset()
    prediction: str | None = None
    user: str | None = None
    direction: Direction | None = None
    origins: frozenset[str] = frozenset()

    def fits(self, head: CrossingHead) -> bool:
        """Whether it is wanted."""
        data = head.data
        return (
            (not self.segments or data.segment_id in self.segments)
            and (self.prediction is None or data.prediction_id == self.prediction)
            and (self.user is None or head.subject == self.user)
            and (self.direction is None or data.in_segment == (self.direction == "entered"))
            and (not self.origins or data.origin in self.origins)
        )
