"""What campaigns and journeys have done so far: sent, withheld and why, where users are, and what came of it."""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field

from config.errors import NotStored
from streams.adapters.campaign_definitions import CampaignKind
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.services import Services
from streams.api.views import time_text
from streams.campaigns.figures import (
    Comparison,
    Early,
    Figures,
    Group,
    InJourney,
    Measured,
    NoMoney,
    Spending,
    figures,
    words,
)
from streams.campaigns.lift import Verdict
from streams.campaigns.plan import rests_on
from streams.runtime.campaigns.past import Reading, reading_of
from streams.runtime.campaigns.two_logs import Place


class DifferenceView(BaseModel):
    """Of the treated less the control group, per user."""

    treated: float
    control: float
    estimate: float
    low: float = Field(description="The interval that holds in 95 of 100 cases for somebody who looks once,")
    high: float
    low_always: float = Field(description="and the wider one that holds however often somebody looks: what is claimed.")
    high_always: float


class MeasuredView(BaseModel):
    """What can be said of the goal, or of money."""

    difference: DifferenceView | None
    verdict: Verdict = Field(description="`too early` as long as nothing is claimed.")
    why: Early | NoMoney | None = Field(description="Why nothing is claimed; null where something is.")
    words: str = Field(description="The same in words.")


class ComparisonView(BaseModel):
    """Of everybody, or of those whose first offer was on one rung."""

    rung: int | None
    value: float | None = Field(description="Of the offer on that rung, by the version in force.")
    treated_users: int
    control_users: int
    rate: MeasuredView = Field(description="Share of users who did it within the window.")
    net: MeasuredView = Field(description="Revenue per user up to revenue_cap, less the offers that were used.")


class GroupView(BaseModel):
    """Users of a group whose window has closed."""

    users: int
    converted: int
    revenue: float
    offers: float = Field(description="What the offers cost that were used.")


class BudgetUsedView(BaseModel):
    """A budget in the present period."""

    amount: float
    per: str
    period: str
    spent: float = Field(description="Each message takes the whole cost of its offer, used or not.")


class InJourneyView(BaseModel):
    """Where the users of a journey are."""

    entered: int
    inside: int = Field(description="Users who are in it now,")
    waiting: dict[str, int] = Field(description="and at which step, also of earlier versions.")
    ended: dict[str, int] = Field(
        description="Who is out again: `finished` (came to the end), `goal_reached` and `left_segment` (both by "
        "`exit_on`), `gone` (it was archived or is over). Who was not let in, or not sent to, is in `withheld`."
    )
    steps: dict[str, int] = Field(description="Step -> how often a user has come to it so far.")


class ReadingView(BaseModel):
    """Events that were named after they had come: the log of events is read again for them."""

    events: list[str]
    records: int = Field(description="Of the log that are read again, about,")
    left: int = Field(description="and that are still to be read. Nothing is sent before it is 0.")


class FiguresView(BaseModel):
    """What a campaign or journey has done, as of the last commits."""

    id: str
    kind: CampaignKind
    name: str
    version: int
    state: str
    as_of: str | None
    sent: int
    withheld: dict[str, int] = Field(
        description="Reason -> occasions for which nothing was sent, the most frequent first; docs/campaigns.md."
    )
    control: int = Field(description="Occasions withheld for the comparison,")
    holdout: int = Field(description="and for users whom no campaign sends anything.")
    waited: dict[str, int] = Field(
        description="Occasions that had to wait: quiet, behind, rate, recommendations, paused."
    )
    replaced: int = Field(description="Occasions that waited until a newer one took their place.")
    waiting_for_rate: int = Field(description="Users who stand in the queue of its rate now.")
    reading: ReadingView | None = Field(
        description="What it rests on (consents by events, a recent goal) and cannot be known yet; null: nothing."
    )
    known_since: dict[str, str] = Field(
        description="Event that it rests on -> since when it is known, where the log has lost what was before: "
        "who may have withdrawn earlier, and has not agreed since then, is not sent to."
    )
    journey: InJourneyView | None
    open_windows: int = Field(description="Users who are not compared yet: their window is open.")
    groups: dict[str, GroupView]
    budgets: list[BudgetUsedView]
    overall: ComparisonView
    rungs: list[ComparisonView] = Field(description="Of a ladder; what is claimed holds for all rungs together.")


