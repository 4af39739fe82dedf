"""What the page of a campaign says of figures, previews and refused forms, in both languages."""

from __future__ import annotations

from typing import Any

import pytest

from config.campaign_checks import read_campaign
from config.campaigns import Campaign
from streams.api.campaign_figures import BudgetUsedView, ComparisonView, FiguresView, MeasuredView
from streams.api.campaign_previews import OfferView, PreviewView
from streams.console.campaign_figures import CampaignFigures, campaign_figures
from streams.console.campaign_form import CampaignForm
from streams.console.campaign_reach import reach_of
from streams.console.campaign_wrong import field_of
from streams.console.language import Format
from streams.console.offer_wrong import offer_field
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH

EN, FR = Format("en"), Format("fr")
BEHIND = "what was known of the user was too old, or not known for long enough"
EARLY = MeasuredView(difference=None, verdict="too early", why="few_users", words="too early")


def campaign(**more: Any) -> Campaign:
    data = {
        "name": "Mine",
        "segment": "orders.high",
        "channels": ["webhook"],
        "conversion": {"event": "Order"},
        "message": {"parts": {"title": "Hello", "body": "Hello again"}},
    }
    return read_campaign("mine", data | more)


def figures(rules: Campaign | None = None, **more: Any) -> CampaignFigures:
    nobody: dict[str, Any] = {"sent": 0, "withheld": {}, "control": 0, "holdout": 0, "waited": {}, "replaced": 0}
    nobody |= {"waiting_for_rate": 0, "journey": None, "open_windows": 0, "groups": {}, "budgets": [], "rungs": []}
    nobody |= {"reading": None, "known_since": {}}
    overall = ComparisonView(rung=None, value=None, treated_users=0, control_users=0, rate=EARLY, net=EARLY)
    nobody |= {"id": "mine", "kind": "campaign", "name": "Mine", "version": 1, "state": "on", "as_of": None}
    view = FiguresView(**(nobody | more), overall=overall)
    return campaign_figures(ENGLISH, EN, view, rules or campaign())


def test_who_had_to_wait_is_shown_with_why() -> None:
    found = figures(waited={"quiet": 4, "behind": 27, "rate": 0}, waiting_for_rate=1_200)
    assert found.waited == [
        (BEHIND, "27"),
        ("it was night on the user’s clock", "4"),
        ("are waiting for their turn now, as the rate allows", "1,200"),
    ]
    assert figures().waited == []


@pytest.mark.parametrize(
    ("per", "spent", "told"),
    [
        ("total", 90.0, []),
        ("total", 95.0, ["The budget is used up: no offer that costs anything goes out any more."]),
        ("day", 100.0, ["The budget of today is used up: until tomorrow (UTC) no offer that costs anything goes out."]),
    ],
)
def test_a_budget_is_used_up_when_it_does_not_pay_for_the_cheapest_offer(
    per: str, spent: float, told: list[str]
) -> None:
    budget = {"amount": 100, "per": per}
    ladder = {"unit": "amount", "prediction": "orders", "edges": [50, 75], "values": [20, 10, 0], "budget": budget}
    used = BudgetUsedView(amount=100.0, per=per, period="now", spent=spent)
    assert figures(campaign(offer=ladder), budgets=[used]).used_up == told


def preview(**left_out: int | None) -> PreviewView:
    offer = OfferView(
        step=None, unit="amount", rungs=[], without_score=0, cost_at_least=5.0, cost_at_most=260.0, budget=None
    )
    return PreviewView(
        as_of=None, users=60, left_out=left_out, reachable=52, holdout=0.0, control=5.2, messages=46.8, anyway=12.0,
        basis=None, no_basis=None, offers=[offer],
    )  # fmt: skip


def test_what_cannot_be_counted_is_not_said_to_be_sent() -> None:
    found = reach_of(ENGLISH, EN, preview(goal=8, consent=None), [])
    assert found.rows == [
        ("Users whom it is for", "60"),
        ("left out: the user had just reached the goal", "8"),
        ("left out: the user has not agreed, or cannot be reached", "not known"),
        ("of them may be sent to", "at most 52"),
        ("messages expected", "at most 47"),
        ("expected in the control groups", "at most 5.2"),
        ("messages to users who would do it anyway", "at most 12"),
        ("cost of the offers", "at most 260"),
    ]
    assert found.notes == [ENGLISH.reach_without_consent]
    french = dict(reach_of(FRENCH, FR, preview(goal=0, consent=None), ["épuisé"]).rows)
    assert french["dont joignables"] == "au plus 52"


