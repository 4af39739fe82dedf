"""The form of a campaign loses nothing, and an offer is drawn as it is given."""

from __future__ import annotations

import pytest

from config.campaign_checks import read_campaign, read_journey
from config.campaigns import Campaign
from config.loader import loads
from config.offers import FixedOffer, LadderOffer, LinearOffer, Offer
from config.written import written
from streams.api.problems import Problem
from streams.campaigns.offers import rung_of
from streams.campaigns.strategies.make import described, make
from streams.console.campaign_form import CampaignForm, Step
from streams.console.ladder import ladder_of

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
    form = CampaignForm.of_definition(made.id, made.definition)
    read = read_campaign if isinstance(made.definition, Campaign) else read_journey
    assert read(made.id, form.definition) == made.definition
    assert read(made.id, CampaignForm.of(fields_of(form)).definition) == made.definition


def fields_of(form: CampaignForm) -> dict[str, str]:
    """As a browser sends it."""
    names = ("kind", "id", "name", "segment", "trigger", "state", "control", "offer", "unit", "value")
    fields = {name: str(getattr(form, name)) for name in (*names, "offer_prediction", "order_value", "budget", "rest")}
    fields |= {f"channel_{name}": "1" for name in form.channels}
    for n, (name, text) in enumerate(form.message):
        fields |= {f"part_{n}_name": name, f"part_{n}_text": text.replace("\n", "\r\n")}
    for n, step in enumerate(form.steps):
        fields |= {f"step_{n}_value": step.value} | ({f"step_{n}_edge": step.edge} if n else {})
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
        {"reentry": "once", "rate": {"sends": 10, "per": "hour"}, "breaker": None},
    ],
)
def test_a_campaign_is_the_same_after_its_form(more: dict[str, object]) -> None:
    before = campaign(**more)
    form = CampaignForm.of_definition("mine", before)
    assert read_campaign("mine", form.definition) == before
    assert read_campaign("mine", CampaignForm.of(fields_of(form)).definition) == before


def test_a_ladder_is_written_step_by_step() -> None:
    form = CampaignForm.of_definition("mine", campaign())
    fields = fields_of(form) | {"offer": "ladder", "offer_prediction": "orders", "step_0_value": "20"}
    fields |= {"step_1_edge": "37,5", "step_1_value": "10", "step_2_edge": "", "step_2_value": " "}
    offer = read_campaign("mine", CampaignForm.of(fields).definition).offer
    assert offer == LadderOffer(unit="percent", prediction="orders", edges=(37.5,), values=(20.0, 10.0))
    assert CampaignForm.of(fields).with_step().steps[-1] == Step()
    for _ in range(40):
        form = form.with_step()
    assert len(form.steps) == 12


@pytest.mark.parametrize("wrong", [{"control": "much"}, {"rest": "- a list"}, {"rest": "{["}, {"offer": "fixed"}])
def test_what_cannot_be_read_is_refused(wrong: dict[str, str]) -> None:
    fields = fields_of(CampaignForm.of_definition("mine", campaign())) | wrong
    with pytest.raises(Problem):
        CampaignForm.of(fields).definition  # noqa: B018


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
