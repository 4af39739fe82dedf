"""The job of a shard in plain Python: one event at a time, dictionaries per user, river's own classes.

What a competent engineer would write without arrays and compilers, and what `benchmarks.engine` measures the shard
against. It says the same likelihoods and publishes the same transitions (docs/core.md); the benchmark checks that. It
knows the kinds of goals and filters that `benchmarks/shop.yaml` uses, and raises NotImplementedError for others.

It does less than the shard: no reasons, no quality figures, no crossings, nothing that a checkpoint would need, and no
bound on pending examples.
"""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from benchmarks._plain_parts import (
    BINS,
    DAY_S,
    Habits,
    PlainFeatures,
    Record,
    bin_of,
    category_after,
    plain_pipeline,
)
from benchmarks._warmup import ShortWarmup
from config.catalog import (
    AllFilter,
    AnyFilter,
    Catalog,
    CategoryFilter,
    CountFilter,
    Did,
    DidNot,
    Filter,
    NotFilter,
    ScoreFilter,
    SinceFilter,
)
from models.examples import KIND_EVENT, KIND_SILENT
from streams.core.kernel import look_phase, week_minute
from streams.core.users import user_key

HOUR_S, WEEK_MINUTES = 3_600.0, 10_080
WORDS = ("low", "medium", "high")


@dataclass(slots=True)
class Said:
    """What is said of a user for one prediction; None outside the audience, `likelihood` also before there is one."""

    z: float | None = None
    shadow: float | None = None
    likelihood: float | None = None
    heuristic: float | None = None
    score: float | None = None
    category: int | None = None


@dataclass(slots=True)
class Membership:
    """Of a user in a segment; an odd sequence is in."""

    sequence: int = 0
    entered_s: float | None = None


@dataclass(slots=True)
class Example:
    """A moment that waits for its labels."""

    user: User
    time_s: float
    kind: int
    x: dict[str, float]
    said: list[Said]


@dataclass(slots=True, kw_only=True)
class User(Habits):
    """Everything that is known of a user."""

    id: str
    number: int
    key: int
    phase: float
    week_minute: int
    scored_s: float = math.nan
    times: dict[str, list[float]] = field(default_factory=dict)
    """Of the events that goals ask for: all times, in order."""
    version: int = 0
    epoch: int = 0
    said: list[Said] = field(default_factory=list)
    members: list[Membership] = field(default_factory=list)
    newest: Example | None = None
    look_minute: int = -1


Test = Callable[[User, float, list[Said], bool], bool]
"""Whether a filter holds for a user at a time, given what is said and whether score ranges are widened."""


@dataclass(slots=True)
class Rule:
    """One prediction with its model."""

    id: str
    index: int
    event: str
    label_if_done: int
    window_s: float
    audience: Test | None
    bounds: list[tuple[str, float]]
    """Event names and seconds after the latest of them at which the audience may change."""
    edges: tuple[float, float]
    hysteresis: float
    model: Any
    warmup: ShortWarmup
    waiting: deque[Example] = field(default_factory=deque)
    counts: list[int] = field(default_factory=lambda: [0] * BINS)
    table: list[float] = field(default_factory=lambda: [50.0] * BINS)
    live: bool = False


@dataclass(slots=True)
class Segment:
    """One segment: its test, the predictions that it uses."""

    id: str
    test: Test
    uses: list[int]


@dataclass(slots=True)
class Spent:
    """Seconds inside river's own methods, and what is due per hour, however few events it had."""

    predict_s: float = 0.0
    learn_s: float = 0.0
    renew_s: float = 0.0
    predicted: int = 0
    learned: int = 0


