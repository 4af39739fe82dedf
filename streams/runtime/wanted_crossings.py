"""Which transitions somebody wants to be told of."""

from __future__ import annotations

from dataclasses import dataclass
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
    subject: str
    time: str
    data: CrossingData


_HEAD: Final = msgspec.json.Decoder(CrossingHead)


def read_head(data: bytes) -> CrossingHead:
    """Of a transition as JSON. Raises msgspec.DecodeError for anything else."""
    return _HEAD.decode(data)


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