def add_campaign_figures(app: FastAPI, services: Services, authenticator: Authenticator) -> None:
    """Add the routes."""
    given: dict[str, Any] = {
        "tags": ["campaigns"],
        "response_model": FiguresView,
        "responses": problems(404, 422),
        **access(authenticator, Role.READ),
    }

    @app.get(
        "/v1/campaigns/{campaign_id}/figures",
        operation_id="getCampaignFigures",
        summary="What a campaign has done",
        **given,
    )
    def of_campaign(campaign_id: str) -> FiguresView:
        return figures_of(services, "campaign", campaign_id)

    @app.get(
        "/v1/journeys/{journey_id}/figures",
        operation_id="getJourneyFigures",
        summary="What a journey has done, and where its users are",
        **given,
    )
    def of_journey(journey_id: str) -> FiguresView:
        return figures_of(services, "journey", journey_id)


def figures_of(services: Services, kind: CampaignKind, id_: str) -> FiguresView:
    """Raises NotStored where there is none of that kind, StoreError."""
    kept = services.campaigns.kept()
    found = kept.find(id_)
    if found is None or found.head.kind != kind:
        raise NotStored(f"there is no {kind} {id_!r}")
    now_s = services.wall()
    rules, books = found.definition(), services.campaign_books
    asked = rests_on(rules, kept.messaging())
    reading = reading_of([Place.from_bytes(each) for each in books.positions()], asked)
    counted = figures(rules, id_, books.books_of(id_), books.waiting_for_rate(id_), now_s)
    return FiguresView(
        id=id_,
        kind=kind,
        name=rules.name,
        version=found.head.version,
        state=found.head.stands.state,
        as_of=time_text(now_s),
        **_counts(counted),
        reading=_reading(reading),
        known_since={event: text for event, at_s in reading.since_s.items() if (text := time_text(at_s)) is not None},
        journey=None if counted.journey is None else _in_journey(counted.journey),
        groups={arm: _group(each) for arm, each in counted.groups.items()},
        budgets=[_budget(each) for each in counted.budgets],
        overall=_comparison(counted.overall),
        rungs=[_comparison(each) for each in counted.rungs],
    )


_PLAIN: Final = ("sent", "withheld", "control", "holdout", "waited", "replaced", "waiting_for_rate", "open_windows")


def _counts(counted: Figures) -> dict[str, Any]:
    return {name: getattr(counted, name) for name in _PLAIN}


def _reading(found: Reading) -> ReadingView | None:
    if not found.events:
        return None
    return ReadingView(events=list(found.events), records=found.records, left=found.left)


def _in_journey(found: InJourney) -> InJourneyView:
    return InJourneyView(
        entered=found.entered,
        inside=found.inside,
        waiting=dict(found.waiting),
        ended=dict(found.ended),
        steps=dict(found.steps),
    )


def _group(found: Group) -> GroupView:
    return GroupView(users=found.users, converted=found.converted, revenue=found.revenue, offers=found.offers)


def _budget(found: Spending) -> BudgetUsedView:
    return BudgetUsedView(amount=found.amount, per=found.per, period=found.period, spent=found.spent)


def _comparison(found: Comparison) -> ComparisonView:
    return ComparisonView(
        rung=found.rung,
        value=found.value,
        treated_users=found.treated_users,
        control_users=found.control_users,
        rate=_measured(found.rate),
        net=_measured(found.net),
    )


def _measured(found: Measured) -> MeasuredView:
    difference = found.difference
    verdict: Literal["more", "less", "too early"] = "too early"
    if difference is not None and found.why is None:
        verdict = difference.verdict
    view = None
    if difference is not None:
        view = DifferenceView(
            treated=difference.treated,
            control=difference.control,
            estimate=difference.estimate,
            low=difference.low,
            high=difference.high,
            low_always=difference.low_always,
            high_always=difference.high_always,
        )
    return MeasuredView(difference=view, verdict=verdict, why=found.why, words=words(found))
