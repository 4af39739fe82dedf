"""Offers, caps and outcomes at their edges."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from config.campaigns import Cap
from config.offers import LadderOffer, LinearOffer
from streams.campaigns.caps import is_capped, with_send
from streams.campaigns.inputs import Crossing, Facts, Said, Watched
from streams.campaigns.offers import cents, given, rung_of
from streams.campaigns.state import Given, Tally, Told
from tests.campaign_world import Service, campaign

NOW_S = 1_790_000_000.0
DAY_S = 86_400.0


def test_caps_count_messages_within_the_time_and_not_at_its_end() -> None:
    rng = Random("caps")
    for _ in range(2_000):
        sends_s = sorted(float(rng.randrange(0, 40)) for _ in range(rng.randrange(8)))
        caps = [Cap(sends=rng.randint(1, 3), within=3_600.0 * rng.randint(1, 20)) for _ in range(rng.randint(0, 2))]
        times_s = [each * 3_600.0 for each in sends_s]
        now_s = 40 * 3_600.0
        many = any(sum(1 for at in times_s if now_s - at < cap.within_s) >= cap.sends for cap in caps)
        assert is_capped(caps, times_s, now_s) == many
        kept = with_send(caps, times_s, now_s)
        assert is_capped(caps, kept[:-1], now_s) == many  # what was left out does not count any more
        assert kept[-1:] == ([now_s] if caps else [])


def ladder(**given_: Any) -> LadderOffer:
    data = {"unit": "percent", "prediction": "p", "edges": [50, 75], "values": [20, 10, 0], "order_value": 40.0}
    return LadderOffer.model_validate(data | given_, context={})


def told(value: float, at_s: float) -> Told:
    return Told("k", 0.0, at_s, at_s, "treated", 0, offered_s=at_s, offer=Given(value, "percent", 0, 0.0))


@pytest.mark.parametrize(
    ("score", "before", "age_days", "value"),
    [
        (10.0, None, 0.0, 20.0),  # the lowest step
        (50.0, None, 0.0, 10.0),  # an edge belongs to the step above
        (75.0, None, 0.0, 0.0),
        (10.0, 10.0, 29.0, 10.0),  # not better than what the user was offered before
        (10.0, 10.0, 30.0, 20.0),  # that was long ago
        (60.0, 20.0, 1.0, 10.0),  # but it may be less
    ],
)
def test_an_offer_within_its_time_may_be_less_and_not_more(
    score: float, before: float | None, age_days: float, value: float
) -> None:
    earlier = None if before is None else told(before, NOW_S - age_days * DAY_S)
    found = given(ladder(), "event", Facts(said={"p": Said(score)}), earlier, NOW_S)
    assert found is not None
    assert (found.value, found.cost) == (value, value * 0.4)
    assert found.rung == rung_of(ladder(), "event", score)


def test_without_a_score_a_ladder_says_nothing() -> None:
    for facts in (Facts(), Facts(said={"p": Said()})):
        assert given(ladder(), "event", facts, None, NOW_S) is None


def test_a_sliding_scale_goes_the_way_of_the_prediction() -> None:
    offer = LinearOffer.model_validate(
        {"unit": "amount", "prediction": "p", "least": 5, "most": 15, "step": 5}, context={}
    )
    assert offer.values_offered == (5.0, 10.0, 15.0)
    assert [rung_of(offer, "event", score) for score in (0.0, 40.0, 100.0)] == [2, 1, 0]
    assert [rung_of(offer, "churn", score) for score in (0.0, 40.0, 100.0)] == [0, 1, 2]


def test_cents_are_never_too_few() -> None:
    assert [cents(each) for each in (0.0, 0.1, 0.29, 1.001, 33.333, 1e6)] == [0, 10, 29, 101, 3_334, 100_000_000]


def outcome(*orders: tuple[float, float], offer: dict[str, Any] | None = None, control: float = 0.0) -> Tally:
    """What is counted of a user with these orders (seconds after the message, value); the window is a day."""
    conversion = {"event": "Order", "revenue": "value", "window": "1d"}
    service = Service.of({"c": campaign(conversion=conversion, offer=offer, control=control)})
    facts: dict[str, Facts | None] = {"ann": Facts(segments=frozenset(["s"]))}
    service.step(NOW_S, [Crossing("ann", "s", True, 1, NOW_S, "live")], facts)
    for number, (after_s, value) in enumerate(orders):
        at_s = NOW_S + after_s
        service.step(at_s + 60.0, [Watched("ann", "Order", at_s, number, "g", str(number), {"value": value})], facts)
    service.step(NOW_S + 2 * DAY_S, [], facts)
    (found,) = service.now.tallies["c"].values()
    return found


def test_what_counts_lies_between_the_message_and_the_end_of_the_window() -> None:
    assert outcome().converted == 0
    assert outcome((-1.0, 10.0), (DAY_S, 10.0)).converted == 0
    assert outcome((0.0, 10.0)).converted == outcome((DAY_S - 0.5, 10.0)).converted == 1


def test_a_user_counts_once_and_all_revenue_does() -> None:
    found = outcome((5.0, 10.0), (70.0, 30.0))
    assert (found.users, found.converted, found.revenue, found.net) == (1, 1, 40.0, 40.0)


def test_an_offer_is_used_by_the_first_order_alone() -> None:
    percent = {"unit": "percent", "value": 10, "order_value": 500.0}
    assert outcome((5.0, 10.0), (70.0, 30.0), offer=percent).net == 40.0 - 1.0
    assert outcome((5.0, 10.0), (70.0, 30.0), offer={"unit": "amount", "value": 3}).net == 40.0 - 3.0
    assert outcome(offer={"unit": "amount", "value": 3}).net == 0.0


def test_the_control_group_was_offered_nothing_and_costs_nothing() -> None:
    assert outcome((5.0, 10.0), offer={"unit": "amount", "value": 3}, control=1.0).net == 10.0
