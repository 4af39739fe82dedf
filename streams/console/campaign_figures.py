"""What a campaign has done, in the words of a language: sent, withheld with the reasons, and what it changed."""

from __future__ import annotations

from typing import NamedTuple

from streams.api.campaign_figures import FiguresView, MeasuredView
from streams.console.language import Format
from streams.console.texts import Texts


class CampaignFigures(NamedTuple):
    """As a page shows it."""

    sent: str
    withheld: list[tuple[str, str]]
    """(reason, how often), the most frequent first."""
    groups: list[tuple[str, str, str, str]]
    """(group, users, how many of them did it, share)."""
    claim: str
    """What can be said of the goal, measured against the control group."""
    interval: str | None
    budgets: list[str]


def campaign_figures(texts: Texts, form: Format, view: FiguresView) -> CampaignFigures:
    """All of it."""
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
        withheld=[(texts.withheld_reasons.get(name, name), form.number(count)) for name, count in withheld],
        groups=groups,
        claim=_claim(texts, view.overall.rate),
        interval=_interval(texts, form, view.overall.rate),
        budgets=budgets,
    )


def _claim(texts: Texts, measured: MeasuredView) -> str:
    return texts.lift_early[measured.why] if measured.why is not None else texts.lift_verdicts[measured.verdict]


def _interval(texts: Texts, form: Format, measured: MeasuredView) -> str | None:
    """The one that holds however often somebody looks; in points of percent."""
    found = measured.difference
    if found is None:
        return None
    low, high, estimate = (
        form.number(100.0 * each, 1) for each in (found.low_always, found.high_always, found.estimate)
    )
    return texts.lift_interval.format(estimate=estimate, low=low, high=high)
