"""Who is compared with whom: the first message puts a user into a group, and the window after it is what counts.

By intention to treat: whatever happens to later messages, a user stays in the group and on the rung of the first one.
A user counts when the window has closed, so that figures do not depend on when somebody looks.
"""

from __future__ import annotations

from config.campaigns import Rules
from streams.campaigns.inputs import Watched
from streams.campaigns.plan import Plan, fulfils
from streams.campaigns.state import LATE_S, Given, Occasion, Row, State, Tally, Told


def assign(row: Row, id_: str, rules: Rules, occasion: Occasion, arm: str, offer: Given | None, now_s: float) -> Told:
    """Note a message, sent or withheld for the comparison; the first one begins the window."""
    told = row.told.get(id_)
    if told is None:
        rung = -1 if offer is None else offer.rung
        told = row.told[id_] = Told(occasion.key, occasion.at_s, now_s, now_s, arm, rung)
        row.closes_s[id_] = now_s + rules.conversion.window_s + LATE_S
    told.key, told.last_s = occasion.key, now_s
    if occasion.kind != "step":
        told.trigger_s = occasion.at_s
    if offer is not None:
        told.offered_s, told.offer = now_s, offer
    return told


def convert(row: Row, plan: Plan, event: Watched) -> bool:
    """Count an event that campaigns are judged by. True if it counted anywhere."""
    found = False
    for id_ in plan.conversions.get(event.event, ()):
        told, rules = row.told.get(id_), plan.rules(id_)
        if told is None or rules is None or not told.is_open:
            continue
        conversion = rules.conversion
        inside = told.first_s <= event.at_s < told.first_s + conversion.window_s
        if not inside or not fulfils(conversion.where, event.properties):
            continue
        given = event.properties.get(conversion.revenue) if conversion.revenue is not None else None
        revenue = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else 0.0
        if not told.converted and told.offer is not None and told.arm == "treated":
            told.cost = told.offer.used(revenue)
        told.converted += 1
        told.revenue += revenue
        found = True
    return found


def close(row: Row, state: State, id_: str) -> None:
    """The window is over: the user counts from now on."""
    del row.closes_s[id_]
    told = row.told[id_]
    told.is_open = False
    tallies = state.tallies.setdefault(id_, {})
    tallies.setdefault(f"{told.arm}:{told.rung}", Tally()).add(told.converted, told.revenue, told.cost)
