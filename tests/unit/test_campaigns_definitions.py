"""What people write of campaigns and journeys: every mistake is told with its place and what was expected."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from config.campaign_checks import (
    problems_of_campaigns,
    read_campaign,
    read_journey,
    read_messaging,
)
from config.campaigns import Messaging
from config.catalog import Catalog
from config.errors import CatalogError
from config.journeys import Journey
from config.loader import loads
from config.written import written
from streams.campaigns.texts_check import check_texts
from tests.property.test_campaigns import World

CATALOG = """
version: 1
name: Shop
history: [Cart]
features: {traits: [city], value: price}
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 7d}
  churn: {name: Churn, kind: churn, goal: {did_not: Order}, window: 30d}
  trial: {name: Trial, goal: {did: Order}, window: 7d, access: preview}
segments:
  top: {name: Top, filter: {prediction: orders, score: {min: 90}}}
"""
CAMPAIGN: dict[str, Any] = {
    "name": "Cart",
    "segment": "orders.high",
    "conversion": {"event": "Order"},
    "channels": ["push"],
    "message": {"parts": {"body": "Hello"}},
}
JOURNEY: dict[str, Any] = {
    **{key: value for key, value in CAMPAIGN.items() if key != "message"},
    "steps": {"go": {"send": {"parts": {"body": "Hello"}}}, "rest": {"wait": "1d"}, "end_of_it": {"wait": "1d"}},
}
MESSAGING: dict[str, Any] = {"channels": {"push": {"kind": "webhook"}}}


@pytest.fixture
def catalog() -> Catalog:
    return loads(CATALOG)


def refused(read: Any, **given: Any) -> str:
    base = CAMPAIGN if read is read_campaign else JOURNEY
    with pytest.raises(CatalogError) as caught:
        read("c", base | given)
    return "\n".join(str(problem) for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"triger": "enter"}, "did you mean 'trigger'?"),
        ({"trigger": "entry"}, "campaigns.c.trigger: found 'entry'; expected enter, exit, both, {event: EVENT NAME}"),
        ({"trigger": {"every": "week", "at": "10:00"}}, "days under `on`, such as [monday]"),
        ({"trigger": {"every": "month", "at": "10:00", "on": [31]}}, "days of the month under `on`, from 1 to 28"),
        ({"trigger": {"every": "day", "at": "24:00"}}, 'a time of day such as "08:30"'),
        ({"trigger": {"at": "2027-03-01T10:00+01:00"}}, "a time without an offset"),
        ({"trigger": {"at": "2027-03-01 10:00", "timezone": "Paris"}}, "a time zone such as UTC or Europe/Paris"),
        ({"starts": "2027-01-02", "ends": "2027-01-01"}, "starts before ends"),
        ({"quiet_hours": {"from": "08:00", "to": "08:00"}}, "two different times"),
        (
            {"quiet_hours": {"from": "08:00", "til": "09:00"}},
            "campaigns.c.quiet_hours.til: found the unknown key 'til'",
        ),
        ({"quiet_hours": "night"}, 'quiet_hours: found \'night\'; expected {from: "21:00", to: "08:00"}'),
        ({"trigger": {"every": "month", "at": "10:00", "on": [True]}}, "days of the month under `on`"),
        ({"trigger": {"every": "week", "at": "10:00", "on": [1.5]}}, "days under `on`, such as [monday]"),
        ({"reentry": 5}, "a duration such as"),
        ({"control": 1.5}, "at most 1"),
        ({"conversion": {"event": "Order", "window": "100d"}}, "a duration from 1h to 90d"),
        ({"reentry": "never"}, "a duration such as 30s, 90m, 12h, 7d or 2w"),
        ({"channels": []}, "at least 1"),
        ({"offer": {"value": 10}}, "the key 'unit'"),
        ({"offer": {"unit": "percent", "value": 110}}, "values from 0 to 100"),
        ({"offer": {"unit": "percent", "value": 10, "budget": {"amount": 50}}}, "order_value beside a budget"),
        ({"offer": {"unit": "amount", "value": 60, "budget": {"amount": 50}}}, "a budget of at least one offer (60)"),
        (
            {"offer": {"unit": "amount", "prediction": "orders", "edges": [50], "values": [3, 2, 1]}},
            "one value more than edges (found 3 and 1)",
        ),
        (
            {"offer": {"unit": "amount", "prediction": "orders", "edges": [60, 50], "values": [3, 2, 1]}},
            "edges that ascend, between 0 and 100",
        ),
        ({"offer": {"unit": "amount", "prediction": "orders", "least": 9, "most": 5}}, "least below most"),
        ({"offer": {"unit": "amount", "prediction": "orders", "most": 50}}, "at most 21 different values"),
    ],
)
def test_a_mistake_in_a_campaign_is_told(given: dict[str, Any], words: str) -> None:
    assert words in refused(read_campaign, **given)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({"a": {"wait": "1d", "then": "b"}}, "steps that exist: 'a' leads to 'b'"),
        ({"a": {"wait": "1d", "then": "end"}, "b": {"wait": "1d"}}, "nothing leads to 'b'"),
        ({"a": {"send": {"parts": {"b": "x"}}, "then": "a"}}, "'a' leads to itself without one"),
        (
            {
                "a": {"send": {"parts": {"b": "x"}}},
                "b": {"random_split": [{"share": 0.5, "then": "a"}, {"share": 0.5, "then": "end"}]},
            },
            "a wait on every way back",
        ),
        (
            {"a": {"random_split": [{"share": 0.5, "then": "end"}, {"share": 0.4, "then": "end"}]}},
            "that are 1 together",
        ),
        ({"a": {"wait": "10s"}}, "at least 1m"),
        ({"a": {"wait_until": {"event": "X", "enters": "y"}, "at_most": "1d"}}, "exactly one of event, enters"),
        ({"a": {"sleep": "1d"}}, "a step: wait, wait_until, split, random_split or send"),
        ({"end": {"wait": "1d"}}, "another id than 'end'"),
    ],
)
def test_a_mistake_in_a_journey_is_told(steps: dict[str, Any], words: str) -> None:
    assert words in refused(read_journey, steps=steps)


def wait(then: str) -> dict[str, Any]:
    return {"wait": "1d", "then": then}


@pytest.mark.parametrize(
    ("steps", "circle"),
    [
        ({"a": wait("b"), "b": wait("a")}, "'a', 'b'"),
        ({"a": wait("a")}, "'a'"),
        ({"go": {"send": {"parts": {"body": "x"}}}, "a": wait("b"), "b": wait("a")}, "'a', 'b'"),
        (
            {
                "a": {"wait_until": {"event": "X"}, "at_most": "1d", "then": "b", "otherwise": "c"},
                "b": {"random_split": [{"share": 0.5, "then": "d"}, {"share": 0.5, "then": "c"}]},
                "c": {"split": [{"when": {"segment": "top"}, "then": "d"}], "otherwise": "d"},
                "d": wait("a"),
            },
            "'a', 'b', 'c', 'd'",
        ),
    ],
)
def test_steps_that_only_wait_in_a_circle_are_named(catalog: Catalog, steps: dict[str, Any], circle: str) -> None:
    journey = read_journey("j", JOURNEY | {"steps": steps})
    found = problems_of_campaigns(catalog, read_messaging(MESSAGING), {}, {"j": journey})
    assert [(each.found, each.expected) for each in found] == [
        (f"steps that go round for ever: {circle}", "a way to a send, or to the end (`then: end`), from each step")
    ]


@pytest.mark.parametrize(
    "steps",
    [
        {"go": {"send": {"parts": {"body": "x"}}}, "rest": wait("go")},
        {"a": {"wait_until": {"event": "Order"}, "at_most": "1d", "then": "end", "otherwise": "b"}, "b": wait("a")},
        {"a": wait("b"), "b": {"split": [{"when": {"segment": "top"}, "then": "a"}], "otherwise": "end"}},
    ],
)
def test_a_circle_that_sends_or_may_be_left_is_right(catalog: Catalog, steps: dict[str, Any]) -> None:
    journey = read_journey("j", JOURNEY | {"steps": steps})
    assert problems_of_campaigns(catalog, read_messaging(MESSAGING), {}, {"j": journey}) == []


MAIL: dict[str, Any] = {
    "channels": {"push": {"kind": "webhook"}, "mail": {"kind": "email", "consent": "none", "address": "city"}}
}
BY_MAIL = {"channels": ["push", "mail"]}


@pytest.mark.parametrize(
    ("message", "lacking"),
    [
        ({"parts": {"body": "x"}}, ["subject"]),
        ({"parts": {"title": "x"}}, ["subject", "body"]),
        ({"parts": {"body": "x"}, "by_channel": {"push": {"subject": "x"}}}, ["subject"]),
        ({"parts": {"body": "x"}, "by_channel": {"mail": {"subject": "x"}}}, []),
        ({"parts": {"subject": "x", "body": "x"}}, []),
    ],
)
def test_a_mail_has_to_have_what_no_mail_goes_without(message: dict[str, Any], lacking: list[str]) -> None:
    channels = read_messaging(MAIL).channels
    steps = {"rest": {"wait": "1d"}, "go": {"send": message}}
    campaign = read_campaign("c", CAMPAIGN | BY_MAIL | {"message": message})
    journey = read_journey("c", JOURNEY | BY_MAIL | {"steps": steps})
    for rules, place in (
        (campaign, ("campaigns", "c", "message", "parts")),
        (journey, ("journeys", "c", "steps", "go", "send", "parts")),
    ):
        assert list(check_texts("c", rules, channels)) == [
            (
                place,
                f"no part {part!r} for the channel 'mail', which sends e-mail",
                f"the part {part!r}, under parts or by_channel",
            )
            for part in lacking
        ]


def test_a_channel_that_sends_no_mail_needs_no_subject() -> None:
    assert list(check_texts("c", read_campaign("c", CAMPAIGN), read_messaging(MAIL).channels)) == []


@pytest.mark.parametrize("seed", range(100))
def test_what_is_written_is_read_as_the_same_campaign(seed: int) -> None:
    for campaign in World(Random(f"written:{seed}")).campaigns.values():
        assert read_campaign("c", written(campaign)) == campaign


def test_a_schedule_says_by_itself_how_often_it_goes_out() -> None:
    """Unless somebody says that it should not: a word in 30 days at most, although it goes out every week."""
    weekly = CAMPAIGN | {"trigger": {"every": "week", "on": ["monday"], "at": "10:00"}}
    assert read_campaign("c", CAMPAIGN).again_after_s == 30 * 86_400.0
    assert read_campaign("c", weekly).again_after_s == 0.0
    assert read_campaign("c", weekly | {"reentry": "once"}).again_after_s is None
    said = written(read_campaign("c", weekly | {"reentry": "30d"}))
    assert read_campaign("c", said).again_after_s == 30 * 86_400.0


@pytest.mark.parametrize("reentry", ["once", "always", "30d"])
def test_reentry_is_written_as_people_do(reentry: str) -> None:
    assert written(read_campaign("c", CAMPAIGN | {"reentry": reentry})).get("reentry", "30d") == reentry


def test_a_journey_may_go_round_with_a_wait() -> None:
    found = read_journey("j", JOURNEY | {"steps": {"a": JOURNEY["steps"]["go"], "b": {"wait": "1d", "then": "a"}}})
    assert found.ways_from("b") == ["a"]
    assert found.ways_from("a") == ["b"]


def problems(
    catalog: Catalog,
    campaign: dict[str, Any] | None = None,
    journey: dict[str, Any] | None = None,
    messaging: dict[str, Any] | None = None,
    archived: tuple[str, ...] = (),
) -> list[str]:
    campaigns = {"c": read_campaign("c", CAMPAIGN | campaign)} if campaign is not None else {}
    journeys: dict[str, Journey] = {"j": read_journey("j", JOURNEY | journey)} if journey is not None else {}
    found: Messaging = read_messaging(MESSAGING | (messaging or {}))
    return [str(problem) for problem in problems_of_campaigns(catalog, found, campaigns, journeys, archived)]


def test_what_fits_the_catalog_is_not_refused(catalog: Catalog) -> None:
    assert problems(catalog, {}, {}) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"segment": "tip"}, "campaigns.c.segment: found unknown segment 'tip'; expected one of top; did you mean"),
        ({"segment": "trial.high"}, "preview and demo cannot be used for targeting"),
        ({"filter": {"segment": "tip"}}, "campaigns.c.filter.segment: found unknown segment"),
        ({"channels": ["push", "mail"]}, "campaigns.c.channels[1]: found unknown channel 'mail'"),
        ({"trigger": {"event": "Order"}}, "which is the event of the conversion, too"),
        (
            {"offer": {"unit": "percent", "prediction": "orders", "edges": [50], "values": [5, 10]}},
            "campaigns.c.offer.values: found 5, 10; expected values that fall with the score",
        ),
        (
            {"offer": {"unit": "percent", "prediction": "churn", "edges": [50], "values": [10, 5]}},
            "campaigns.c.offer.values: found 10, 5; expected values that grow with the score",
        ),
        ({"offer": {"unit": "percent", "prediction": "trial", "most": 10}}, "cannot be used for targeting"),
        ({"prediction": "trial"}, "campaigns.c.prediction"),
    ],
)
def test_what_does_not_fit_the_catalog_is_told(catalog: Catalog, given: dict[str, Any], words: str) -> None:
    (found,) = problems(catalog, given)
    assert words in found


def test_steps_of_a_journey_are_looked_at(catalog: Catalog) -> None:
    steps = {
        "a": {"split": [{"when": {"segment": "tip"}, "then": "b"}]},
        "b": {"wait_until": {"enters": "tip"}, "at_most": "1d"},
        "d": {"send": {"parts": {"x": "y"}}, "offer": {"unit": "percent", "prediction": "none", "most": 10}},
    }
    assert [text.partition(":")[0] for text in problems(catalog, journey={"steps": steps})] == [
        "journeys.j.steps.a.split[0].when.segment",
        "journeys.j.steps.b.wait_until.enters",
        "journeys.j.steps.d.offer.prediction",
    ]


MESSAGING_BY_NAMES: dict[str, Any] = {
    "timezone_trait": "zone",
    "channels": {
        "push": {"kind": "webhook", "consent": {"trait": "push_ok"}},
        "mail": {"kind": "email", "address": "e", "consent": {"given": "In", "withdrawn": "Out"}},
    },
}


def test_any_event_and_trait_will_do_as_the_log_is_read_for_them(catalog: Catalog) -> None:
    assert problems(catalog, {"conversion": {"event": "Nothing else names it"}}, messaging=MESSAGING_BY_NAMES) == []


def test_where_rows_are_mapped_only_what_is_mapped_can_come() -> None:
    mapped = loads(
        CATALOG.replace("history: [Cart]", "history: []").replace("value: price", "value: value")
        + """
