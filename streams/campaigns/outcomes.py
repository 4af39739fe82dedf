"""Who is compared with whom: the first message puts a user into a group, and the window after it is what counts.

By intention to treat: whatever happens to later messages, a user stays in the group and on the rung of the first one.
A user counts when the window has closed, so that figures do not depend on when somebody looks.
"""

from __future__ import annotations

from typing import NamedTuple

from config.campaigns import Conversion
from streams.campaigns.inputs import Watched
from streams.campaigns.plan import Plan, fulfils
from streams.campaigns.state import Assignment, Book, Books, Fixed, Given, Occasion, Row, Tally


class Drawn(NamedTuple):
    """What was decided for a user: a group, and an offer."""

    arm: str
    offer: Given | None
    version: int
    window_s: float
    """Of the conversion, of that version."""


def assign(row: Row, book: Book, id_: str, occasion: Occasion, drawn: Drawn, now_s: float) -> Assignment:
    """Note a message, sent or withheld for the comparison; the first one begins the window."""
    arm, offer, version, window_s = drawn
    found = row.assigned.get(id_)
    if found is None:
        rung = -1 if offer is None else offer.rung
        until_s = now_s + window_s
        found = row.assigned[id_] = Assignment(version, occasion.key, occasion.at_s, now_s, now_s, until_s, arm, rung)
        book.move(book.open, version, 1)
    found.key, found.last_s = occasion.key, now_s
    if occasion.kind != "step":
        found.trigger_s = occasion.at_s
    if offer is not None:
        found.offer = offer
        if not offer.is_held_down:
            found.fixed[offer.unit] = Fixed(offer.value, now_s)
    return found


def convert(row: Row, plan: Plan, event: Watched) -> bool:
    """Count an event that campaigns are judged by. True if it counted anywhere."""
    found = False
    judged = plan.conversions.get(event.event, ())
    for id_, assigned in row.assigned.items():  # few, where hundreds may be judged by the event
        rules = plan.rules(id_, assigned.version) if id_ in judged and assigned.is_open else None
        if rules is None:
            continue
        conversion = rules.conversion
        inside = conversion.event == event.event and assigned.first_s <= event.at_s < assigned.until_s
        if not inside or not fulfils(conversion.where, event.properties):
            continue
        revenue = _revenue(conversion, event)
        if not assigned.converted and assigned.offer is not None and assigned.arm == "treated":
            assigned.cost = assigned.offer.used(revenue) if conversion.revenue_is == "before_offer" else 0.0
        assigned.converted += 1
        assigned.revenue += revenue
        found = True
    return found


def _revenue(conversion: Conversion, event: Watched) -> float:
    given = event.properties.get(conversion.revenue) if conversion.revenue is not None else None
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else 0.0


def close(row: Row, books: Books, plan: Plan, id_: str) -> None:
    """The window is over: the user counts from now on."""
    assigned = row.assigned[id_]
    assigned.is_open = False
    book = books.change(id_)
    book.move(book.open, assigned.version, -1)
    rules = plan.rules(id_, assigned.version)
    if rules is not None:
        name = f"{assigned.arm}:{assigned.rung}:{assigned.version}"
        cap = rules.conversion.revenue_cap
        book.tallies.setdefault(name, Tally()).add(assigned.converted, assigned.revenue, assigned.cost, cap)