def test_what_is_known_is_said_as_it_is() -> None:
    found = reach_of(ENGLISH, EN, preview(goal=0, consent=8), ["It is used up"])
    assert found.notes == ["It is used up"]
    assert dict(found.rows) == {
        "Users whom it is for": "60",
        "left out: the user has not agreed, or cannot be reached": "8",
        "of them may be sent to": "52",
        "messages expected": "47",
        "expected in the control groups": "5.2",
        "messages to users who would do it anyway": "12",
        "cost of the offers": "5 to 260",
    }


@pytest.mark.parametrize(
    ("path", "found", "field", "label"),
    [
        ("campaigns.basket.message", "title, line 1: no", "part_0_text", "Message · Title"),
        ("campaigns.basket.message.parts.body", "''", "part_1_text", "Message · Text"),
        ("campaigns.basket.message.parts", "an empty mapping", "part", "Message"),
        ("control", "'x'", "control", "Control group, in percent"),
        ("campaigns.basket.conversion.event", "''", "goal", "What it is for"),
        ("campaigns.basket.conversion.window", "'7w'", "within", "It counts within"),
        ("campaigns.basket.offer.value", "-1", "value", "Value, the same for everybody"),
        ("offer.budget", "'x'", "budget", "Budget"),
        ("campaigns.basket.offer.edges[0]", "'x'", "step_1_edge", "Ladder"),
        ("campaigns.basket.offer.values[2]", "'x'", "step_2_value", "Ladder"),
        ("campaigns.basket.offer.values", "1, 2", "steps", "Ladder"),
        ("campaigns.basket.offer", "a mapping", "offer", "Offer"),
        ("journeys.basket.steps.a", "-1", "rest", "All other settings · steps.a"),
        ("campaigns.basket.rate.per", "nothing", "rest", "All other settings · rate.per"),
        ("", "a text", "rest", "All other settings"),
    ],
)
def test_what_is_refused_is_told_by_its_field(path: str, found: str, field: str, label: str) -> None:
    form = CampaignForm.of_definition("basket", campaign(offer={"unit": "amount", "value": 5}), "en")
    assert field_of(ENGLISH, form, {"path": path, "found": found, "expected": "something else"}) == (field, label)


@pytest.mark.parametrize(
    ("expected", "field"),
    [
        ("order_value beside a budget for percentages, or their cost is not known", "order_value"),
        ("a budget of at least one offer (20)", "budget"),
        ("edges that ascend, between 0 and 100", "steps"),
        ("least below most (found 5 and 1)", "most"),
        ("a step that gives at most 21 different values", "step"),
    ],
)
def test_a_rule_between_fields_marks_the_one_to_mend(expected: str, field: str) -> None:
    assert offer_field("", expected)[0] == field


def test_what_has_no_field_is_told_by_its_place_in_the_text() -> None:
    form = CampaignForm.of_definition("basket", campaign(reentry="once"), "en")
    given = {"path": "campaigns.basket.reentry", "found": "nothing", "expected": "once"}
    assert field_of(ENGLISH, form, given) == ("rest", "All other settings · reentry")


@pytest.mark.parametrize(
    ("trigger", "path", "field"),
    [
        ({"event": "View"}, "trigger.event", "trigger_event"),
        ({"at": "2027-03-01 10:00"}, "trigger.at", "trigger_at"),
        ({"every": "day", "at": "10:00"}, "trigger.at", "trigger_time"),
        ({"every": "day", "at": "10:00"}, "trigger.timezone", "trigger_zone"),
        ({"every": "week", "at": "10:00", "on": ["monday"]}, "trigger", "trigger_on"),
        ({"every": "month", "at": "10:00", "on": [1]}, "trigger.on[0]", "trigger_on"),
        ("enter", "trigger", "trigger"),
    ],
)
def test_what_is_wrong_with_when_it_goes_out_is_told_at_its_field(trigger: Any, path: str, field: str) -> None:
    form = CampaignForm.of_definition("basket", campaign(trigger=trigger), "en")
    given = {"path": f"campaigns.basket.{path}", "found": "nothing", "expected": "something"}
    found = field_of(ENGLISH, form, given)
    assert found is not None
    assert found[0] == field
