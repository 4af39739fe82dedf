"""What a campaign would do to everybody now, in the words of a language."""

from __future__ import annotations

from typing import NamedTuple

from streams.api.campaign_previews import PreviewView
from streams.console.language import Format
from streams.console.texts import Texts


class Reach(NamedTuple):
    """What a campaign would do to everybody now."""

    rows: list[tuple[str, str]]
    notes: list[str]
    """What has to be known to read them."""
    wrong: str | None
    """Why that cannot be told."""


def reach_of(texts: Texts, form: Format, found: PreviewView, used_up: list[str]) -> Reach:
    """What a preview says. Where it cannot say who is left out, its numbers are the most that there can be."""
    is_open = None in found.left_out.values()

    def most(text: str) -> str:
        return texts.reach_at_most.format(n=text) if is_open else text

    rows = [(texts.reach["users"], form.number(found.users))]
    for reason, users in found.left_out.items():
        if users is None or users:
            words = texts.reach["left_out"].format(reason=texts.withheld_reasons[reason])
            rows.append((words, texts.reach_not_known if users is None else form.number(users)))
    rows.append((texts.reach["reachable"], most(form.number(found.reachable))))
    rows.append((texts.reach["messages"], most(form.amount(found.messages))))
    rows.append((texts.reach["control"], most(form.amount(found.control + found.holdout))))
    if found.anyway is not None:
        rows.append((texts.reach["anyway"], most(form.amount(found.anyway))))
    for offer in found.offers:
        if offer.cost_at_least is not None and offer.cost_at_most is not None:
            high = form.number(offer.cost_at_most)
            cost = texts.reach_cost.format(low=form.number(offer.cost_at_least), high=high)
            rows.append((texts.reach["cost"], most(high) if is_open else cost))
    return Reach(rows, [*([texts.reach_without_consent] if is_open else []), *used_up], None)
