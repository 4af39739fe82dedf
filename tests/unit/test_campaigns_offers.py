"""Offers, caps and outcomes at their edges."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from config.campaigns import Cap
from config.offers import LadderOffer, LinearOffer
from streams.campaigns.caps import is_capped, with_send
from streams.campaigns.inputs import Crossing, Score, Watched
from streams.campaigns.offers import cents, given, rung_of
from streams.campaigns.outcomes import Drawn, assign
from streams.campaigns.state import Assignment, Book, Fixed, Given, Occasion, Row, Tally
from tests.campaign_world import Service, campaign, facts

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
        assert kept[-1] == now_s


def ladder(**given_: Any) -> LadderOffer:
    return LadderOffer.model_validate(written_ladder() | given_, context={})


def before(value: float, at_s: float, unit: str = "percent") -> Assignment:
    fixed = {unit: Fixed(value, at_s)}
    return Assignment(1, "k", 0.0, at_s, at_s, at_s, "treated", 0, offer=Given(value, unit, 0, 0.0), fixed=fixed)


@pytest.mark.parametrize(
    ("score", "earlier", "age_days", "value"),
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
    score: float, earlier: float | None, age_days: float, value: float
) -> None:
    assigned = None if earlier is None else before(earlier, NOW_S - age_days * DAY_S)
    found = given(ladder(), "event", facts(scores={"p": Score(score)}), assigned, NOW_S)
    assert found is not None
    assert (found.value, found.cost) == (value, value * 0.4)
    assert found.rung == rung_of(ladder(), "event", score)


def test_without_a_score_a_ladder_says_nothing() -> None:
    for ann in (facts(), facts(scores={"p": Score()})):
        assert given(ladder(), "event", ann, None, NOW_S) is None


def test_an_offer_in_percent_says_nothing_about_one_in_money() -> None:
    found = given(ladder(unit="amount"), "event", facts(scores={"p": Score(10.0)}), before(1.0, NOW_S), NOW_S)
    assert found == Given(20.0, "amount", 0, 20.0)


def test_an_offer_that_was_held_down_does_not_hold_down_the_next_one() -> None:
    """A user who comes every week would else be kept on the least that they were ever offered, for ever."""
    service = Service.of({"c": campaign(offer=written_ladder())})
    scores = [80.0, 10.0, 10.0, 10.0, 10.0, 10.0]
    for week, score in enumerate(scores):
        at_s = NOW_S + week * 7 * DAY_S
        ann = facts("s", scores={"p": Score(score)})
        service.step(at_s, [Crossing("ann", "s", True, 2 * week + 1, at_s, "live")], {"ann": ann})
    # 0 on the first day holds for thirty days, and those after it do not renew it.
    assert [send.offer.value for send in service.taken if send.offer] == [0.0, 0.0, 0.0, 0.0, 0.0, 20.0]


def written_ladder() -> dict[str, Any]:
    return {"unit": "percent", "prediction": "p", "edges": [50, 75], "values": [20, 10, 0], "order_value": 40.0}


def test_a_sliding_scale_goes_the_way_of_the_prediction() -> None:
    offer = LinearOffer.model_validate(
        {"unit": "amount", "prediction": "p", "least": 5, "most": 15, "step": 5}, context={}
    )
    assert offer.values_offered == (5.0, 10.0, 15.0)
    assert [rung_of(offer, "event", score) for score in (0.0, 40.0, 100.0)] == [2, 1, 0]
    assert [rung_of(offer, "churn", score) for score in (0.0, 40.0, 100.0)] == [0, 1, 2]


def test_cents_are_never_too_few() -> None:
    assert [cents(each) for each in (0.0, 0.1, 0.29, 1.001, 33.333, 1e6)] == [0, 10, 29, 101, 3_334, 100_000_000]


def outcome(
    *orders: tuple[float, float], offer: dict[str, Any] | None = None, control: float = 0.0, **given_: Any
) -> Tally:
    """What is counted of a user with these orders (seconds after the message, value); the window is a day."""
    conversion = {"event": "Order", "revenue": "value", "window": "1d", "revenue_cap": 1_000.0} | given_
    service = Service.of({"c": campaign(conversion=conversion, offer=offer, control=control)})
    ann = {"ann": facts("s")}
    service.step(NOW_S, [Crossing("ann", "s", True, 1, NOW_S, "live")], ann)
    for number, (after_s, value) in enumerate(orders):
        at_s = NOW_S + after_s
        service.step(at_s + 60.0, [Watched("ann", "Order", at_s, 0, "g", number, str(number), {"value": value})], ann)
    service.step(NOW_S + 2 * DAY_S, [], ann)
    (found,) = service.book("c").tallies.values()
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


def test_revenue_that_is_told_after_the_offer_has_lost_it_already() -> None:
    percent = {"unit": "percent", "value": 10, "order_value": 500.0}
    assert outcome((5.0, 90.0), offer=percent, revenue_is="after_offer").net == 90.0
    assert outcome((5.0, 90.0), offer=percent).net == 81.0


def test_one_large_order_counts_up_to_the_cap() -> None:
    found = outcome((5.0, 90.0), (6.0, 5_000.0), revenue_cap=100.0)
    assert (found.revenue, found.net, found.capped) == (5_090.0, 100.0, 1)
    assert outcome((5.0, 90.0), revenue_cap=None).capped == 0


def test_offers_over_time_are_never_better_than_one_by_right_within_its_time() -> None:
    """Against a list of all offers; one by right is one that the ladder alone would have given."""
    rng = Random("offers")
    for _ in range(500):
        offer = ladder(fixed_for=rng.choice(["1d", "7d", "30d"]))
        row, now_s = Row(), NOW_S
        earlier: list[tuple[float, float]] = []
        for _ in range(12):
            now_s += rng.choice([0.1, 0.5, 1.0, 6.5, 7.0, 20.0, 30.0]) * DAY_S
            score = rng.choice([10.0, 60.0, 90.0])
            found = given(offer, "event", facts(scores={"p": Score(score)}), row.assigned.get("c"), now_s)
            assert found is not None
            wanted = offer.values_offered[rung_of(offer, "event", score)]
            bound = min([wanted, *(value for at_s, value in earlier if now_s - at_s < offer.fixed_for_s)])
            assert found.value == bound
            if found.value == wanted:
                earlier.append((now_s, wanted))
            occasion = Occasion("enter", str(now_s), now_s)
            assign(row, Book(), "c", occasion, Drawn("treated", found, 1, DAY_S), now_s)
