"""What a crossing led to, told from what campaigns know of the user. Pure.

    led_to(row, plan, crossing, now_s)    # one for each campaign and journey that the crossing is an occasion for

A row holds the last occasion of each campaign: of an earlier crossing into the same segment nothing is known any more.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from config.journeys import Journey
from streams.campaigns.inputs import Crossing
from streams.campaigns.listening import begun_by, occasion_of
from streams.campaigns.plan import Plan
from streams.campaigns.state import Assignment, Given, Row

What: TypeAlias = Literal["sent", "withheld", "waits", "inside", "pending"]
"""`inside`: it led into a journey, which has sent nothing yet; `pending`: campaigns have not read the crossing yet."""
_MOMENT = "moment"
"""Why an occasion waits whose moment is not complete yet: nothing is decided."""


class LedTo(NamedTuple):
    """What became of a crossing in one campaign or journey."""

    campaign: str
    what: What
    why: str | None = None
    """Of what is withheld or waits: a short name (`question.Reason`, `question.Why`)."""
    channels: tuple[str, ...] = ()
    """Of what was sent: those of the campaign, of which the user may have agreed to some only."""
    offer: Given | None = None
    """With what was sent."""

    @property
    def is_final(self) -> bool:
        """Whether nothing more comes of it."""
        return self.what in ("sent", "withheld")


def led_to(row: Row | None, plan: Plan, crossing: Crossing, now_s: float) -> list[LedTo]:
    """In the order in which campaigns go; those of which nothing is known (any more) are left out.

    `row`: of the user; None where campaigns know nothing of them. `now_s`: seconds since 1970 UTC.
    """
    found = [_in_one(row, plan, crossing, id_, now_s) for id_ in begun_by(crossing, plan)]
    return [each for each in found if each is not None]


def _in_one(row: Row | None, plan: Plan, crossing: Crossing, id_: str, now_s: float) -> LedTo | None:
    key = occasion_of(crossing, plan, id_).key
    if row is not None:
        is_journey = isinstance(plan.rules(id_), Journey)
        found = _decided(row, plan, id_, key, is_journey) or _under_way(row, id_, key)
        if found is not None:
            return found
        if row.crossings.get(crossing.segment, (0, 0.0))[0] >= crossing.sequence:
            return None
    is_asked = plan.activity(id_, now_s) in ("on", "dry") and plan.standing(id_).created_s <= crossing.at_s
    return LedTo(id_, "pending") if is_asked else None


def _decided(row: Row, plan: Plan, id_: str, key: str, is_journey: bool) -> LedTo | None:
    """By the last occasion; messages of a journey have its key, and their step behind it.

    Behind a step that was refused there may be others: whoever is still inside is not refused.
    """
    assigned, refused = row.assigned.get(id_), row.refused.get(id_)
    is_inside = id_ in row.journeys and row.journeys[id_].key == key
    if refused is not None and not is_inside and _is_of(refused.key, key, is_journey):
        return LedTo(id_, "withheld", refused.why)
    if assigned is None or not _is_of(assigned.key, key, is_journey):
        return None
    if assigned.arm != "treated":
        return LedTo(id_, "withheld", assigned.arm)
    return LedTo(id_, "sent", channels=_channels(plan, id_, assigned), offer=assigned.offer)


def _under_way(row: Row, id_: str, key: str) -> LedTo | None:
    waiting, at = row.waiting.get(id_), row.journeys.get(id_)
    if waiting is not None and waiting.occasion.key == key:
        return LedTo(id_, "pending") if waiting.why == _MOMENT else LedTo(id_, "waits", waiting.why)
    if at is not None and at.key == key:
        return LedTo(id_, "waits", at.why) if at.why else LedTo(id_, "inside")
    return None


def _is_of(given: str, key: str, is_journey: bool) -> bool:
    return given == key or (is_journey and given.startswith(f"{key}/"))


def _channels(plan: Plan, id_: str, assigned: Assignment) -> tuple[str, ...]:
    rules = plan.rules(id_, assigned.version) or plan.rules(id_)
    return () if rules is None else rules.channels
