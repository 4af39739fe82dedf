"""How often a goal was reached in events of the past, before anybody predicts it: one look, with a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from config.catalog import Catalog, Prediction
from streams.adapters.event_history import PastEvent
from streams.core.decode import SegmentDecoder
from streams.core.events import BadEvent
from streams.core.goals import GoalBits

_ONLY = "only"


@dataclass(frozen=True, slots=True)
class AtomCount:
    """One `did` or `did_not` of the goal: events that fulfil its name and conditions, and users who had one."""

    events: int
    users: int


@dataclass(frozen=True, slots=True)
class GoalScan:
    """What the events say. Times are event times in seconds since 1970 UTC, None without any event."""

    events: int
    """Usable ones that were read."""
    is_whole: bool
    """All that the log has were read."""
    first_s: float | None
    last_s: float | None
    users: int
    reached_s: tuple[float, ...]
    """When users first reached the goal, the earliest first, one time a user, at most: of `did` when they did it; of
    `did_not` when they had done it for the last time before a whole window without. The outcome is known a window
    later."""
    atoms: tuple[AtomCount, ...]

    @property
    def goal_users(self) -> int:
        """Users who have reached the goal at some time, at most."""
        return len(self.reached_s)

    def enough_s(self, needed: int) -> float | None:
        """When so many different users had reached it; None where fewer have."""
        return self.reached_s[needed - 1] if needed <= len(self.reached_s) else None


@dataclass(slots=True)
class _User:
    first_s: dict[int, float] = field(default_factory=dict)
    """By the atoms whose event the user had, when the first one was,"""
    latest_s: dict[int, float] = field(default_factory=dict)
    """and when the latest."""
    quiet_s: dict[int, float] = field(default_factory=dict)
    """By the atoms after whose event the user was quiet for a window, when the first such event was."""


class _Counts:
    def __init__(self, catalog: Catalog, prediction: Prediction) -> None:
        alone = catalog.model_copy(update={"predictions": {_ONLY: prediction}, "segments": {}})
        self._decoder = SegmentDecoder(alone)
        self._bits = GoalBits(alone)
        self._prediction = prediction
        self._ahead_s = float(catalog.time.max_ahead_s)
        self._atoms = prediction.goal.atoms
        self._events = [0] * len(self._atoms)
        self._users: dict[str, _User] = {}
        self.taken = 0
        self._first_s, self._last_s = math.inf, -math.inf

    def take(self, record: PastEvent, position: int) -> None:
        event = self._decoder.decode(record.value, position, record.log_time_s, 0)
        if isinstance(event, BadEvent):
            return
        if event.deletes:
            self._users.pop(event.user, None)
            return
        time_s = event.time_s if event.time_s <= record.log_time_s + self._ahead_s else record.log_time_s
        self.taken += 1
        self._first_s, self._last_s = min(self._first_s, time_s), max(self._last_s, time_s)
        user = self._users.setdefault(event.user, _User())
        if event.name is None:
            return
        found = self._bits.of(event.name, event.properties)
        for k in range(len(self._atoms)):
            if found >> k & 1:
                self._events[k] += 1
                self._note(user, k, time_s)

    def _note(self, user: _User, k: int, time_s: float) -> None:
        latest_s = user.latest_s.get(k, math.inf)
        if time_s - latest_s > self._prediction.window_s:
            user.quiet_s[k] = min(latest_s, user.quiet_s.get(k, math.inf))
        user.first_s[k] = min(time_s, user.first_s.get(k, math.inf))
        user.latest_s[k] = max(time_s, user.latest_s.get(k, -math.inf))

    def result(self, *, is_whole: bool) -> GoalScan:
        users = self._users.values()
        reached_s = sorted(time_s for time_s in map(self._reached_s, users) if time_s < math.inf)
        return GoalScan(
            events=self.taken,
            is_whole=is_whole,
            first_s=self._first_s if self.taken else None,
            last_s=self._last_s if self.taken else None,
            users=len(users),
            reached_s=tuple(reached_s),
            atoms=tuple(
                AtomCount(self._events[k], sum(k in user.latest_s for user in users)) for k in range(len(self._atoms))
            ),
        )

    def _reached_s(self, user: _User) -> float:
        """When a user first reached the goal; infinite for never."""
        times_s = [
            self._quiet_s(user, k) if atom.negated else user.first_s.get(k, math.inf)
            for k, atom in enumerate(self._atoms)
        ]
        return min(times_s) if self._prediction.goal.join == "any" else max(times_s)

    def _quiet_s(self, user: _User, k: int) -> float:
        """The first event of an atom behind which there was none for a window; infinite for none."""
        if k in user.quiet_s:
            return user.quiet_s[k]
        latest_s = user.latest_s.get(k, math.inf)
        return latest_s if self._last_s - latest_s > self._prediction.window_s else math.inf


def scan_goals(
    catalog: Catalog,
    prediction: Prediction,
    records: Iterable[PastEvent],
    *,
    max_records: int,
    is_late: Callable[[], bool] = lambda: False,
) -> GoalScan:
    """Count in at most `max_records` records, or until it is late, which is asked now and then."""
    counts = _Counts(catalog, prediction)
    for position, record in enumerate(records):
        if position >= max_records or (position % 1_024 == 0 and is_late()):
            return counts.result(is_whole=False)
        counts.take(record, position)
    return counts.result(is_whole=True)
