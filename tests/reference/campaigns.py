"""Campaigns, slow and obvious: everything that ever happened is kept in lists, and each rule looks through them.

Written from what campaigns promise (docs/campaigns.md), sentence by sentence, and without the engine; the sentences
stand above what they say. Journeys, breakers and several versions are not in it; of schedules those that reach all of
their members at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import inf, nextafter
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from config.campaigns import Campaign, Messaging
from config.times import WEEKDAYS, EventTrigger, OnceTrigger, QuietHours, RecurringTrigger
from streams.campaigns.inputs import Crossing, Deleted, Facts, Input, Watched

KEPT = ("sent", "control", "holdout")
LATE_S = 3_600.0
ZONES = available_timezones()


@dataclass
class Decision:
    """What became of one occasion at one time."""

    user: str
    campaign: str
    now_s: float
    at_s: float
    key: str
    what: str
    value: float | None = None
    wanted: float | None = None
    """What the ladder alone would have given."""
    rung: int = -1
    cents: int = 0
    unit: str = ""
    cost: float = 0.0
    is_forgotten: bool = False


@dataclass
class Held:
    """An occasion that waits: for a time, for its turn (`due_s` is None), or for the rest of its moment.

    One that a pause holds waits for a time, too: that at which it is stale.
    """

    user: str
    campaign: str
    kind: str
    key: str
    at_s: float
    by_goal: bool
    since_s: float
    due_s: float | None = None
    is_new: bool = True
    is_paused: bool = False

    @property
    def is_in_queue(self) -> bool:
        """Of the rate."""
        return not self.is_new and self.due_s is None


@dataclass
class Reference:
    """One partition. `control` and `holdout` say whether chance has taken a user, `lot` who of two is first."""

    messaging: Messaging
    campaigns: dict[str, Campaign]
    control: Callable[[str, str], bool]
    holdout: Callable[[str], bool]
    lot: Callable[[str, str], str]
    decisions: list[Decision] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    crossings: list[tuple[str, str, int]] = field(default_factory=list)
    events: list[tuple[int, float, Watched]] = field(default_factory=list)
    """(decisions made before it, up to when timers had run, the event)"""
    deletions: list[tuple[int, float, str]] = field(default_factory=list)
    closed: set[int] = field(default_factory=set)
    """Places of first decisions whose window is over."""
    paused: set[str] = field(default_factory=set)
    stood: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    """When each was put on or paused, and which."""
    gone_out_s: dict[str, float] = field(default_factory=dict)
    """The last time at which each of those with a schedule went out."""
    now_s: float = 0.0
    timers_s: float = 0.0

    def stand(self, id_: str, state: str, since_s: float) -> None:
        """People put it on, or pause it."""
        if (since_s, state) not in self.stood.setdefault(id_, []):
            self.stood[id_].append((since_s, state))
        self.paused = self.paused | {id_} if state == "paused" else self.paused - {id_}

    def step(self, now_s: float, read_s: float, inputs: Sequence[Input], facts: dict[str, Facts]) -> None:
        """The clock, then what is due, then those whose turn it is, then schedules, then inputs at that time.

        "Timers do not run ahead of what has been read."
        """
        self.now_s, self.timers_s = now_s, max(self.timers_s, min(read_s, now_s))
        # Who is due first goes first: everything that is due of a user at once, by the earliest of it.
        while due := [(at_s, user) for user in facts for at_s in self._times(user) if at_s <= self.timers_s]:
            self._do_due(min(due)[1], facts)
        for id_ in self.campaigns:
            self._turns(id_, facts)
        for id_ in sorted(self.campaigns, key=self._rank):
            self._go_out(id_, facts)
        for each in inputs:
            self._take(each, facts)

    def _take(self, each: Input, facts: dict[str, Facts]) -> None:
        if isinstance(each, Deleted):
            self._delete(each.user)
        elif isinstance(each, Crossing | Watched):
            self._do_due(each.user, facts)
            occasions = self._cross(each) if isinstance(each, Crossing) else self._watch(each)
            for occasion in occasions:
                self._hold(occasion)
            if not each.more:
                self._ask_new(each.user, facts)

    def _ask_new(self, user: str, facts: dict[str, Facts]) -> None:
        """Occasions of one moment are decided together, the most important first."""
        new = [held for held in self.held if held.user == user and held.is_new]
        for held in sorted(new, key=lambda held: self._rank(held.campaign)):
            self._ask(held, facts)

    def _delete(self, user: str) -> None:
        """Nothing is kept of a user who is deleted."""
        self.deletions.append((len(self.decisions), self.timers_s, user))
        self.held = [held for held in self.held if held.user != user]
        self.crossings = [crossing for crossing in self.crossings if crossing[0] != user]
        for decision in self.decisions:
            decision.is_forgotten = decision.is_forgotten or decision.user == user

    def _rank(self, id_: str) -> tuple[int, str]:
        return -self.campaigns[id_].priority, id_

    # --- time --------------------------------------------------------------------------------------------------------

    def _times(self, user: str) -> list[float]:
        """When something of a user is due: what waits for a time, and ends of windows."""
        waits = [held.due_s for held in self.held if held.user == user and held.due_s is not None]
        return waits + [closes_s for place, closes_s in self._windows(user) if place not in self.closed]

    def _windows(self, user: str) -> list[tuple[int, float]]:
        found = []
        for id_, campaign in self.campaigns.items():
            for place, each in enumerate(self.decisions):
                is_mine = each.user == user and each.campaign == id_ and each.what in KEPT and not each.is_forgotten
                if is_mine:
                    found.append((place, each.now_s + campaign.conversion.window_s + LATE_S))
                    break
        return found

    def _do_due(self, user: str, facts: dict[str, Facts]) -> None:
        """What is due of a user comes before what happens to them next, in the order of time, then of importance."""
        while True:
            self.closed |= {place for place, closes_s in self._windows(user) if closes_s <= self.timers_s}
            mine = [held for held in self.held if held.user == user and held.due_s is not None]
            due = [(held.due_s, self._rank(held.campaign), held) for held in mine if (held.due_s or 0) <= self.timers_s]
            if not due:
                return
            self._ask(min(due, key=lambda each: each[:2])[2], facts)

    def _turns(self, id_: str, facts: dict[str, Facts]) -> None:
        """Nobody is called while the campaign is paused. What a pause has held goes on as soon as it is over. What the
        rate holds back goes in the order in which it came, as many as the period has room for.
        """
        if id_ in self.paused:
            return
        while queue := [held for held in self.held if held.campaign == id_ and held.is_paused]:
            self._ask(min(queue, key=lambda held: (held.since_s, self.lot(f"{id_}/paused", held.user))), facts)
        while queue := [held for held in self.held if held.campaign == id_ and held.is_in_queue]:
            if not self._has_rate(id_):
                return
            self._ask(min(queue, key=lambda held: (held.since_s, self.lot(id_, held.user))), facts)

    def _go_out(self, id_: str, facts: dict[str, Facts]) -> None:
        """At each of its times a scheduled campaign goes to all who are in the segment.

        Of several times that were missed only the last counts; none that is older than max_trigger_age, or was before
        the campaign was made. One that fell into a pause is over; one before a pause is not.
        """
        campaign = self.campaigns[id_]
        if id_ in self.paused or not isinstance(campaign.trigger, OnceTrigger | RecurringTrigger):
            return
        times = [at_s for at_s in times_of(campaign.trigger, self.now_s) if at_s <= self.now_s]
        at_s = max((at_s for at_s in times if self._was_on(id_, at_s)), default=-inf)
        is_stale = self.now_s - at_s > campaign.max_trigger_age_s
        if is_stale or at_s <= self.gone_out_s.get(id_, -inf):
            return
        self.gone_out_s[id_] = at_s
        for user in sorted(user for user in facts if campaign.segment in facts[user].segments):
            self._hold(Held(user, id_, "schedule", f"schedule {at_s}", at_s, False, at_s))
            self._ask_new(user, facts)

    def _was_on(self, id_: str, at_s: float) -> bool:
        return [state for since_s, state in self.stood[id_] if since_s <= at_s][-1:] == ["on"]

    # --- inputs ------------------------------------------------------------------------------------------------------

    def _cross(self, crossing: Crossing) -> list[Held]:
        """A crossing that is said again is not another one."""
        user, segment = crossing.user, crossing.segment
        seen = [number for who, where, number in self.crossings if (who, where) == (user, segment)]
        if seen and crossing.sequence <= max(seen):
            return []
        self.crossings.append((user, segment, crossing.sequence))
        way = "enter" if crossing.is_entry else "exit"
        key = f"{segment} {crossing.sequence}"
        return [
            Held(user, id_, way, key, crossing.at_s, crossing.caused_by_goal, crossing.at_s)
            for id_, each in sorted(self.campaigns.items())
            if each.segment == segment and each.trigger in (way, "both") and crossing.origin in each.origins
        ]

    def _watch(self, event: Watched) -> list[Held]:
        """An event that is said again, also under another number, is not another one."""
        if any(event.message_id == other.message_id for _, _, other in self.events):
            return []
        self.events.append((len(self.decisions), self.timers_s, event))
        return [
            Held(event.user, id_, "event", f"event {event.message_id}", event.at_s, False, event.at_s)
            for id_, each in sorted(self.campaigns.items())
            if isinstance(each.trigger, EventTrigger) and each.trigger.event == event.event
        ]

    def _hold(self, new: Held) -> None:
        """A newer occasion takes the place of one that waits, and goes when that one would have gone."""
        for old in self.held:
            if (old.user, old.campaign) == (new.user, new.campaign):
                self.replaced.append(new.campaign)
                if new.at_s >= old.at_s:
                    old.kind, old.key, old.at_s, old.by_goal = new.kind, new.key, new.at_s, new.by_goal
                return
        self.held.append(new)

    def _ask(self, held: Held, facts: dict[str, Facts]) -> None:
        self.held.remove(held)
        held.is_paused = False
        decision = Decision(held.user, held.campaign, self.now_s, held.at_s, held.key, "")
        found = self._what(decision, held, facts[held.user])
        if isinstance(found, str):
            decision.what = found
            self.decisions.append(decision)
        else:
            held.is_new, held.due_s = False, found
            self.held.append(held)

    # --- the rules: a word is the reason, a time or None says to wait -------------------------------------------------

    def _what(self, d: Decision, held: Held, facts: Facts) -> str | float | None:
        campaign = self.campaigns[d.campaign]
        # Both are checked again at the send: where users are, and whether they reached the goal.
        found = self._is_over(d, held, campaign, facts)
        if found is not None:
            return found
        mine = [each for each in self.decisions if each.user == d.user and each.what in KEPT and not each.is_forgotten]
        before = [each for each in mine if each.campaign == d.campaign]
        refused = self._bothered(d, campaign, facts, mine, before)
        if refused is not None:
            return refused
        quiet_s = self._quiet_until(campaign, facts)
        if quiet_s > self.now_s:
            return "quiet" if quiet_s - d.at_s > campaign.max_trigger_age_s else quiet_s
        # What is above the rate waits for its turn, and who waits goes before who comes.
        if not self._has_rate(d.campaign):
            return "rate" if self._period_end()[d.campaign] - d.at_s > campaign.max_trigger_age_s else None
        if not held.is_in_queue and any(each.is_in_queue and each.campaign == d.campaign for each in self.held):
            return None
        return self._offered(d, campaign, facts, before)

    def _is_over(  # noqa: PLR0911 - the rules one below the other
        self, d: Decision, held: Held, campaign: Campaign, facts: Facts
    ) -> str | float | None:
        # Nothing begins in a pause; what waits is held until it is over, or until it is stale.
        deadline_s = d.at_s + campaign.max_trigger_age_s
        if d.campaign in self.paused:
            if held.is_new or self.now_s > deadline_s:
                return "inactive" if held.is_new else "stale"
            held.is_paused = True
            return nextafter(deadline_s, inf)
        # Nothing begins for a crossing older than max_trigger_age by the wall clock.
        if self.now_s - d.at_s > campaign.max_trigger_age_s:
            return "stale"
        # Nothing is decided on what was known longer ago than max_behind.
        if self.now_s - facts.as_of_s > self.messaging.max_behind_s:
            return "behind" if self.now_s + 60.0 - d.at_s > campaign.max_trigger_age_s else self.now_s + 60.0
        is_in = campaign.segment in facts.segments
        if is_in if held.kind == "exit" else not is_in:
            return "left"
        if campaign.filter is not None and d.campaign not in facts.fits:
            return "filter"
        # Users who just reached the goal (caused_by_goal, or within N days) are skipped.
        goal_s = facts.latest_s.get(campaign.conversion.event)
        just_now = goal_s is not None and self.now_s - goal_s < campaign.skip_recent_goal_s
        if campaign.skip_recent_goal_s > 0 and (held.by_goal or just_now):
            return "goal"
        return None

    def _bothered(
        self, d: Decision, campaign: Campaign, facts: Facts, mine: list[Decision], before: list[Decision]
    ) -> str | None:
        """Whom not to bother."""
        if before:
            # Re-entry policy (once, always, after a time); cooldown per user.
            after_s = campaign.again_after_s
            if after_s is None or before[-1].key == d.key or d.at_s - before[-1].at_s < after_s:
                return "again"
            if self.now_s - before[-1].now_s < campaign.cooldown_s:
                return "cooldown"
        # The worlds here have channels `open` (nothing to agree to) and `mail` (the trait `mail` is true).
        if "open" not in campaign.channels and facts.traits.get("mail") is not True:
            return "consent"
        # Frequency caps over all campaigns: a control group of one does not use up what others may send.
        sends = [each.now_s for each in mine if each.what == "sent"]
        for cap in self.messaging.caps if campaign.capped else ():
            if sum(1 for at_s in sends if at_s > self.now_s - cap.within_s) >= cap.sends:
                return "caps"
        return None

    def _quiet_until(self, campaign: Campaign, facts: Facts) -> float:
        """Quiet hours in the user's time zone."""
        hours = self.messaging.quiet_hours if campaign.quiet_hours == "default" else campaign.quiet_hours
        if not isinstance(hours, QuietHours):
            return self.now_s
        zone = str(facts.traits.get("zone"))
        return first_loud_minute(hours, zone if zone in ZONES else "UTC", self.now_s)

    def _period_end(self) -> dict[str, float]:
        lengths = {id_: _LENGTHS[each.rate.per] for id_, each in self.campaigns.items() if each.rate is not None}
        return {id_: self.now_s // length_s * length_s + length_s for id_, length_s in lengths.items()}

    def _has_rate(self, id_: str) -> bool:
        rate = self.campaigns[id_].rate
        if rate is None:
            return True
        start_s = self._period_end()[id_] - _LENGTHS[rate.per]
        sent = [each for each in self.decisions if each.what == "sent" and each.campaign == id_]
        return sum(1 for each in sent if each.now_s >= start_s) < rate.sends

    def _offered(self, d: Decision, campaign: Campaign, facts: Facts, before: list[Decision]) -> str:
        offer = campaign.offer
        if offer is not None:
            score = facts.scores["p"].score
            edges = getattr(offer, "edges", ())
            if edges and score is None:
                return "no_score"
            d.rung = sum(1 for edge in edges if score is not None and score >= edge)
            d.wanted, d.unit = offer.values_offered[d.rung], offer.unit
            # Fixed at the send, not improved for a user within N days: what was offered by right, and not only
            # because of an earlier offer, is the most that is offered for N days.
            by_right = [each for each in before if each.value is not None and each.value == each.wanted]
            recent = [each for each in by_right if self.now_s - each.now_s < offer.fixed_for_s and each.unit == d.unit]
            d.value = min([d.wanted, *(each.value for each in recent if each.value is not None)])
            d.cost = offer.cost(d.value)
            d.cents = round(d.cost * 100)
            # With a budget: what was sent is what was spent.
            if offer.budget is not None and d.cents:
                spent = sum(each.cents for each in self._spent(d.campaign, offer.budget.per))
                if spent + d.cents > round(offer.budget.amount * 100):
                    return "budget"
        # Control group, drawn after every rule at the moment of the would-be send; the global holdout.
        if self.holdout(d.user):
            return "holdout"
        return "control" if self.control(d.campaign, d.user) else "sent"

    def _spent(self, campaign: str, per: str) -> list[Decision]:
        def period(at_s: float) -> str:
            at = datetime.fromtimestamp(at_s, UTC)
            return {"total": "", "day": at.strftime("%Y %j"), "month": at.strftime("%Y %m")}[per]

        sent = [each for each in self.decisions if each.campaign == campaign and each.what == "sent"]
        return [each for each in sent if period(each.now_s) == period(self.now_s)]

    # --- what came of it ---------------------------------------------------------------------------------------------

    def outcomes(self, campaign: str) -> list[tuple[str, int, bool, float, float]]:
        """(arm, rung, converted, revenue, cost) of users whose window has closed.

        "By intention to treat per user from the first assignment."
        """
        found = []
        conversion = self.campaigns[campaign].conversion
        ends = [*self.deletions, (len(self.decisions), self.timers_s, None)]
        for user in sorted({decision.user for decision in self.decisions}):
            begin = 0
            for end, end_s, who in ends:
                if who not in (user, None):
                    continue
                mine = [
                    (place, each)
                    for place, each in enumerate(self.decisions[begin:end], begin)
                    if each.user == user and each.campaign == campaign and each.what in KEPT
                ]
                begin = end
                if not mine:
                    continue
                place, first = mine[0]
                until_s = first.now_s + conversion.window_s
                if end_s < until_s + LATE_S:
                    continue
                hits = [
                    (before, event)
                    for before, timers_s, event in self.events
                    if event.user == user
                    and place < before <= end
                    and event.event == conversion.event
                    and first.now_s <= event.at_s < until_s
                    and timers_s < until_s + LATE_S
                ]
                revenue = sum(_money(event.properties) for _, event in hits)
                cost = 0.0
                offers = [each for at, each in mine if hits and at < hits[0][0] and each.value is not None]
                if offers and first.what == "sent" and conversion.revenue_is == "before_offer":
                    first_revenue = _money(hits[0][1].properties)
                    last = offers[-1]
                    assert last.value is not None
                    by_share = last.unit == "percent" and first_revenue > 0
                    cost = last.value / 100.0 * first_revenue if by_share else last.cost
                found.append(("treated" if first.what == "sent" else first.what, first.rung, bool(hits), revenue, cost))
        return found


_LENGTHS = {"minute": 60, "hour": 3_600, "day": 86_400}


def _money(properties: Any) -> float:
    found = properties.get("value")
    return float(found) if isinstance(found, int | float) else 0.0


def times_of(trigger: OnceTrigger | RecurringTrigger, now_s: float) -> list[float]:
    """Times of a schedule from twelve days before now (no message is worth more) to the day after."""
    zone = ZoneInfo(trigger.timezone)
    if isinstance(trigger, OnceTrigger):
        at = datetime.fromisoformat(trigger.at)
        return [moment_of(at.date(), f"{at:%H:%M}", zone)]
    today = datetime.fromtimestamp(now_s, zone).date()
    days = [today + timedelta(days=number) for number in range(-12, 2)]
    chosen = [day for day in days if trigger.every == "day" or WEEKDAYS[day.weekday()] in trigger.on]
    return [moment_of(day, trigger.at, zone) for day in chosen]


@lru_cache(maxsize=10_000)
def moment_of(day: date, clock: str, zone: ZoneInfo) -> float:
    """When the clock shows that time for the first time on that day, minute by minute; of a time that it skips, when
    so much of the day has passed.
    """
    midnight_s = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
    wanted = int(clock[:2]) * 60 + int(clock[3:])
    for minute in range(max(0, wanted - 120), wanted + 121):
        at = datetime.fromtimestamp(midnight_s + 60.0 * minute, zone)
        if (at.date(), f"{at:%H:%M}") == (day, clock):
            return at.timestamp()
    return midnight_s + 60.0 * wanted


def first_loud_minute(hours: QuietHours, zone: str, now_s: float) -> float:
    """The first moment from now on at which the user's clock shows a time that is not quiet: minute by minute."""
    at_s = now_s
    while True:
        clock = datetime.fromtimestamp(at_s, ZoneInfo(zone)).strftime("%H:%M")
        start, end = hours.start, hours.end
        if not (start <= clock < end if start < end else clock >= start or clock < end):
            return at_s
        at_s = at_s // 60 * 60 + 60
