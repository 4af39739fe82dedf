"""Campaigns, slow and obvious: everything that ever happened is kept in lists, and each rule looks through them.

Written from the rules in words (docs/adr/0014-campaigns.md), without the engine. Journeys are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from config.campaigns import Campaign, Messaging
from config.times import EventTrigger, QuietHours
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
    rung: int = -1
    cents: int = 0
    unit: str = ""
    cost: float = 0.0
    is_forgotten: bool = False


@dataclass
class Held:
    """An occasion that waits."""

    user: str
    campaign: str
    kind: str
    key: str
    at_s: float
    by_goal: bool
    due_s: float


@dataclass
class Reference:
    """One partition. `control` and `holdout` say of a campaign and user (a user) whether chance has taken them."""

    messaging: Messaging
    campaigns: dict[str, Campaign]
    control: Callable[[str, str], bool]
    holdout: Callable[[str], bool]
    decisions: list[Decision] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    crossings: list[tuple[str, str, int]] = field(default_factory=list)
    events: list[tuple[int, float, Watched]] = field(default_factory=list)
    """(decisions made before it, the clock, the event)"""
    deletions: list[tuple[int, float, str]] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)
    now_s: float = 0.0

    def step(self, now_s: float, inputs: Sequence[Input], facts: dict[str, Facts]) -> None:
        """The clock, and then inputs at that time."""
        self.now_s = now_s
        firsts = {user: min(held.due_s for held in self.held if held.user == user) for user in self._users_held()}
        for user in sorted(firsts, key=lambda name: (firsts[name], name)):
            self._do_due(user, facts)
        for each in inputs:
            if isinstance(each, Deleted):
                self.deletions.append((len(self.decisions), now_s, each.user))
                self.held = [held for held in self.held if held.user != each.user]
                self.crossings = [crossing for crossing in self.crossings if crossing[0] != each.user]
                for decision in self.decisions:
                    decision.is_forgotten = decision.is_forgotten or decision.user == each.user
                continue
            self._do_due(each.user, facts)
            if isinstance(each, Crossing):
                self._cross(each, facts)
            elif isinstance(each, Watched):
                self._watch(each, facts)

    # --- inputs ------------------------------------------------------------------------------------------------------

    def _users_held(self) -> set[str]:
        return {held.user for held in self.held}

    def _in_order(self) -> list[tuple[str, Campaign]]:
        return sorted(self.campaigns.items(), key=lambda item: (-item[1].priority, item[0]))

    def _do_due(self, user: str, facts: dict[str, Facts]) -> None:
        order = [id_ for id_, _ in self._in_order()]
        while due := [held for held in self.held if held.user == user and held.due_s <= self.now_s]:
            first = min(due, key=lambda held: (held.due_s, order.index(held.campaign)))
            self.held.remove(first)
            self._ask(user, first.campaign, first.kind, first.key, first.at_s, first.by_goal, facts[user])

    def _cross(self, crossing: Crossing, facts: dict[str, Facts]) -> None:
        name = (crossing.user, crossing.segment)
        name = (crossing.user, crossing.segment)
        seen = [number for user, segment, number in self.crossings if (user, segment) == name]
        if seen and crossing.sequence <= max(seen):
            return
        self.crossings.append((crossing.user, crossing.segment, crossing.sequence))
        way = "enter" if crossing.is_entry else "exit"
        key = f"{crossing.segment} {crossing.sequence}"
        for id_, campaign in self._in_order():
            listens = campaign.segment == crossing.segment and campaign.trigger in (way, "both")
            if listens and crossing.origin in campaign.origins:
                self._begin(crossing.user, id_, way, key, crossing.at_s, crossing.caused_by_goal, facts)

    def _watch(self, event: Watched, facts: dict[str, Facts]) -> None:
        if event.number in self.numbers:
            return
        self.numbers.add(event.number)
        self.events.append((len(self.decisions), self.now_s, event))
        for id_, campaign in self._in_order():
            if isinstance(campaign.trigger, EventTrigger) and campaign.trigger.event == event.event:
                self._begin(event.user, id_, "event", f"event {event.number}", event.at_s, False, facts)

    def _begin(
        self, user: str, id_: str, kind: str, key: str, at_s: float, by_goal: bool, facts: dict[str, Facts]
    ) -> None:
        if any(held.user == user and held.campaign == id_ for held in self.held):
            self.decisions.append(Decision(user, id_, self.now_s, at_s, key, "waiting"))
        else:
            self._ask(user, id_, kind, key, at_s, by_goal, facts[user])

    def _ask(self, user: str, id_: str, kind: str, key: str, at_s: float, by_goal: bool, facts: Facts) -> None:
        decision = Decision(user, id_, self.now_s, at_s, key, "")
        found = self._what(decision, kind, by_goal, facts)
        if isinstance(found, float):
            decision.what = "waited"
            self.held.append(Held(user, id_, kind, key, at_s, by_goal, found))
        else:
            decision.what = found
        self.decisions.append(decision)

    # --- the rules ---------------------------------------------------------------------------------------------------

    def _what(  # noqa: C901, PLR0911 - the rules one below the other
        self, d: Decision, kind: str, by_goal: bool, facts: Facts
    ) -> str | float:
        campaign, now_s = self.campaigns[d.campaign], self.now_s
        mine = [each for each in self.decisions if each.user == d.user and each.what in KEPT and not each.is_forgotten]
        before = [each for each in mine if each.campaign == d.campaign]
        is_in = campaign.segment in facts.segments
        goal_s = facts.latest_s.get(campaign.conversion.event)
        if campaign.paused:
            return "inactive"
        if now_s - d.at_s > campaign.max_trigger_age_s:
            return "stale"
        if is_in if kind == "exit" else not is_in:
            return "left"
        if campaign.filter is not None and d.campaign not in facts.fits:
            return "filter"
        just_now = goal_s is not None and now_s - goal_s < campaign.skip_recent_goal_s
        if campaign.skip_recent_goal_s > 0 and (by_goal or just_now):
            return "goal"
        if before:
            after_s = campaign.reentry.after_s
            if after_s is None or before[-1].key == d.key or d.at_s - before[-1].at_s < after_s:
                return "again"
            if now_s - before[-1].now_s < campaign.cooldown_s:
                return "cooldown"
        if not self._agreed(campaign, facts):
            return "consent"
        sends = [each.now_s for each in mine if each.what == "sent"]
        if campaign.capped:
            for cap in self.messaging.caps:
                if sum(1 for at_s in sends if at_s > now_s - cap.within_s) >= cap.sends:
                    return "caps"
        held = self._held_back(d, campaign, facts)
        return held if held is not None else self._offered(d, campaign, facts, before)

    def _agreed(self, campaign: Campaign, facts: Facts) -> bool:
        """The worlds here have channels `open` (nothing to agree to) and `mail` (the trait `mail` is true)."""
        return "open" in campaign.channels or facts.traits.get("mail") is True

    def _held_back(self, d: Decision, campaign: Campaign, facts: Facts) -> str | float | None:
        hours = self.messaging.quiet_hours if campaign.quiet_hours == "default" else campaign.quiet_hours
        if isinstance(hours, QuietHours):
            zone = str(facts.traits.get("zone"))
            end_s = first_loud_minute(hours, zone if zone in ZONES else "UTC", self.now_s)
            if end_s > self.now_s:
                return "quiet" if end_s - d.at_s > campaign.max_trigger_age_s else end_s
        if campaign.rate is not None:
            length_s = {"minute": 60, "hour": 3_600, "day": 86_400}[campaign.rate.per]
            start_s = self.now_s // length_s * length_s
            all_sends = [each for each in self.decisions if each.what == "sent" and each.campaign == d.campaign]
            if sum(1 for each in all_sends if each.now_s >= start_s) >= campaign.rate.sends:
                end_s = start_s + length_s
                return "rate" if end_s - d.at_s > campaign.max_trigger_age_s else end_s
        return None

    def _offered(self, d: Decision, campaign: Campaign, facts: Facts, before: list[Decision]) -> str:
        offer = campaign.offer
        if offer is not None:
            values: dict[int, float] = dict(enumerate(offer.values_offered))
            score = facts.said["p"].score
            edges = getattr(offer, "edges", ())
            if edges and score is None:
                return "no_score"
            d.rung = sum(1 for edge in edges if score is not None and score >= edge)
            d.value, d.unit = values[d.rung], offer.unit
            if before and self.now_s - before[-1].now_s < offer.fixed_for_s and before[-1].value is not None:
                d.value = min(d.value, before[-1].value)
            d.cost = offer.cost(d.value)
            d.cents = round(d.cost * 100)
            if offer.budget is not None and d.cents:
                spent = sum(each.cents for each in self._spent(d.campaign, offer.budget.per))
                if spent + d.cents > round(offer.budget.amount * 100):
                    return "budget"
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
        """(arm, rung, converted, revenue, cost) of users whose window has closed."""
        found = []
        conversion = self.campaigns[campaign].conversion
        ends = [*self.deletions, (len(self.decisions), self.now_s, None)]
        for user in sorted({decision.user for decision in self.decisions}):
            begin = 0
            for end, end_now_s, who in ends:
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
                if end_now_s < until_s + LATE_S:
                    continue
                hits = [
                    (before, event)
                    for before, now_s, event in self.events
                    if event.user == user
                    and place < before <= end
                    and event.event == conversion.event
                    and first.now_s <= event.at_s < until_s
                    and now_s < until_s + LATE_S
                ]
                revenue = sum(_money(event.properties) for _, event in hits)
                cost = 0.0
                offers = [each for at, each in mine if hits and at < hits[0][0] and each.value is not None]
                if offers and first.what == "sent":
                    first_revenue = _money(hits[0][1].properties)
                    last = offers[-1]
                    assert last.value is not None
                    by_share = last.unit == "percent" and first_revenue > 0
                    cost = last.value / 100.0 * first_revenue if by_share else last.cost
                found.append(("treated" if first.what == "sent" else first.what, first.rung, bool(hits), revenue, cost))
        return found


def _money(properties: Any) -> float:
    found = properties.get("value")
    return float(found) if isinstance(found, int | float) else 0.0


def first_loud_minute(hours: QuietHours, zone: str, now_s: float) -> float:
    """The first moment from now on at which the user's clock shows a time that is not quiet: minute by minute."""
    at_s = now_s
    while True:
        clock = datetime.fromtimestamp(at_s, ZoneInfo(zone)).strftime("%H:%M")
        start, end = hours.start, hours.end
        if not (start <= clock < end if start < end else clock >= start or clock < end):
            return at_s
        at_s = at_s // 60 * 60 + 60
