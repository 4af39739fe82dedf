"""The form of a campaign loses nothing, and an offer is drawn as it is given."""

from __future__ import annotations

import json

import pytest

from config.campaign_checks import read_campaign, read_journey
from config.campaigns import Campaign
from config.loader import loads
from config.offers import MAX_RUNGS, FixedOffer, LadderOffer, LinearOffer, Offer
from config.written import written
from streams.api.problems import Problem
from streams.campaigns.offers import rung_of
from streams.campaigns.strategies.make import described, make
from streams.console.campaign_form import CampaignForm
from streams.console.journey_form import StepForm
from streams.console.ladder import Bucket, drawing_of, ladder_of
from streams.console.offer_form import OfferForm, Step, offer_of

CATALOG = loads("""
version: 1
name: Shop
predictions:
  orders: {name: Orders soon, goal: {did: Order}, window: 7d}
  lost: {name: Is lost, kind: churn, goal: {did_not: Order}, window: 30d}
""")
LADDER = LadderOffer(unit="percent", prediction="orders", edges=(25.0, 75.0), values=(20.0, 10.0, 0.0))


@pytest.mark.parametrize("strategy", [each.name for each in described()])
def test_what_a_strategy_gives_is_the_same_after_its_form(strategy: str) -> None:
    kind = next(each.kind for each in described() if each.name == strategy)
    prediction = "lost" if kind == "churn" else "orders"
    made = make(strategy, CATALOG, prediction, channels=("webhook",), scores=(20.0, 60.0), order_value=50.0)
    form = CampaignForm.of_definition(made.id, made.definition, "en")
    read = read_campaign if isinstance(made.definition, Campaign) else read_journey
    assert read(made.id, form.definition) == made.definition
    assert read(made.id, CampaignForm.of(fields_of(form), "en").definition) == made.definition


def fields_of(form: CampaignForm) -> dict[str, str]:
    """As a browser sends it."""
    names = ("kind", "id", "name", "segment", "state", "control", "goal", "rest")
    fields = {name: str(getattr(form, name)) for name in names}
    trigger = form.trigger
    fields |= {"trigger": trigger.kind, "trigger_event": trigger.event, "trigger_at": trigger.at}
    fields |= {"trigger_time": trigger.time, "trigger_zone": trigger.zone, "trigger_every": trigger.every}
    fields |= {f"trigger_on_{day}": "1" for day in trigger.weekdays} | {"trigger_days": trigger.days}
    fields |= {"within": form.within.amount, "within_unit": form.within.unit}
    fields |= {f"channel_{name}": "1" for name in form.channels}
    for n, (name, text) in enumerate(form.message):
        fields |= {f"part_{n}_name": name, f"part_{n}_text": text.replace("\n", "\r\n")}
    return fields | offer_fields(form.offer) | sent(form.steps) | {"exit_on": form.exit_on}


def offer_fields(form: OfferForm) -> dict[str, str]:
    """The same of an offer."""
    fields = {"offer": form.kind, "offer_prediction": form.prediction}
    for name in ("unit", "value", "order_value", "budget", "budget_per", "least", "most", "step"):
        fields[name] = getattr(form, name)
    for n, step in enumerate(form.steps):
        fields |= {f"step_{n}_value": step.value} | ({f"step_{n}_edge": step.edge} if n else {})
    return fields


def sent(steps: tuple[StepForm, ...]) -> dict[str, str]:
    """As a browser sends them."""
    fields: dict[str, str] = {}
    for n, step in enumerate(steps):
        for name in ("id", "kind", "then", "otherwise", "what", "event", "segment"):
            fields[f"s{n}_{name}"] = getattr(step, name)
        fields |= {f"s{n}_span": step.span.amount, f"s{n}_span_unit": step.span.unit}
        fields[f"s{n}_more"] = json.dumps(step.more)
        for p, (name, text) in enumerate(step.parts):
            fields |= {f"s{n}_part_{p}_name": name, f"s{n}_part_{p}_text": text.replace("\n", "\r\n")}
        for p, path in enumerate(step.paths):
            for name in ("kind", "prediction", "category", "low", "high", "segment", "text", "share", "then"):
                fields[f"s{n}_path_{p}_{name}"] = getattr(path, name)
        fields |= {f"s{n}_{name}": value for name, value in offer_fields(step.offer).items()}
    return fields


def campaign(**more: object) -> Campaign:
    data = {
        "name": "Mine",
        "segment": "orders.high",
        "channels": ["webhook"],
        "conversion": {"event": "Order"},
        "message": {"parts": {"body": "Hello"}},
    }
    return read_campaign("mine", data | more)


