"""What a crossing led to, as the rows of campaigns tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from config.campaigns import Campaign
from config.journeys import Journey
from streams.campaigns.aftermath import LedTo, led_to
from streams.campaigns.inputs import Crossing, Facts
from streams.campaigns.offers import Kind
from streams.campaigns.plan import Definitions, Plan, Standing
from streams.campaigns.question import MessageFailed, Reason
from streams.console.texts import Texts
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH
from tests.campaign_world import OPEN, Service, campaign, facts, journey, plan_of, send_step

NOW_S = 1_790_000_000.0  # 2026-09-21T14:13:20Z
HOUR_S = 3_600.0
IN = facts("s")


def enter(sequence: int = 1, at_s: float = NOW_S) -> Crossing:
    return Crossing("ann", "s", sequence % 2 == 1, sequence, at_s, "live")


def after(
    rules: Campaign | Journey, crossing: Crossing, *, known: Facts = IN, then_s: float | None = None
) -> tuple[Service, list[LedTo]]:
    """What it led to, then or later."""
    service = Service.of({"c": rules}) if isinstance(rules, Campaign) else Service.of({}, {"c": rules})
    service.step(NOW_S, [crossing], {"ann": known})
    if then_s is not None:
        service.step(then_s, [], {"ann": known})
    return service, led_to(service.rows.get("ann"), service.plan, crossing, NOW_S)


def test_a_message_is_told_with_its_channel_and_offer() -> None:
    service, (found,) = after(campaign(offer={"unit": "percent", "value": 10, "order_value": 50}), enter())
    assert (found.what, found.why, found.channels, found.is_final) == ("sent", None, ("open",), True)
    assert found.offer is not None
    assert found.offer.value == 10.0
    assert [send.campaign for send in service.taken] == ["c"]


@pytest.mark.parametrize(
    ("given", "known", "why"),
    [
        ({"control": 1.0}, IN, "control"),
        ({"skip_recent_goal": "7d"}, facts("s", latest_s={"Order": NOW_S - HOUR_S}), "goal"),
        ({}, facts(), "left"),
        ({"max_trigger_age": "1h", "quiet_hours": {"from": "00:00", "to": "23:00"}}, IN, "quiet"),
    ],
)
def test_what_is_withheld_is_told_with_its_reason(given: Mapping[str, Any], known: Facts, why: str) -> None:
    _, found = after(campaign(**given), enter(), known=known)
    assert found == [LedTo("c", "withheld", why)]


def test_what_waits_is_told_until_it_is_sent() -> None:
    quiet = campaign(quiet_hours={"from": "00:00", "to": "15:00"})
    _, found = after(quiet, enter())
    assert found == [LedTo("c", "waits", "quiet")]
    assert not found[0].is_final
    _, (later,) = after(quiet, enter(), then_s=NOW_S + HOUR_S)
    assert later.what == "sent"


def test_a_reason_is_forgotten_with_the_next_message() -> None:
    service = Service.of({"c": campaign()})
    service.step(NOW_S, [enter()], {"ann": facts()})
    service.step(NOW_S + 60.0, [enter(2, NOW_S + 50.0), enter(3, NOW_S + 60.0)], {"ann": IN})
    row, again = service.rows["ann"], enter(3, NOW_S + 60.0)
    assert [each.what for each in led_to(row, service.plan, again, NOW_S)] == ["sent"]
    assert led_to(row, service.plan, enter(), NOW_S) == [], "of an earlier one nothing is known any more"
    assert row.refused == {}


def test_a_journey_tells_its_way_and_its_messages() -> None:
    waits = journey({"rest": {"wait": "1h"}, "go": send_step()})
    _, found = after(waits, enter())
    assert found == [LedTo("c", "inside")]
    _, (later,) = after(waits, enter(), then_s=NOW_S + 2 * HOUR_S)
    assert (later.what, later.channels) == ("sent", ("open",))
    _, refused = after(journey({"go": send_step()}), enter(), known=facts())
    assert refused == [LedTo("c", "withheld", "left")]


def test_a_step_that_is_refused_is_not_the_end_of_a_journey() -> None:
    """A template that fails withholds its step, and the journey goes on."""

    def failing(*_: object) -> Mapping[str, Mapping[str, str]]:
        raise MessageFailed("body, line 1")

    rules = journey({"go": send_step(), "rest": {"wait": "1h"}, "again": send_step()})
    service = Service.of({}, {"c": rules}, render=failing)
    service.step(NOW_S, [enter()], {"ann": IN})
    assert led_to(service.rows["ann"], service.plan, enter(), NOW_S) == [LedTo("c", "inside")]
    service.step(NOW_S + 2 * HOUR_S, [], {"ann": IN})
    assert led_to(service.rows["ann"], service.plan, enter(), NOW_S) == [LedTo("c", "withheld", "message")]


def test_what_a_breaker_holds_in_a_journey_is_not_told_as_final() -> None:
    service = Service.of({}, {"c": journey({"go": send_step()}, breaker={"times": 2, "at_least": 1, "until_known": 1})})
    first = Crossing("aaron", "s", True, 1, NOW_S, "live")
    service.step(NOW_S, [first, enter()], {"aaron": IN, "ann": IN})
    (found,) = led_to(service.rows["ann"], service.plan, enter(), NOW_S)
    assert (found.what, found.why, found.is_final) == ("waits", "paused", False)


def test_nothing_is_told_of_what_a_campaign_does_not_listen_to() -> None:
    exits = Crossing("ann", "s", False, 2, NOW_S, "live")
    plan = plan_of({"c": campaign()})
    assert led_to(None, plan, exits, NOW_S) == []
    assert led_to(None, plan, Crossing("ann", "other", True, 1, NOW_S, "live"), NOW_S) == []
    assert led_to(None, plan, Crossing("ann", "s", True, 1, NOW_S, "backfill"), NOW_S) == []


@pytest.mark.parametrize(
    ("state", "created_s", "found"),
    [
        ("on", NOW_S - HOUR_S, [LedTo("c", "pending")]),
        ("dry", NOW_S - HOUR_S, [LedTo("c", "pending")]),
        ("on", NOW_S + 1.0, []),
        ("archived", NOW_S - HOUR_S, []),
    ],
)
def test_a_crossing_is_decided_later_only_where_a_campaign_was_there_and_runs(
    state: Any, created_s: float, found: list[LedTo]
) -> None:
    kinds: dict[str, Kind] = {"p": "event"}
    definitions = Definitions(OPEN, {"c": {1: campaign()}}, {}, {"c": Standing(state, NOW_S, created_s)}, kinds)
    assert led_to(None, Plan(definitions), enter(), NOW_S) == found


@pytest.mark.parametrize("texts", [ENGLISH, FRENCH])
def test_every_reason_is_told_in_words(texts: Texts) -> None:
    assert set(get_args(Reason)) <= texts.withheld_reasons.keys()
    assert {"behind", "quiet", "rate", "paused", "pace", "recommendations"} == texts.led_waits.keys()
