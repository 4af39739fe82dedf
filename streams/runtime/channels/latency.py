"""How long messages take until they have arrived: for metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from streams.campaigns.effects import TEST, Send
from streams.runtime.channels.desk import send_of
from streams.runtime.deliveries.pace import Delivery
from streams.runtime.deliveries.sender import Outcome
from streams.runtime.meter import LATENCY_SECONDS, Tally

Start = Literal["event", "decided"]
STARTS: Final[tuple[Start, ...]] = ("event", "decided")


class Latency:
    """Of one channel, since its process began."""

    def __init__(self) -> None:
        self.since: dict[Start, Tally] = {start: Tally(LATENCY_SECONDS) for start in STARTS}
        """With all attempts: since the event that led to the message (of those that one led to), with what it waited
        for, as quiet hours; and since it was decided to send it."""

    def add(self, sends: Iterable[Send], now_s: float) -> None:
        """These have arrived now (seconds since 1970 UTC)."""
        for send in sends:
            self.since["decided"].add(max(0.0, now_s - send.at_s))
            if send.event_s is not None:
                self.since["event"].add(max(0.0, now_s - send.event_s))


def arrived(call: Sequence[Delivery], outcomes: Sequence[Outcome]) -> list[Send]:
    """The messages of a call that have arrived; no test."""
    both = zip(call, outcomes, strict=True)
    return [send_of(each) for each, outcome in both if outcome.is_delivered and not each.id.startswith(TEST)]
