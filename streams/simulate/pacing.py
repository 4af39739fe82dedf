"""When records are sent: at once, so many a second, or each at its own time. The clock comes from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from streams.simulate.draws import F64, I64
from streams.simulate.records import Record
from streams.simulate.sinks import Sink

_AT_ONCE: Final = 5_000
"""Records handed over together at most, so that a sink which has fallen behind still gets them in portions."""
_LEAST_SLEEP_S: Final = 0.002


class Pace(Protocol):
    """Hands records to a sink in time."""

    def send(self, sink: Sink, records: list[Record], due_ms: I64) -> None:
        """Send all; `due_ms` [n] is when each is due, in milliseconds since the start of the traffic, never falling."""


class AtOnce:
    """As fast as the sink takes them."""

    def send(self, sink: Sink, records: list[Record], due_ms: I64) -> None:  # noqa: ARG002  # the port's
        for at in range(0, len(records), _AT_ONCE):
            sink.send(records[at : at + _AT_ONCE])


class Paced:
    """So many records a second (`rate_per_s`), or each when it is due (None).

    `now_s` is a clock that never goes back, `sleep` waits so many seconds. A sink that is too slow is not hurried
    afterwards by more than it can take: what is overdue is sent as soon as the one before is through.
    """

    def __init__(self, rate_per_s: float | None, now_s: Callable[[], float], sleep: Callable[[float], None]) -> None:
        if rate_per_s is not None and rate_per_s <= 0:
            raise ValueError(f"a rate is above 0, not {rate_per_s}")
        self._rate_per_s = rate_per_s
        self._now_s = now_s
        self._sleep = sleep
        self._begin_s = now_s()
        self._sent = 0

    def send(self, sink: Sink, records: list[Record], due_ms: I64) -> None:
        due_s = self._due_s(due_ms)
        at = 0
        while at < len(records):
            now_s = self._now_s() - self._begin_s
            end = min(at + _AT_ONCE, int(np.searchsorted(due_s, now_s, side="right")))
            if end > at:
                sink.send(records[at:end])
                at = end
            else:
                self._sleep(max(_LEAST_SLEEP_S, float(due_s[at]) - now_s))
        self._sent += len(records)

    def _due_s(self, due_ms: I64) -> F64:
        if self._rate_per_s is None:
            return due_ms / 1_000.0
        return (self._sent + np.arange(len(due_ms))) / self._rate_per_s