class PlainShard:
    """Takes records one by one; `transitions` and `learned` (examples in the order of learning) grow."""

    def __init__(self, catalog: Catalog, warmup: Callable[[], ShortWarmup] = ShortWarmup) -> None:
        self._catalog = catalog
        self._decoder = msgspec.json.Decoder(Record)
        self._features = PlainFeatures(catalog)
        ids = list(catalog.predictions)
        self.rules = [self._rule(index, id_, warmup()) for index, id_ in enumerate(ids)]
        self._segments = self._all_segments(ids)
        self._goal_events = {rule.event for rule in self.rules}
        self.users: dict[str, User] = {}
        self._ids: deque[str] = deque()
        self._known: set[str] = set()
        self._clock_s = math.nan
        self._minute = 0
        self._hour = 0
        self._version = 0
        self._epoch = 0
        self._backfill_minute = 0
        self._changed = False
        self._due: list[tuple[int, int, User]] = []
        self.transitions: list[bytes] = []
        self.learned: list[tuple[int, float, int, float]] = []
        """Prediction, time, label, and what the model said at that time (also while it warmed up)."""
        self.events = self.looks = self.recorded = 0
        self.spent = Spent()

    # --- definitions ---

    def _rule(self, index: int, id_: str, warmup: ShortWarmup) -> Rule:
        prediction = self._catalog.predictions[id_]
        goal = prediction.goal
        if not isinstance(goal, Did | DidNot) or goal.where or prediction.scale != "percentile":
            raise NotImplementedError(f"the plain reference knows goals of one event and percentiles only, not {id_}")
        audience = prediction.audience_filter
        return Rule(
            id=id_,
            index=index,
            event=goal.event,
            label_if_done=1 if isinstance(goal, Did) else 0,
            window_s=prediction.window_s,
            audience=None if audience is None else self._test(audience),
            bounds=[] if audience is None else self._bounds(audience),
            edges=(prediction.categories.medium, prediction.categories.high),
            hysteresis=prediction.hysteresis,
            model=plain_pipeline(),
            warmup=warmup,
        )

    def _bounds(self, filter_: Filter) -> list[tuple[str, float]]:
        if isinstance(filter_, AllFilter | AnyFilter):
            return [bound for inner in filter_.filters for bound in self._bounds(inner)]
        if isinstance(filter_, SinceFilter):
            ends = (filter_.since.min_s, filter_.since.max_s)
            return [(filter_.event, end) for end in ends if end is not None]
        return []

    def _test(self, filter_: Filter) -> Test:
        if isinstance(filter_, AllFilter):
            every = [self._test(inner) for inner in filter_.filters]
            return lambda user, at_s, said, wide: all(test(user, at_s, said, wide) for test in every)
        if isinstance(filter_, AnyFilter):
            some = [self._test(inner) for inner in filter_.filters]
            return lambda user, at_s, said, wide: any(test(user, at_s, said, wide) for test in some)
        if isinstance(filter_, NotFilter):
            inverse = self._test(filter_.filter)
            return lambda user, at_s, said, wide: not inverse(user, at_s, said, wide)
        return self._leaf(filter_)

    def _leaf(self, filter_: Filter) -> Test:
        if isinstance(filter_, CategoryFilter):
            p = list(self._catalog.predictions).index(filter_.prediction)
            codes = {WORDS.index(word) for word in filter_.categories}
            return lambda _user, _at_s, said, _wide: said[p].category in codes
        if isinstance(filter_, ScoreFilter):
            return self._score_test(filter_)
        if isinstance(filter_, SinceFilter):
            name, low, high = filter_.event, filter_.since.min_s or 0.0, filter_.since.max_s or math.inf
            return lambda user, at_s, _said, _wide: name in user.latest and low <= at_s - user.latest[name] < high
        if isinstance(filter_, CountFilter) and filter_.within_s is None:
            event, least, most = filter_.event, filter_.count.min or 0, filter_.count.max
            top = math.inf if most is None else most
            return lambda user, _at_s, _said, _wide: least <= user.totals.get(event, 0) <= top
        raise NotImplementedError(f"the plain reference does not know this filter: {filter_}")

    def _score_test(self, filter_: ScoreFilter) -> Test:
        p = list(self._catalog.predictions).index(filter_.prediction)
        margin = self._catalog.predictions[filter_.prediction].hysteresis
        low = -math.inf if filter_.score.min is None else filter_.score.min
        high = math.inf if filter_.score.max in (None, 100.0) else filter_.score.max

        def test(_user: User, _at_s: float, said: list[Said], wide: bool) -> bool:
            score, by = said[p].score, margin if wide else 0.0
            return score is not None and low - by <= score < high + by

        return test

    def _all_segments(self, ids: list[str]) -> list[Segment]:
        segments = []
        for p, id_ in enumerate(ids):
            for code, word in enumerate(WORDS):
                segments.append(Segment(f"{id_}.{word}", _in_category(p, code), [p]))
        for name, segment in self._catalog.segments.items():
            text = segment.filter.model_dump_json(by_alias=True)
            uses = [p for p, id_ in enumerate(ids) if f'"prediction":"{id_}"' in text]
            segments.append(Segment(name, self._test(segment.filter), uses))
        return segments

    # --- inputs ---

    def take(self, raw: bytes) -> None:
        """One record."""
        record = self._decoder.decode(raw)
        if record.message_id in self._known:
            return
        self._known.add(record.message_id)
        self._ids.append(record.message_id)
        if len(self._ids) > self._catalog.limits.dedupe_ids:
            self._known.remove(self._ids.popleft())
        self._advance(record.timestamp.timestamp())
        self._event(record, record.timestamp.timestamp())

    def _event(self, record: Record, time_s: float) -> None:
        self.events += 1
        user = self.users.get(record.user_id)
        if user is None:
            user = self._new_user(record.user_id, time_s)
        scored_s = user.scored_s
        newest_s = user.last_s if math.isnan(scored_s) else max(user.last_s, scored_s)
        moment_s = max(time_s, newest_s)
        if not math.isnan(scored_s) and user.version != self._version:
            said, _ = self._score(user, scored_s, user.said)
            origin = "model" if user.epoch == self._epoch else "backfill"
            self._apply(user, said, self._decide(user, scored_s, said), moment_s, origin, None)
        if record.traits is not None and record.traits.country is not None:
            user.traits["country"] = record.traits.country
        revenue = record.properties.revenue if record.properties is not None else None
        self._features.update(user, record.event, time_s, revenue, self._catalog.features.session_gap_s)
        if record.event in self._goal_events:
            user.times.setdefault(record.event, []).append(time_s)
        said, x = self._score(user, moment_s, user.said)
        self._apply(user, said, self._decide(user, moment_s, said), moment_s, "live", record)
        self._finish(user, moment_s)
        if time_s >= newest_s:
            self._leave_example(user, time_s, KIND_EVENT, x)
        self._reschedule(user)

    def _new_user(self, id_: str, time_s: float) -> User:
        key = user_key(id_)
        phase, minute = float(look_phase(np.uint64(key))), int(week_minute(np.uint64(key)))
        user = User(
            first_s=time_s,
            last_s=time_s,
            id=id_,
            number=len(self.users),
            key=key,
            phase=phase,
            week_minute=minute,
        )
        user.money = [0.0] * len(self._features.halves)
        user.said = [Said() for _ in self.rules]
        user.members = [Membership() for _ in self._segments]
        self.users[id_] = user
        return user

    # --- time ---

    def _advance(self, time_s: float) -> None:
        """Everything that is due up to `time_s`: hours, and looks."""
        if math.isnan(self._clock_s):
            self._clock_s = time_s
            self._minute, self._hour = int(time_s // 60.0), int(time_s // HOUR_S)
            return
        if time_s <= self._clock_s:
            return
        target = int(time_s // 60.0)
        while True:
            hour = self._next_hour()
            minute = min(self._due[0][0] if self._due else hour * 60, hour * 60)
            if minute > target:
                break
            if hour * 60 <= minute:
                self._minute, self._hour = hour * 60 - 1, hour
                self._work_hour(hour)
                continue
            self._minute, self._hour = minute, max(self._hour, minute // 60)
            while self._due and self._due[0][0] <= minute:
                due, _, user = heapq.heappop(self._due)
                if user.look_minute == due:
                    self._look(user, minute)
                    self._reschedule(user)
        self._minute, self._hour = max(self._minute, target), max(self._hour, int(time_s // HOUR_S))
        self._clock_s = time_s

    def _next_hour(self) -> int:
        base = self._hour + 1
        if self._changed:
            return base
        best = 1 << 50
        for rule in self.rules:
            if rule.waiting:
                ready_s = rule.waiting[0].time_s + rule.window_s + self._catalog.time.lateness_s
                best = min(best, max(base, int(ready_s // HOUR_S) + 1))
        return best

    def _work_hour(self, hour: int) -> None:
        """Learn what has matured, and put the new distribution in force."""
        any_matured = False
        for rule in self.rules:
            matured = self._matured(rule, hour * HOUR_S)
            any_matured = any_matured or bool(matured)
            learn_one = rule.model.learn_one
            mark = perf_counter()
            for example, label in matured:
                learn_one(example.x, label == 1)
            self.spent.learn_s += perf_counter() - mark
            self.spent.learned += len(matured)
            for example, label in matured:
                self.learned.append((rule.index, example.time_s, label, example.said[rule.index].shadow or 0.0))
            rule.warmup.learned(len(matured))
        if any_matured or self._changed:
            mark = perf_counter()
            self._renew(hour)
            self.spent.renew_s += perf_counter() - mark

    def _matured(self, rule: Rule, now_s: float) -> list[tuple[Example, int]]:
        matured = []
        waiting, window_s = rule.waiting, rule.window_s
        while waiting and waiting[0].time_s + window_s + self._catalog.time.lateness_s < now_s:
            example = waiting.popleft()
            if example.said[rule.index].z is None:
                continue
            times = example.user.times.get(rule.event, ())
            after = bisect_right(times, example.time_s)
            done = after < len(times) and times[after] <= example.time_s + window_s
            matured.append((example, rule.label_if_done if done else 1 - rule.label_if_done))
        return matured

    def _renew(self, hour: int) -> None:
        going_live = [rule for rule in self.rules if rule.warmup.left and not rule.live]
        for rule in going_live:
            rule.live = True
            self._rescore(rule)
        for rule in self.rules:
            total = sum(rule.counts)
            if total:
                below = itertools.accumulate(rule.counts, initial=0)
                rule.table = [100.0 * (b + 0.5 * n) / total for b, n in zip(below, rule.counts, strict=False)]
        self._version = hour
        self._changed = False
        if going_live:
            self._epoch += 1
            self._backfill_minute = hour * 60
            for user in self.users.values():
                self._reschedule(user)

    def _rescore(self, rule: Rule) -> None:
        """A prediction goes live: everybody's rank value becomes the model's."""
        rule.counts = [0] * BINS
        for user in self.users.values():
            said = user.said[rule.index]
            if said.z is not None:
                p = rule.model.predict_proba_one(self._features.of(user, user.scored_s))[True]
                said.z = math.log(p / (1.0 - p))
                rule.counts[bin_of(said.z)] += 1

    # --- looks ---

    def _reschedule(self, user: User) -> None:
        """The next look at a user is the earliest of several."""
        minute, last_s = self._minute, user.last_s
        due = min(_silence_look(last_s, user.phase, minute), _weekly_look(last_s, user.week_minute, minute))
        for rule in self.rules:
            for name, bound_s in rule.bounds:
                if name in user.latest:
                    change = math.ceil((user.latest[name] + bound_s) / 60.0)
                    if minute < change < due:
                        due = change
        if user.epoch != self._epoch:
            turn = self._backfill_minute + user.number // self._catalog.limits.backfill_users_per_minute
            if minute < turn < due:
                due = turn
        user.look_minute = due
        heapq.heappush(self._due, (due, user.number, user))

    def _look(self, user: User, minute: int) -> None:
        self.looks += 1
        time_s = minute * 60.0
        two = user.version != self._version
        weekly = minute % WEEK_MINUTES == user.week_minute and time_s - user.last_s >= DAY_S
        recorded = weekly or user.epoch != self._epoch
        first: list[Said] = []
        first_members: list[bool] = []
        before = user.said
        if two:
            first, _ = self._score(user, user.scored_s, before)
            first_members = self._decide(user, user.scored_s, first)
            recorded = recorded or self._differs(user, first_members)
        said, x = self._score(user, time_s, first if two else before)
        members = self._decide(user, time_s, said)
        if not (recorded or self._moved(user, said) or self._differs(user, members)):
            return
        self.recorded += 1
        if two:
            origin = "model" if user.epoch == self._epoch else "backfill"
            self._apply(user, first, first_members, time_s, origin, None)
            members = self._decide(user, time_s, said)
        self._apply(user, said, members, time_s, "decay", None)
        self._finish(user, time_s)
        if weekly:
            self._leave_example(user, time_s, KIND_SILENT, x)

    @staticmethod
    def _differs(user: User, members: list[bool]) -> bool:
        return any(now != (m.sequence % 2 == 1) for now, m in zip(members, user.members, strict=True))

    @staticmethod
    def _moved(user: User, said: list[Said]) -> bool:
        for old, new in zip(user.said, said, strict=True):
            if (old.score is None) != (new.score is None):
                return True
            if old.score is None or new.score is None:
                continue
            if old.category != new.category or abs(old.score - new.score) >= 1.0:
                return True
        return False

    # --- a moment ---

    def _score(self, user: User, time_s: float, before: list[Said]) -> tuple[list[Said], dict[str, float]]:
        """What is said of the user at a time, and the features that it is said from."""
        x = self._features.of(user, time_s)
        said = []
        for rule in self.rules:
            if rule.audience is not None and not rule.audience(user, time_s, before, False):
                said.append(Said())
                continue
            mark = perf_counter()
            p = rule.model.predict_proba_one(x)[True]
            self.spent.predict_s += perf_counter() - mark
            self.spent.predicted += 1
            guess = self._heuristic(rule, user, time_s)
            z = math.log(p / (1.0 - p)) if rule.live else guess
            score = rule.table[bin_of(z)]
            category = category_after(before[rule.index].category, score, rule.edges, rule.hysteresis)
            said.append(Said(z, p, p if rule.live else None, guess, score, category))
        return said, x

    @staticmethod
    def _heuristic(rule: Rule, user: User, time_s: float) -> float:
        total = user.totals.get(rule.event, 0)
        if total:
            days = (time_s - user.latest[rule.event]) / DAY_S
            guess = math.log1p(total) - 0.7 * math.log1p(days)
        else:
            days = (time_s - user.last_s) / DAY_S
            guess = math.log1p(sum(user.totals.values())) - 0.7 * math.log1p(days) - 10.0
        return guess if rule.label_if_done else -guess

    def _decide(self, user: User, time_s: float, said: list[Said]) -> list[bool]:
        """Who is in which segment now."""
        members = []
        for segment, membership in zip(self._segments, user.members, strict=True):
            live = all(self.rules[p].live for p in segment.uses)
            members.append(live and segment.test(user, time_s, said, membership.sequence % 2 == 1))
        return members

    def _apply(
        self, user: User, said: list[Said], members: list[bool], stamp_s: float, origin: str, record: Record | None
    ) -> None:
        """Publish what has changed, exits first, then remember what is said now."""
        changed = [g for g, now in enumerate(members) if now != (user.members[g].sequence % 2 == 1)]
        for entering in (False, True):
            for g in changed:
                if members[g] == entering:
                    self._publish(user, g, said, stamp_s, origin, record)
        for rule, old, new in zip(self.rules, user.said, said, strict=True):
            if old.z is not None:
                rule.counts[bin_of(old.z)] -= 1
            if new.z is not None:
                rule.counts[bin_of(new.z)] += 1
        user.said = said

    def _publish(
        self, user: User, g: int, said: list[Said], stamp_s: float, origin: str, record: Record | None
    ) -> None:
        segment, membership = self._segments[g], user.members[g]
        membership.sequence += 1
        inside = membership.sequence % 2 == 1
        if inside:
            membership.entered_s = stamp_s
        left = any(user.said[p].z is not None and said[p].z is None for p in segment.uses)
        only = segment.uses[0] if len(segment.uses) == 1 else None
        now, was = (said[only], user.said[only]) if only is not None else (Said(), Said())
        event = {
            "specversion": "1.0",
            "id": f"{user.id}:{segment.id}:{membership.sequence}",
            "type": "tideline.segment.entered.v1" if inside else "tideline.segment.exited.v1",
            "subject": user.id,
            "time": stamp_s,
            "sequence": f"{membership.sequence:010d}",
            "causationid": record.message_id if record is not None else None,
            "data": {
                "user_id": user.id,
                "segment_id": segment.id,
                "in_segment": inside,
                "prediction_id": self.rules[only].id if only is not None else None,
                "model_version": self._version if only is not None else None,
                "score": now.score,
                "previous_score": was.score,
                "likelihood": now.likelihood,
                "category": now.category,
                "previous_category": was.category,
                "origin": "audience" if left and not inside else origin,
                "caused_by_goal": record is not None and any(self.rules[p].event == record.event for p in segment.uses),
                "entered_at": membership.entered_s,
                "entry_count": (membership.sequence + 1) // 2,
            },
        }
        self.transitions.append(msgspec.json.encode(event))

    def _finish(self, user: User, time_s: float) -> None:
        user.scored_s = time_s
        user.version = self._version
        user.epoch = self._epoch
        self._changed = True

    def _leave_example(self, user: User, time_s: float, kind: int, x: dict[str, float]) -> None:
        """Make the moment an example; of events in the same instant the last stands for all."""
        newest = user.newest
        if kind == KIND_EVENT and newest is not None and newest.time_s == time_s and newest.kind == KIND_EVENT:
            newest.x, newest.said = x, user.said
            return
        if all(said.z is None for said in user.said):
            return
        user.newest = Example(user, time_s, kind, x, user.said)
        for rule in self.rules:
            rule.waiting.append(user.newest)


def _in_category(p: int, code: int) -> Test:
    return lambda _user, _at_s, said, _wide: said[p].category == code


def _silence_look(last_s: float, phase: float, minute: int) -> int:
    """1 to 4 days after the last event, then each time a fifth later."""
    for k in range(1, 5):
        due = math.ceil((last_s + (k + phase) * DAY_S) / 60.0)
        if due > minute:
            return due
    base = 5.0 + phase
    silence_days = (minute * 60.0 - last_s) / DAY_S
    j = max(0, int(math.log(silence_days / base, 1.2)) - 1) if silence_days > base else 0
    while True:
        due = math.ceil((last_s + base * 1.2**j * DAY_S) / 60.0)
        if due > minute:
            return due
        j += 1


def _weekly_look(last_s: float, own: int, minute: int) -> int:
    """The user's own minute of a week, once silent for a day."""
    due = minute - minute % WEEK_MINUTES + own
    if due <= minute:
        due += WEEK_MINUTES
    while due * 60.0 - last_s < DAY_S:
        due += WEEK_MINUTES
    return due