@pytest.mark.parametrize(
    "more",
    [
        {"trigger": "exit", "control": 0.125, "state": "dry"},
        {"trigger": {"event": "View"}},
        {"message": {"parts": {"body": "Hello"}, "by_channel": {"webhook": {"body": "Hi"}}}},
        {"offer": {"unit": "amount", "value": 5}},
        {"offer": written(LADDER)},
        {"offer": {**written(LADDER), "fixed_for": "90d", "order_value": 40, "budget": {"amount": 500}}},
        {"offer": {"unit": "amount", "value": 5, "budget": {"amount": 500, "per": "month"}}},
        {"offer": {"unit": "percent", "prediction": "orders", "least": 5, "most": 20, "step": 5}},
        {"offer": {"unit": "percent", "prediction": "orders", "most": 20, "fixed_for": "7d"}},
        {"offer": {"unit": "amount", "prediction": "orders", "edges": list(range(5, 75, 5)), "values": [1] * 15}},
        {"conversion": {"event": "Order", "where": {"kind": "boat"}, "window": "36h", "revenue": "price"}},
        {"reentry": "once", "rate": {"sends": 10, "per": "hour"}, "breaker": None},
    ],
)
def test_a_campaign_is_the_same_after_its_form(more: dict[str, object]) -> None:
    before = campaign(**more)
    form = CampaignForm.of_definition("mine", before, "en")
    assert read_campaign("mine", form.definition) == before
    assert read_campaign("mine", CampaignForm.of(fields_of(form), "en").definition) == before


def test_a_ladder_is_written_step_by_step() -> None:
    form = CampaignForm.of_definition("mine", campaign(), "en")
    fields = fields_of(form) | {"offer": "ladder", "offer_prediction": "orders", "step_0_value": "20"}
    fields |= {"step_1_edge": "37,5", "step_1_value": "10", "step_2_edge": "", "step_2_value": " "}
    offer = read_campaign("mine", CampaignForm.of(fields, "fr").definition).offer
    assert offer == LadderOffer(unit="percent", prediction="orders", edges=(37.5,), values=(20.0, 10.0))
    more = OfferForm.of(fields, language="fr").after("more_step")
    assert more.steps[-1] == Step()
    assert more.after("drop_step_1").steps == (more.steps[0], *more.steps[2:])
    assert more.after("drop_step_0") == more.after("drop_step_9") == more
    for _ in range(40):
        form = form.after("more_step")
    assert len(form.offer.steps) == MAX_RUNGS


@pytest.mark.parametrize("wrong", [{"control": "much"}, {"rest": "- a list"}, {"rest": "{["}, {"offer": "fixed"}])
def test_what_cannot_be_read_is_refused(wrong: dict[str, str]) -> None:
    fields = fields_of(CampaignForm.of_definition("mine", campaign(), "en")) | wrong
    with pytest.raises(Problem):
        CampaignForm.of(fields, "fr").definition  # noqa: B018


@pytest.mark.parametrize("is_churn", [False, True])
@pytest.mark.parametrize(
    "offer",
    [
        FixedOffer(unit="amount", value=5.0),
        LADDER,
        LinearOffer(unit="percent", prediction="orders", least=0.0, most=20.0, step=5.0),
        LinearOffer(unit="percent", prediction="orders", least=1.0, most=2.0, step=4.0),
    ],
)
def test_an_offer_is_drawn_as_it_is_given(offer: Offer, is_churn: bool) -> None:
    ladder = ladder_of(offer, is_churn=is_churn)
    assert (ladder.steps[0].low, ladder.steps[-1].high) == (0.0, 100.0)
    for step in ladder.steps:
        middle = (step.low + step.high) / 2.0
        assert offer.values_offered[rung_of(offer, "churn" if is_churn else "event", middle)] == step.value
    assert ladder.line.count("L") == 2 * len(ladder.steps) - 1


def test_of_a_drawn_offer_users_and_cost_are_those_of_its_scores() -> None:
    buckets = [Bucket(0.0, 50.0, 100), Bucket(50.0, 100.0, 40)]
    drawing = drawing_of(LADDER.model_copy(update={"order_value": 50.0}), buckets, is_churn=False)
    assert [(row.users, row.cost) for row in drawing.rows] == [(50.0, 500.0), (70.0, 350.0), (20.0, 0.0)]
    assert (drawing.users, drawing.cost) == (140.0, 850.0)
    part = drawing_of(LADDER, buckets, (50.0, 80.0), is_churn=False)
    assert [(row.users, row.cost) for row in part.rows] == [(0.0, None), (20.0, None), (4.0, 0.0)]
    assert part.cost is None, "nobody has said what an order is worth"
    assert [bar.height for bar in drawing.bars] == [1000.0, 400.0]


def test_an_offer_that_is_not_whole_yet_is_not_drawn() -> None:
    assert offer_of(OfferForm()) is None
    assert offer_of(OfferForm(kind="fixed", value="ten")) is None
    assert offer_of(OfferForm(kind="fixed", value="110")) is None
    assert offer_of(OfferForm(kind="fixed", value="11")) == FixedOffer(unit="percent", value=11.0)
