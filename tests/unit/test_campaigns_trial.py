"""What one user would be sent, and what speaks against it: as the engine would decide, without sending."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from config.campaign_checks import read_messaging
from config.campaigns import Messaging
from streams.campaigns.inputs import Facts, Score
from streams.campaigns.plan import Plan
from streams.campaigns.state import Row
from streams.campaigns.strategies.make import strategies
from streams.campaigns.trial import Objection, Trial, sends, trial
from streams.core.chance import is_control
from tests.campaign_shop import Shop
from tests.campaign_world import NOBODY, OPEN, campaign, facts, journey, plan_of, send_step

NOW_S = 1_790_000_000.0  # 2026-09-21T14:13:20Z
DAY_S = 86_400.0
LADDER = {"unit": "amount", "prediction": "p", "edges": [30, 70], "values": [6, 3, 0]}
HELLO = {"parts": {"body": "Hello {{ user.name }}{% if offer is defined %}, {{ offer.value }} off{% endif %}"}}


def tried(found: Facts, *, messaging: Messaging = OPEN, row: Row | None = None, **given: Any) -> Trial:
    plan = plan_of({"c": campaign(message=HELLO, **given)}, messaging=messaging)
    return trial(plan, "c", "ann", found, row or Row(), NOW_S)


def ann(**given: Any) -> Facts:
    return facts("s", traits={"name": "Ann"}, **given)


def reasons(found: Trial) -> list[str]:
    return [each.reason for each in found.against]


def test_who_may_be_sent_to_sees_the_message_and_nothing_against_it() -> None:
    found = tried(ann(scores={"p": Score(20.0)}), offer=LADDER)
    assert (found.against, found.failed, found.group) == ((), None, "treated")
    (part,) = found.parts
    assert (part.channel, part.is_open, dict(part.texts)) == ("open", True, {"body": "Hello Ann, 6 off"})
    assert found.offer is not None
    assert found.offer.value == 6.0


def test_all_that_speaks_against_it_is_told_and_not_the_first_alone() -> None:
    messaging = read_messaging(
        {
            "holdout": 0,
            "channels": {"open": {"kind": "log", "consent": {"trait": "news"}}},
            "quiet_hours": {"from": "12:00", "to": "16:00"},
        }
    )
    found = tried(
        replace(ann(latest_s={"Order": NOW_S - 60.0}), segments=frozenset()),
        messaging=messaging,
        offer=LADDER,
        skip_recent_goal="1d",
        filter={"trait": "x", "exists": True},
    )
    assert reasons(found) == ["left", "filter", "goal", "consent", "quiet", "no_score"]
    until_s = NOW_S - NOW_S % DAY_S + 16 * 3_600.0
    assert [each.until_s for each in found.against] == [None, None, None, None, until_s, None]
    assert [part.is_open for part in found.parts] == [False]
    assert found.parts[0].texts["body"] == "Hello Ann"  # it can be read all the same


def test_what_campaigns_know_of_the_user_counts() -> None:
    shop = Shop("reminder")
    user = shop.person("ann", 60.0)
    shop.scores(user, 90.0)
    row = shop.service.rows[user]
    found = trial(shop.service.plan, shop.id, user, shop.facts_of(user), row, shop.now_s + 60.0)
    assert reasons(found) == ["again"]
    fresh = trial(shop.service.plan, shop.id, user, shop.facts_of(user), Row(), shop.now_s + 60.0)
    assert reasons(fresh) == []


def test_a_template_that_fails_says_where() -> None:
    found = tried(facts("s"))
    assert reasons(found) == ["message"]
    assert found.failed is not None
    assert found.failed.startswith("body, line 1: ")
    assert dict(found.parts[0].texts) == {}


@pytest.mark.parametrize(("score", "text"), [(56.0, "56, 56"), (56.42, "56.42, 56")])
def test_a_score_is_shown_as_people_write_it(score: float, text: str) -> None:
    message = {"parts": {"body": "{{ score }}, {{ score | round }}"}}
    plan = plan_of({"c": campaign(message=message, prediction="p")})
    found = trial(plan, "c", "ann", facts("s", scores={"p": Score(score)}), Row(), NOW_S)
    assert found.parts[0].texts["body"] == text


def test_a_campaign_on_an_event_is_tried_with_an_event() -> None:
    trigger = {"event": "Cart Viewed", "properties": ["item"]}
    message = {"parts": {"body": "{{ event.item }}"}}
    plan = plan_of({"c": campaign(trigger=trigger, message=message)})
    found = trial(plan, "c", "ann", facts("s"), Row(), NOW_S, properties={"item": "Hat"})
    assert found.parts[0].texts["body"] == "Hat"
    assert trial(plan, "c", "ann", facts("s"), Row(), NOW_S).failed is not None


def test_each_message_of_a_journey_can_be_tried_and_the_first_is_if_nothing_is_said() -> None:
    plan = plan_of(journeys={"j": journey({"wait": {"wait": "1d"}, "a": send_step("A"), "b": send_step("B")})})
    texts = {
        step: trial(plan, "j", "ann", facts("s"), Row(), NOW_S, step=step).parts[0].texts["body"]
        for step in (None, "a", "b")
    }
    assert texts == {None: "A", "a": "A", "b": "B"}
    for step in ("wait", "none"):
        with pytest.raises(KeyError):
            trial(plan, "j", "ann", facts("s"), Row(), NOW_S, step=step)


def test_on_exit_being_in_the_segment_speaks_against_it() -> None:
    assert reasons(tried(ann(), trigger="exit")) == ["left"]
    assert reasons(tried(replace(ann(), segments=frozenset()), trigger="exit")) == []


def test_a_channel_that_was_taken_away_is_open_to_nobody() -> None:
    found = tried(ann(), channels=["gone"])
    assert reasons(found) == ["consent"]
    assert [(part.channel, part.is_open, part.address) for part in found.parts] == [("gone", False, None)]


def test_a_user_whom_nobody_knows_is_told_so() -> None:
    assert reasons(tried(NOBODY))[0] == "unknown"


def test_the_group_is_the_one_that_the_engine_draws() -> None:
    plan = plan_of({"c": campaign(control=0.5)})
    for n in range(20):
        found = trial(plan, "c", f"user-{n}", facts("s"), Row(), NOW_S)
        assert found.group == ("control" if is_control("c", f"user-{n}", 0.5) else "treated")


def test_nothing_is_used_of_what_is_shared() -> None:
    budget = {"unit": "amount", "value": 5, "budget": {"amount": 5.0}}
    found = tried(ann(), rate={"sends": 1, "per": "day"}, offer=budget, breaker={"until_known": 1})
    assert reasons(found) == []


@pytest.mark.parametrize("strategy", strategies())
def test_every_message_of_every_template_can_be_tried_and_says_what_would_be_sent(strategy: str) -> None:
    shop = Shop(strategy)
    user = shop.person("ann", 90.0 if shop.prediction == "churn" or strategy == "reminder" else 20.0)
    plan: Plan = shop.service.plan
    for step, _, offer in sends(shop.made.definition):
        found = trial(plan, shop.id, user, shop.facts_of(user), Row(), shop.now_s, step=step)
        assert (found.step, found.failed) == (step, None)
        assert (found.offer is None) == (offer is None)
        assert [part.channel for part in found.parts] == ["push", "mail"]
        assert found.parts[1].address == "ann@example.org"
        assert Objection("message", None) not in found.against
