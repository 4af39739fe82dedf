"""What a run measures of its batches: a few additions for each of them, and nothing for an event.

One thread adds, and a scrape reads beside it: the parts of one histogram may differ by the batch in hand.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

from streams.runtime.wanted_crossings import Direction, head_of

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LATENCY_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3_600.0)
RECORDS: Final = (1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0)

Told = tuple[str, Direction, str]
"""Of a transition: segment, direction, origin."""


class Tally:
    """A histogram: how many values were at most each of `bounds`, which grow."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """Of values up to each bound and above the one before; the last of those above all."""
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @classmethod
    def sum_of(cls, tallies: Iterable[Tally], bounds: Sequence[float]) -> Tally:
        """All of them together; each has these bounds."""
        found = cls(bounds)
        for tally in tallies:
            found.counts = [mine + more for mine, more in zip(found.counts, tally.counts, strict=True)]
            found.total += tally.total
        return found

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: each bound with the number of values up to it, the last one +Inf."""
        found, so_far = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found


class Meter:
    """Of one run. `clock_s` is monotonic; `wall_s` gives seconds since 1970. Nothing that a run does depends on it."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic, wall_s: Callable[[], float] = time.time) -> None:
        self.batch_records = Tally(RECORDS)
        self.batch_seconds = Tally(SECONDS)
        self.commit_seconds = Tally(SECONDS)
        self.publish_seconds = Tally(SECONDS)
        self.latency: dict[Literal["first", "last"], Tally] = {
            "first": Tally(LATENCY_SECONDS),
            "last": Tally(LATENCY_SECONDS),
        }
        """From a record's time in the log until the transitions of its batch were acknowledged; of the first and of
        the last record of each batch that had some. What the others waited lies between."""
        self.transitions: dict[Told, int] = {}
        self.outbox = 0
        """Transitions and messages that are stored, and not acknowledged yet."""
        self._outbox_since_s: float | None = None
        self._commit_since_s = 0.0
        self._published_s = 0.0
        self._clock_s = clock_s
        self._wall_s = wall_s

    def now_s(self) -> float:
        """By the monotonic clock."""
        return self._clock_s()

    def worked(self, records: int, since_s: float) -> None:
        """A batch of `records` is done that was begun at `since_s` (`now_s`)."""
        self.batch_records.add(records)
        self.batch_seconds.add(self._clock_s() - since_s)

    def commits(self) -> None:
        """A commit begins."""
        self._commit_since_s = self._clock_s()

    def stored(self, waiting: int) -> None:
        """It is in the store, with so many transitions and messages to publish."""
        now_s = self._clock_s()
        self.commit_seconds.add(now_s - self._commit_since_s)
        self.waits(waiting)

    def waits(self, waiting: int) -> None:
        """So many transitions and messages are to be published now; those that a load finds, too."""
        self.outbox = waiting
        self._outbox_since_s = self._clock_s() if waiting else None

    def published(self) -> None:
        """All of that is acknowledged."""
        since_s = self._outbox_since_s
        if since_s is not None:
            self.publish_seconds.add(self._clock_s() - since_s)
        self.outbox, self._outbox_since_s = 0, None
        self._published_s = self._wall_s()

    def outbox_age_s(self) -> float:
        """How long the oldest of the outbox has waited; 0 for none."""
        since_s = self._outbox_since_s  # once: its own thread may publish between two looks
        return 0.0 if since_s is None else max(0.0, self._clock_s() - since_s)

    def told(self, transitions: Iterable[bytes]) -> None:
        """These are published."""
        for data in transitions:
            head = head_of(data)
            assert head is not None, "the shard has written it"
            key: Told = (head.data.segment_id, "entered" if head.data.in_segment else "exited", head.data.origin)
            self.transitions[key] = self.transitions.get(key, 0) + 1

    def answered(self, first_s: float, last_s: float) -> None:
        """What was published last was of a batch whose first and last record the log took then (since 1970)."""
        self.latency["first"].add(max(0.0, self._published_s - first_s))
        self.latency["last"].add(max(0.0, self._published_s - last_s))