input: {format: csv, user: who, time: {field: at}, event: {constant: Order}, value: price, traits: {city: town}}
"""
    )
    found = problems(mapped, {"trigger": {"event": "Cart"}}, messaging=MESSAGING_BY_NAMES)
    assert [text.partition(":")[0] for text in found] == [
        "messaging.timezone_trait",
        "messaging.channels.push.consent.trait",
        "messaging.channels.mail.address",
        "messaging.channels.mail.consent.withdrawn",
        "messaging.channels.mail.consent.given",
        "campaigns.c.trigger.event",
    ]


def test_what_is_archived_is_passed_over(catalog: Catalog) -> None:
    assert problems(catalog, {"segment": "tip"}, archived=("c",)) == []


@pytest.mark.parametrize("kind", ["email", "braze"])
def test_what_reaches_people_asks_for_consent_or_says_that_it_does_not(kind: str) -> None:
    base = {"kind": kind} | ({"address": "email"} if kind == "email" else {})
    with pytest.raises(CatalogError, match=f"consent beside kind: {kind}"):
        read_messaging({"channels": {"mail": base}})
    found = read_messaging({"channels": {"mail": {**base, "consent": "none"}}})
    assert found.channels["mail"].consent == "none"
    with pytest.raises(CatalogError, match=r"or none \(for everybody\)"):
        read_messaging({"channels": {"mail": {**base, "consent": "all"}}})


def test_mail_needs_an_address_and_others_have_none() -> None:
    for channel in ({"kind": "email", "consent": "none"}, {"kind": "log", "address": "email"}):
        with pytest.raises(CatalogError, match="beside kind: email, and only there"):
            read_messaging({"channels": {"mail": channel}})


def test_texts_of_a_channel_that_is_not_used_are_told(catalog: Catalog) -> None:
    message = {"parts": {"body": "x"}, "by_channel": {"pushh": {"body": "y"}}}
    (found,) = problems(catalog, {"message": message})
    assert "campaigns.c.message.by_channel.pushh: found the channel 'pushh', which is not used" in found


def test_a_message_speaks_of_the_prediction_that_is_named() -> None:
    assert read_campaign("c", CAMPAIGN).speaks_of == "orders"
    assert read_campaign("c", CAMPAIGN | {"segment": "top"}).speaks_of is None
    assert read_campaign("c", CAMPAIGN | {"segment": "top", "prediction": "churn"}).speaks_of == "churn"
