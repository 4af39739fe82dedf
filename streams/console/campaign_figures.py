"""What a campaign has done, in the words of a language: sent, withheld, held back and why, and what it changed."""

from __future__ import annotations

from typing import NamedTuple

from config.campaigns import Campaign
from config.journeys import Journey
from streams.api.campaign_figures import BudgetUsedView, FiguresView, MeasuredView
from streams.campaigns.lift import ALPHA
from streams.campaigns.offers import CENTS, cents
from streams.campaigns.preview import offers_of
from streams.console.language import Format
from streams.console.texts import Texts


class CampaignFigures(NamedTuple):
    """As a page shows it."""

    sent: str
    withheld: list[tuple[str, str]]
    """(reason, how often), the most frequent first."""
    waited: list[tuple[str, str]]
    """(why, how often) something had to wait, the most frequent first; then how many wait for the rate now."""
    groups: list[tuple[str, str, str, str]]
    """(group, users, how many of them did it, share)."""
    claim: str
    """What can be said of the goal, measured against the control group."""
    interval: str | None
    budgets: list[str]
    used_up: list[str]
    """Of each budget out of which nothing more can be offered now, what that means."""


def campaign_figures(texts: Texts, form: Format, view: FiguresView, rules: Campaign | Journey) -> CampaignFigures:
    """All of it. `rules`: the version in force."""
    reasons = {"control": view.control, "holdout": view.holdout, **view.withheld}
    withheld = sorted(((name, count) for name, count in reasons.items() if count), key=lambda pair: -pair[1])
    groups = [
        (
            texts.campaign_groups.get(arm, arm),
            form.number(group.users),
            form.number(group.converted),
            form.percent(group.converted / group.users if group.users else None),
        )
        for arm, group in view.groups.items()
    ]
    budgets = [
        texts.budget_used.format(spent=form.number(each.spent, 2), amount=form.number(each.amount, 2))
        for each in view.budgets
    ]
    return CampaignFigures(
        sent=form.number(view.sent),
        withheld=[(texts.withheld_reasons[name], form.number(count)) for name, count in withheld],
        waited=_waited(texts, form, view),
        groups=groups,
        claim=_claim(texts, view.overall.rate),
        interval=_interval(texts, form, view.overall.rate),
        budgets=budgets,
        used_up=[texts.budget_used_up[each.per] for each in view.budgets if _is_used_up(rules, each)],
    )


def _waited(texts: Texts, form: Format, view: FiguresView) -> list[tuple[str, str]]:
    often = sorted(((name, count) for name, count in view.waited.items() if count), key=lambda pair: -pair[1])
    words = {**texts.led_waits, **texts.withheld_reasons}
    found = [(words[name], form.number(count)) for name, count in often]
    if view.waiting_for_rate:
        found.append((texts.waiting_for_rate, form.number(view.waiting_for_rate)))
    return found


def _is_used_up(rules: Campaign | Journey, used: BudgetUsedView) -> bool:
    """Whether what is left does not even pay for the cheapest offer that costs anything; in hundredths, as decided."""
    offers = [each.offer for each in offers_of(rules)]
    costs = [
        cents(offer.cost(value))
        for offer in offers
        if offer.budget is not None and (offer.budget.amount, offer.budget.per) == (used.amount, used.per)
        for value in offer.values_offered
    ]
    left = int(used.amount * CENTS + 1e-6) - round(used.spent * CENTS)
    return left < min((cost for cost in costs if cost > 0), default=0)


def _claim(texts: Texts, measured: MeasuredView) -> str:
    return texts.lift_early[measured.why] if measured.why is not None else texts.lift_verdicts[measured.verdict]


def _interval(texts: Texts, form: Format, measured: MeasuredView) -> str | None:
    """The one that holds however often somebody looks; in percentage points."""
    found = measured.difference
    if found is None:
        return None
    low, high, estimate = (
        form.number(100.0 * each, 1) for each in (found.low_always, found.high_always, found.estimate)
    )
    return texts.lift_interval.format(estimate=estimate, low=low, high=high, level=form.percent(1.0 - ALPHA, 0))
