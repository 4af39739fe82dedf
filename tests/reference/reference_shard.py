"""The shard of docs/core.md, one input at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any

import msgspec

from config.catalog import Catalog
from config.notes import SENT, WITHHELD, is_note
from streams.core.events import BadEvent, Event
from tests.reference import looks
from tests.reference.columns import Columns
from tests.reference.conditions import goal_atoms, goal_reached, matches
from tests.reference.definitions import CATEGORIES, SegmentRule, leaves, prediction_rules, segment_rules
from tests.reference.examples import CROSSING, EVENT, SILENT, Pending, PendingExamples
from tests.reference.filters import Answer, Facts, evaluate
from tests.reference.hashes import Hashes
from tests.reference.learning import LIVE, Learner, LiveAfter, Version, WarmupRule, bin_of, sigmoid
from tests.reference.margins import Margins
from tests.reference.rows import Row, update
from tests.reference.scoring import answer, heuristic, plain_category

HOUR_S, MINUTE_S = 3_600.0, 60.0
LIFE = 10**10  # what a sequence is more by for every earlier life


@dataclass(frozen=True, slots=True)
class Advance:
    """The clock is at least at this time."""

    time_s: float


Input = Event | BadEvent | Advance


@dataclass(slots=True)
class Membership:
    """One user in one segment. `differs_since` is when the filter began to say otherwise, while that is held back.

    `unseen`: in it as far as the filter goes, but only crossings count, and there was none.
    """

    sequence: int = 0
    entered_at: float | None = None
    differs_since: float | None = None
    unseen: bool = False

    @property
    def inside(self) -> bool:
        """Whether the user is in."""
        return self.sequence % 2 == 1


@dataclass(slots=True)
class Said:
    """What was recorded of a user at the last recorded moment."""

    scored_t: float = -math.inf
    version: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    memberships: dict[str, Membership] = field(default_factory=dict)
    wishes: int = 0
    """How often a wish that `min_dwell` holds back began or ended."""

    def copy(self) -> Said:
        """One that a look may change and throw away; answers are replaced, never changed."""
        memberships = {id_: replace(membership) for id_, membership in self.memberships.items()}
        return Said(self.scored_t, self.version, self.answers, memberships, self.wishes)


@dataclass(slots=True)
class User:
    """A row, what was said about it, and the minute of the next look."""

    row: Row
    said: Said
    next_look_s: float = math.inf
    reviewed_s: float = -math.inf
    """As of when segments were judged by a change of definitions since the last recorded moment."""
    latest_notes: dict[str, float] = field(default_factory=dict)
    """Event name -> time of the latest note of a campaign about the user."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """A user was deleted at `at_s`; events up to `until_s` are refused, and `lives` have ended."""

    at_s: float = -math.inf
    until_s: float = -math.inf
    lives: int = 0


NEVER = Deletion()


@dataclass(frozen=True, slots=True)
class Step:
    """One evaluation of a user: the state `at_s`, said at `now_s` for a reason.

    `went_live`: predictions that went live since the user was scored last. `edited`: segments that this change of
    definitions is about: everybody is judged by them like who is outside.
    """

    at_s: float
    now_s: float
    origin: str
    event: Event | None
    went_live: frozenset[str] = frozenset()
    edited: frozenset[str] = frozenset()


@dataclass(slots=True)
class RunResult:
    """What came out of a run.

    `examples` are in the order in which they were handed out; `users` holds (likelihood, score, category) as last
    recorded; `close_calls` is not empty where a rounding error could have changed the result.
    """

    transitions: list[dict[str, Any]]
    examples: list[dict[str, Any]]
    users: dict[str, dict[str, tuple[float | None, float | None, str | None]]]
    memberships: dict[str, set[str]]
    counters: dict[str, int]
    statuses: dict[str, int]
    close_calls: list[str]


class ReferenceShard:
    """Takes inputs one by one; `transitions` and `examples` grow."""

    def __init__(
        self, catalog: Catalog, warmup: Callable[[str], WarmupRule], hashes: Hashes, closeness: float = 1e-7
    ) -> None:
        self.catalog = catalog
        self.hashes = hashes
        self.margins = Margins(closeness)
        self.predictions = {rule.id: rule for rule in prediction_rules(catalog)}
        self.segments = segment_rules(catalog)
        self.columns = Columns(catalog)
        self.learner = Learner({id_: rule.memory_examples for id_, rule in self.predictions.items()}, warmup)
        self.version: Version | None = None
        self.recorded = False
        self.last_hour_s = -math.inf
        self.live_since: dict[str, float] = {}
        self.live_rows: dict[str, int] = {}
        self.clock: float | None = None
        self.users: dict[str, User] = {}
        self.accepted: list[int] = []
        self.accepted_set: set[int] = set()
        self.pending = PendingExamples(catalog.limits.pending_examples)
        self.transitions: list[dict[str, Any]] = []
        self.examples: list[dict[str, Any]] = []
        self.counters: Counter[str] = Counter()
        self.deleted: dict[str, Deletion] = {}
        self.free: list[int] = []
        self.lives: dict[str, int] = {}
        """How many a user's life comes after, or more."""
        self.forgotten_lives = 0

    # --- inputs ---

    def take(self, item: Input) -> None:
        """One input."""
        if isinstance(item, BadEvent):
            self.counters["bad"] += 1
        elif isinstance(item, Advance):
            if self.clock is not None:
                self._pass_time(item.time_s)
        elif item.name is not None and is_note(item.name):
            self._note(item, item.name)
        else:
            self.columns.reserve(item)
            refused = self._refused(item)
            if refused is not None:
                self.counters[refused] += 1
            else:
                self._accept(item)

    def _refused(self, event: Event) -> str | None:
        """What counts an event or deletion of which nothing comes."""
        deletion = self.deleted.get(event.user, NEVER)
        if event.deletes:
            if event.message_hash in self.accepted_set:
                return "duplicates"
            return "deletions_skipped" if self._clocked(event) <= deletion.at_s else None
        if self._clocked(event) <= deletion.until_s:
            return "deleted_user"
        if event.user not in self.users and len(self.users) >= self.catalog.limits.users:
            return "too_many_users"
        return "duplicates" if event.message_hash in self.accepted_set else None

    def _accept(self, event: Event) -> None:
        self._remember_hash(event.message_hash)
        if event.time_s != self._clocked(event):
            event = msgspec.structs.replace(event, time_s=event.log_time_s)
            self.counters["moved_back"] += 1
        self._pass_time(event.time_s)
        if event.deletes:
            self._delete(event)
        else:
            self._event(event)

    def _note(self, event: Event, name: str) -> None:
        """What a campaign says of a user marks examples, and does nothing else."""
        user, time_s = self.users.get(event.user), self._clocked(event)
        if user is None or time_s <= self.deleted.get(event.user, NEVER).until_s:
            self.counters["notes_passed_over"] += 1
            return
        if event.message_hash in self.accepted_set:
            self.counters["duplicates"] += 1
            return
        self._remember_hash(event.message_hash)
        self.counters["notes"] += 1
        self.counters["moved_back"] += time_s != event.time_s
        if name in (SENT, WITHHELD):
            self.counters["late_notes"] += time_s + self.catalog.time.lateness_s < self.last_hour_s
            user.latest_notes[name] = max(time_s, user.latest_notes.get(name, time_s))
            for example in self.pending.examples:
                if example.user == event.user:
                    example.notes.append((name, time_s))

    def _clocked(self, event: Event) -> float:
        ahead = event.time_s > event.log_time_s + self.catalog.time.max_ahead_s
        return event.log_time_s if ahead else event.time_s

    def _delete(self, event: Event) -> None:
        before = self.deleted.get(event.user, NEVER)
        until_s, lives = max(event.time_s, before.until_s), before.lives
        self.recorded = True
        user = self.users.pop(event.user, None)
        if user is not None:
            now_s = max(event.time_s, user.row.last_t, user.said.scored_t)
            for segment in self.segments:
                if user.said.memberships[segment.id].inside:
                    self.transitions.append(self._deleted_exit(segment, user, now_s, event))
            self.pending.empty(event.user)
            heappush(self.free, user.row.index)
            self.counters["deleted_users"] += 1
            until_s, lives = max(until_s, user.row.last_t), self.lives[event.user] + 1
        self.deleted[event.user] = Deletion(event.time_s, until_s, lives)

    def _trim_ledger(self) -> None:
        """Beyond the bound the oldest are forgotten until an eighth is free; those of whom no life has ended first."""
        limit = self.catalog.limits.deleted_users
        if len(self.deleted) <= limit:
            return
        ages = {user: (one.lives > 0, one.at_s, self.hashes.ledger(user)) for user, one in self.deleted.items()}
        for user in sorted(ages, key=lambda one: ages[one])[: len(ages) - limit + limit // 8]:
            self.forgotten_lives = max(self.forgotten_lives, self.deleted.pop(user).lives)

    def _deleted_exit(self, segment: SegmentRule, user: User, now_s: float, event: Event) -> dict[str, Any]:
        membership = user.said.memberships[segment.id]
        membership.sequence += 1
        said = Said(answers={id_: Answer() for id_ in self.predictions}, memberships=user.said.memberships)
        step = Step(now_s, now_s, "deleted", None)
        told = self._transition(segment, user.row.user, said.answers, said, step)
        return {**told, "model_version": None, "message_hash": event.message_hash}

    def _remember_hash(self, message_hash: int) -> None:
        self.accepted.append(message_hash)
        self.accepted_set.add(message_hash)
        while len(self.accepted) > self.catalog.limits.dedupe_ids:
            self.accepted_set.remove(self.accepted.pop(0))

    def _event(self, event: Event) -> None:
        self.counters["events"] += 1
        self._count_late_goal(event)
        known = event.user in self.users
        if not known:
            row = Row(event.user, heappop(self.free) if self.free else len(self.users), self.columns.half_lives)
            self.users[event.user] = User(row, self._nothing_said())
            self.lives[event.user] = max(self.forgotten_lives, self.deleted.get(event.user, NEVER).lives)
        user = self.users[event.user]
        in_order = not known or event.time_s >= max(user.row.last_t, user.said.scored_t)
        now_s = max(event.time_s, user.row.last_t, user.said.scored_t) if known else event.time_s

        after = user.said.copy()
        transitions = self._first_step(user, after, now_s)
        between = after.answers
        traits = frozenset(self.catalog.named_traits())
        update(user.row, event, self.columns.meet(event), self.catalog.features.session_gap_s, traits)
        transitions += self._step(user.row, after, Step(now_s, now_s, "live", event))
        crossed = self._crossed(between, after.answers)
        self._record(user, after, transitions, now_s)
        if in_order:
            self._leave_example(user, now_s, EVENT)
        self._leave_crossing(user, now_s, crossed)
        user.next_look_s = self._next_look(user)

    def _nothing_said(self) -> Said:
        return Said(
            answers={id_: Answer() for id_ in self.predictions},
            memberships={segment.id: Membership() for segment in self.segments},
        )

    def _count_late_goal(self, event: Event) -> None:
        if event.time_s + self.catalog.time.lateness_s < self.last_hour_s:
            goals = [atom for rule in self.predictions.values() for atom in goal_atoms(rule.goal)]
            self.counters["late_goals"] += any(matches(atom, event) for atom in goals)

    # --- time ---

    def _pass_time(self, to_s: float) -> None:
        """Everything that is due up to and including `to_s`, then the clock is there."""
        if self.clock is None:
            self.clock = to_s
            return
        while True:
            hour = self._next_hour(self.clock)
            tick = min([hour, *(user.next_look_s for user in self.users.values())])
            if tick > to_s:
                break
            self.clock = tick
            if tick == hour:
                self._hour(tick)
            due = [user for user in self.users.values() if user.next_look_s <= tick]
            for user in sorted(due, key=lambda u: u.row.index):
                self._look(user, tick)
        self.clock = max(self.clock, to_s)

    def _next_hour(self, clock: float) -> float:
        """The first whole hour after the clock at which a label is known or a snapshot arises."""
        next_whole = math.floor(clock / HOUR_S) * HOUR_S + HOUR_S
        if self.recorded:
            return next_whole
        heads = [(self.pending.head(id_), id_) for id_ in self.predictions]
        known = [self._known_at(example, id_) for example, id_ in heads if example is not None]
        return max(next_whole, min(known, default=math.inf))

    def _known_at(self, example: Pending, prediction: str) -> float:
        known_s = example.time_s + self.predictions[prediction].window_s + self.catalog.time.lateness_s
        # Strictly later: an event at the last instant of the window comes after the ticks of its own time.
        return math.floor(known_s / HOUR_S) * HOUR_S + HOUR_S

    def _hour(self, hour_s: float) -> None:
        self._trim_ledger()
        handed_out = False
        for id_ in self.predictions:
            handed = self._hand_out(id_, hour_s)
            handed_out = handed_out or bool(handed)
            was_live = self._has_model(id_)
            self.learner.learn(id_, [example for example in handed if example["kind"] != CROSSING])
            if self._has_model(id_) and not was_live:
                self._go_live(id_, hour_s)
        self.pending.forget_passed(set(self.predictions))
        if handed_out or self.recorded:
            self.pending.double_if_empty()
            bins = {id_: self._distribution(id_) for id_ in self.predictions}
            self.version = self.learner.snapshot(int(hour_s // HOUR_S), bins)
            self.recorded = False
            self.last_hour_s = hour_s

    def _hand_out(self, prediction: str, hour_s: float) -> list[dict[str, Any]]:
        """In the order in which they were made; one whose label is not known yet holds up those behind it."""
        rule = self.predictions[prediction]
        handed = []
        while (example := self.pending.head(prediction)) and self._known_at(example, prediction) <= hour_s:
            example.passed.add(prediction)
            if prediction in example.audience:
                log = self.users[example.user].row.log
                inside = [e for e in log if example.time_s < e.time_s <= example.time_s + rule.window_s]
                label = int(goal_reached(rule.goal, inside))
                handed.append(example.hand_out(prediction, label, rule.window_s, hour_s))
        self.examples += handed
        return handed

    def _distribution(self, prediction: str) -> dict[int, int]:
        """F: the recorded rank values of exactly the users in the audience."""
        ranks = [user.said.answers[prediction].z for user in self.users.values()]
        return dict(Counter(bin_of(z, self.margins) for z in ranks if z is not None))

    def _go_live(self, prediction: str, hour_s: float) -> None:
        """Everybody's rank value becomes the model's, so that the first snapshot of it has its distribution."""
        model = self.learner.models[prediction].freeze()
        self.live_since[prediction] = hour_s
        self.live_rows[prediction] = len(self.users) + len(self.free)
        for user in self.users.values():
            said = user.said.answers[prediction]
            if said.audience:
                z = model.logit(self.columns.values(user.row, user.said.scored_t))
                user.said.answers = {**user.said.answers, prediction: replace(said, z=z)}
            user.next_look_s = min(user.next_look_s, hour_s + MINUTE_S * self._place_in_line(user))

    # --- looks ---

    def _next_look(self, user: User) -> float:
        """The first minute after the clock's own at which there is a reason to look; what is past is left out."""
        assert self.clock is not None
        name, row = user.row.user, user.row
        after_s = math.floor(self.clock / MINUTE_S) * MINUTE_S
        times = [
            looks.silence_look(row.last_t, self.hashes.look_phase(name), after_s),
            looks.weekly_look(row.last_t, self.hashes.week_phase(name), after_s),
        ]
        audiences = [rule.audience for rule in self.predictions.values() if rule.audience is not None]
        for filter_ in audiences + [segment.filter for segment in self.segments]:
            for leaf in leaves(filter_):
                times += looks.condition_looks(leaf, row)
        for segment in self.segments:
            since_s = user.said.memberships[segment.id].differs_since
            if since_s is not None:
                times.append(looks.up_to_minute(since_s + segment.min_dwell_s))
        times += self._turns(user)
        return min(time_s for time_s in times if time_s > after_s)

    def _place_in_line(self, user: User) -> int:
        return user.row.index // self.catalog.limits.backfill_users_per_minute

    def _turns(self, user: User) -> list[float]:
        """When the user is looked at because predictions went live of which nothing was published yet."""
        return [
            live_s + MINUTE_S * self._place_in_line(user)
            for id_, live_s in self.live_since.items()
            if user.row.index < self.live_rows[id_] and user.said.version < live_s // HOUR_S
        ]

    def _look(self, user: User, now_s: float) -> None:
        self.counters["looks"] += 1
        phase = self.hashes.week_phase(user.row.user)
        weekly = looks.weekly_look(user.row.last_t, phase, now_s - MINUTE_S) == now_s
        turned = any(turn_s <= now_s for turn_s in self._turns(user))
        after = user.said.copy()
        transitions = self._first_step(user, after, now_s)
        between = after.answers
        transitions += self._step(user.row, after, Step(now_s, now_s, "decay", None))
        if weekly or turned or transitions or self._moved(user.said, after):
            self.counters["recorded_looks"] += 1
            crossed = self._crossed(between, after.answers)
            self._record(user, after, transitions, now_s)
            if weekly:
                self._leave_example(user, now_s, SILENT)
            self._leave_crossing(user, now_s, crossed)
        user.next_look_s = self._next_look(user)

    def _moved(self, before: Said, after: Said) -> bool:
        """Whether a look has found something worth recording, besides transitions."""
        for id_, old in before.answers.items():
            new = after.answers[id_]
            if (old.audience, old.category) != (new.audience, new.category):
                return True
            if old.score is not None and new.score is not None:
                self.margins.note("score moved", abs(new.score - old.score), 1.0)
                if abs(new.score - old.score) >= 1.0:
                    return True
        return after.wishes != before.wishes

    # --- a change of definitions ---

    def redefine(self, catalog: Catalog) -> None:
        """Go on under a catalog that differs in filters of segments, category edges and hystereses, and names no more.

        Everybody is reviewed at once (docs/core.md, Review).
        """
        before = {segment.id: segment.filter for segment in self.segments}
        rules = {rule.id: rule for rule in prediction_rules(catalog)}
        moved = frozenset(id_ for id_, rule in rules.items() if rule != self.predictions[id_])
        self.catalog, self.predictions, self.segments = catalog, rules, segment_rules(catalog)
        edited, reviewed = set[str](), set[str]()
        for segment in self.segments:
            parts = list(leaves(segment.filter))
            if segment.filter != before[segment.id] or moved & {leaf.get("prediction") for leaf in parts}:
                edited.add(segment.id)
            if segment.id in edited or reviewed & {leaf.get("segment") for leaf in parts}:
                reviewed.add(segment.id)
        if not reviewed:
            return
        self.recorded = True
        for user in sorted(self.users.values(), key=lambda one: one.row.index):
            self._review(user, moved, frozenset(edited), [one for one in self.segments if one.id in reviewed])

    def _review(self, user: User, moved: frozenset[str], edited: frozenset[str], segments: list[SegmentRule]) -> None:
        """Judge segments by what was said of the user; categories of `moved` predictions as if there were none yet."""
        assert self.clock is not None
        user.reviewed_s = math.floor(self.clock / MINUTE_S) * MINUTE_S
        at_s = max(user.said.scored_t, user.reviewed_s)
        after, before = user.said.copy(), user.said.answers
        after.answers = {id_: self._shown_anew(id_, one) if id_ in moved else one for id_, one in before.items()}
        step = Step(at_s, self.clock, "definition_change", None, self._not_published(user), edited)
        self.transitions += self._decide(user.row, after, before, step, segments)
        user.said = after
        user.next_look_s = self._next_look(user)

    def _shown_anew(self, prediction: str, said: Answer) -> Answer:
        if said.score is None:
            return said
        for edge in self.predictions[prediction].edges:
            self.margins.note("edge", said.score, edge)
        return replace(said, category=plain_category(said.score, self.predictions[prediction].edges))

    # --- a moment ---

    def _version_number(self) -> int:
        return self.version.number if self.version is not None else 0

    def _not_published(self, user: User) -> frozenset[str]:
        """Predictions that went live since anything was published of the user."""
        return frozenset(id_ for id_, live_s in self.live_since.items() if user.said.version < live_s // HOUR_S)

    def _first_step(self, user: User, after: Said, now_s: float) -> list[dict[str, Any]]:
        """A snapshot that came since the last recorded moment, on the features as they were then."""
        if self.version is None or user.said.scored_t == -math.inf or user.said.version >= self.version.number:
            return []
        went_live = self._not_published(user)
        judged_s = max(user.said.scored_t, user.reviewed_s)
        step = Step(judged_s, now_s, "model", None, went_live)
        return self._step(user.row, after, step, scored_s=user.said.scored_t)

    def _step(self, row: Row, said: Said, step: Step, scored_s: float | None = None) -> list[dict[str, Any]]:
        """Scores the user, at `scored_s` if that is another time, and decides all segments.

        Changes `said`; returns the transitions in their order.
        """
        before = said.answers
        said.answers = self._answers(row, before, step.at_s if scored_s is None else scored_s)
        said.version = self._version_number()
        return self._decide(row, said, before, step, self.segments)

    def _decide(
        self, row: Row, said: Said, before: dict[str, Answer], step: Step, segments: list[SegmentRule]
    ) -> list[dict[str, Any]]:
        members = {id_: membership.inside for id_, membership in said.memberships.items()}
        changed = []
        for segment in segments:
            membership = said.memberships[segment.id]
            fulfilled = membership.inside or membership.unseen
            is_edited, is_review = segment.id in step.edited, step.origin == "definition_change"
            wanted = self._wanted(segment, row, said, members, fulfilled and not is_edited, step.at_s)
            awaits = bool(step.went_live & set(segment.uses))
            wanted = wanted and not (is_review and awaits)
            if segment.crossings and wanted and not fulfilled and (is_review or awaits):
                membership.unseen, membership.differs_since = True, None
                said.wishes += 1
                continue
            if wanted == fulfilled:
                said.wishes += membership.differs_since is not None
                membership.differs_since = None
                continue
            if membership.differs_since is None:
                membership.differs_since = step.now_s
                said.wishes += segment.min_dwell_s > 0
            # By the state that is judged: a new snapshot looks at the past, so nothing falls due in its step.
            is_due = segment.min_dwell_s == 0 or step.at_s - membership.differs_since >= segment.min_dwell_s
            if is_due or (is_edited and fulfilled):
                membership.differs_since = None
                if membership.unseen:
                    membership.unseen = False
                    said.wishes += 1
                    continue
                membership.sequence += 1
                if membership.inside:
                    membership.entered_at = step.now_s
                members[segment.id] = membership.inside
                changed.append(segment)
        exits = [segment for segment in changed if not said.memberships[segment.id].inside]
        entries = [segment for segment in changed if said.memberships[segment.id].inside]
        return [self._transition(segment, row.user, before, said, step) for segment in exits + entries]

    def _answers(self, row: Row, before: dict[str, Answer], at_s: float) -> dict[str, Answer]:
        x = self.columns.values(row, at_s)
        answers = {}
        for id_, rule in self.predictions.items():
            facts = Facts(row.log, row.traits, at_s)
            if rule.audience is not None and not evaluate(rule.audience, facts):
                answers[id_] = Answer()
                continue
            version = None if self.version is None else self.version.predictions[id_]
            rank = heuristic(rule, row, at_s)
            answers[id_] = answer(rule, version, rank, self._logit(id_, x), before[id_], self.margins)
        return answers

    def _logit(self, prediction: str, x: list[float]) -> float:
        return 0.0 if self.version is None else self.version.predictions[prediction].model.logit(x)

    def _has_model(self, prediction: str) -> bool:
        return self.learner.status[prediction] == LIVE

    def _is_live(self, prediction: str) -> bool:
        return self._has_model(prediction) and self.predictions[prediction].published

    def _wanted(
        self, segment: SegmentRule, row: Row, said: Said, members: dict[str, bool], fulfilled: bool, at_s: float
    ) -> bool:
        """What the segment's filter says; false while something it uses is not live."""
        if not all(self._is_live(id_) for id_ in segment.uses):
            return False
        if not all(said.answers[id_].audience for id_ in segment.uses):
            return False
        widen = {id_: self.predictions[id_].hysteresis for id_ in segment.uses if fulfilled}
        return evaluate(segment.filter, Facts(row.log, row.traits, at_s, said.answers, members, widen, self.margins))

    def _transition(
        self, segment: SegmentRule, user: str, before: dict[str, Answer], said: Said, step: Step
    ) -> dict[str, Any]:
        membership = said.memberships[segment.id]
        left_audience = any(before[id_].audience and not said.answers[id_].audience for id_ in segment.uses)
        only = segment.uses[0] if len(segment.uses) == 1 else None
        new = said.answers[only] if only is not None else Answer()
        is_backfill = step.origin == "model" and step.went_live & set(segment.uses)
        origin = "backfill" if is_backfill else step.origin
        old = before[only] if only is not None and origin != "backfill" else Answer()
        entry_count = (membership.sequence + 1) // 2
        return {
            "user": user,
            "segment": segment.id,
            "in_segment": membership.inside,
            "sequence": LIFE * self.lives[user] + membership.sequence,
            "time_s": step.now_s,
            "origin": "audience" if left_audience and not membership.inside else origin,
            "prediction": only,
            "model_version": self._version_number() if only is not None else None,
            "score": new.score,
            "previous_score": old.score,
            "likelihood": new.likelihood,
            "category": category_name(new.category),
            "previous_category": category_name(old.category),
            "caused_by_goal": self._is_goal(segment, step.event),
            "entered_at": membership.entered_at,
            "entry_count": entry_count,
            "is_reentry": entry_count > 1,
            "message_hash": step.event.message_hash if step.event is not None else None,
        }

    def _is_goal(self, segment: SegmentRule, event: Event | None) -> bool:
        atoms = [atom for id_ in segment.uses for atom in goal_atoms(self.predictions[id_].goal)]
        return event is not None and any(matches(atom, event) for atom in atoms)

    def _record(self, user: User, after: Said, transitions: list[dict[str, Any]], now_s: float) -> None:
        user.said = after
        user.reviewed_s = -math.inf
        after.scored_t = now_s
        self.recorded = True
        self.transitions += transitions

    def _crossed(self, before: dict[str, Answer], after: dict[str, Answer]) -> set[str]:
        """Predictions out of warm-up whose category is another after the step that is the moment itself."""
        judged = [id_ for id_ in self.predictions if self._has_model(id_)]
        categories = {id_: (before[id_].category, after[id_].category) for id_ in judged}
        return {id_ for id_, (old, new) in categories.items() if None not in (old, new) and old != new}

    def _leave_crossing(self, user: User, now_s: float, crossed: set[str]) -> None:
        if crossed:
            self.pending.add(self._pending(user, now_s, CROSSING, crossed))

    def _leave_example(self, user: User, now_s: float, kind: str) -> None:
        audiences = {id_ for id_, said in user.said.answers.items() if said.audience}
        example = self._pending(user, now_s, kind, audiences)
        if kind == EVENT and self.pending.replace(example):
            return
        if audiences:
            self.pending.add(example)

    def _pending(self, user: User, now_s: float, kind: str, audience: set[str]) -> Pending:
        x = self.columns.values(user.row, now_s)
        return Pending(
            user=user.row.user,
            time_s=now_s,
            kind=kind,
            x=x,
            answers=dict(user.said.answers),
            shadows={id_: sigmoid(self._logit(id_, x)) for id_ in self.predictions},
            heuristics={id_: heuristic(rule, user.row, now_s) for id_, rule in self.predictions.items()},
            audience=audience,
            hash=self.hashes.keep(user.row.user, now_s),
            notes=list(user.latest_notes.items()),
        )

    # --- the result ---

    def result(self) -> RunResult:
        """Everything so far; features by the names that their columns have by now."""
        labels = self.columns.labels()
        examples = []
        for handed in self.examples:
            named = zip(labels, handed["x"], strict=True)
            features = {label: value for label, value in named if label is not None}
            rest = {key: value for key, value in handed.items() if key != "x"}
            examples.append({**rest, "features": features, "category": category_name(handed["category"])})
        users = {
            name: {id_: (a.likelihood, a.score, category_name(a.category)) for id_, a in user.said.answers.items()}
            for name, user in self.users.items()
        }
        memberships: dict[str, set[str]] = {}
        for name, user in self.users.items():
            for segment, membership in user.said.memberships.items():
                if membership.inside:
                    memberships.setdefault(segment, set()).add(name)
        return RunResult(
            transitions=list(self.transitions),
            examples=examples,
            users=users,
            memberships=memberships,
            counters=dict(self.counters),
            statuses=dict(self.learner.status),
            close_calls=list(self.margins.close_calls),
        )


def category_name(category: int | None) -> str | None:
    """low, medium, high, or None."""
    return None if category is None else CATEGORIES[category]


def run(
    catalog: Catalog,
    inputs: Iterable[Input],
    *,
    warmup: Callable[[str], WarmupRule] | None = None,
    live_after: int = 5,
    hashes: Hashes | None = None,
    closeness: float = 1e-7,
) -> RunResult:
    """Everything that a shard makes of the inputs.

    `warmup` gives the rule of each prediction (by id); without it, a prediction leaves its warm-up after `live_after`
    learned examples. `hashes` are those of the shard that is compared.
    """
    shard = ReferenceShard(catalog, warmup or (lambda _: LiveAfter(live_after)), hashes or Hashes(), closeness)
    for item in inputs:
        shard.take(item)
    return shard.result()
