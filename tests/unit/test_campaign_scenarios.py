"""The strategies of the field as stories: who gets what when, who does not, and why; each as its template comes.

Control group, holdout, consent, quiet hours and caps are on, as a shop would have them (`tests/campaign_shop.py`).
"""

from __future__ import annotations

import pytest

from streams.campaigns.caps import is_capped
from streams.campaigns.lift import lift
from streams.campaigns.strategies.make import Language
from tests.campaign_shop import ORDER_VALUE, Shop

# --- sliding-scale promotion -----------------------------------------------------------------------------------------


def test_sliding_scale_promotion_gives_the_more_the_less_likely_somebody_orders() -> None:
    shop = Shop("sliding_scale")
    scores = {"ann": 3.0, "bo": 20.0, "cy": 45.0, "di": 60.0, "ed": 74.0}
    people = {name: shop.person(name, score) for name, score in scores.items()}
    sure = shop.person("flo", 75.0)
    nobody_knows = shop.person("gus", None)
    shop.until("2026-10-02 00:00")
    offers = [shop.offers(user) for user in people.values()]
    assert offers == [[(None, 20.0)], [(None, 15.0)], [(None, 10.0)], [(None, 10.0)], [(None, 5.0)]]
    assert shop.offers(sure) == shop.offers(nobody_knows) == []
    assert {at for user in people.values() for at in shop.times(user)} == {"2026-10-01 10:00"}


def test_sliding_scale_promotion_leaves_out_who_ordered_who_said_no_and_who_is_compared_with() -> None:
    shop = Shop("sliding_scale")
    ordered = shop.person("ann", 10.0)
    silent = shop.person("bo", 10.0, news=False)
    compared = shop.person("cy", 10.0, group="control")
    held_out = shop.person("di", 10.0, group="holdout")
    shop.does(silent, "Push Refused")
    shop.until("2026-09-24 12:00")
    shop.does(ordered, "Order", total=40.0)
    shop.until("2026-10-02 00:00")
    assert shop.service.taken == []
    found = [shop.became(user) for user in (ordered, silent, compared, held_out)]
    assert found == [["goal"], ["consent"], ["control"], ["holdout"]]
    why = {note.user: (note.event, note.properties["why"]) for note in shop.service.notes}
    withheld = "Tideline Message Withheld"
    assert why == {compared: (withheld, "control"), held_out: (withheld, "holdout")}


def test_sliding_scale_promotion_does_not_pay_those_who_wait_for_more() -> None:
    shop = Shop("sliding_scale")
    ann = shop.person("ann", 74.0)
    shop.until("2026-10-05 12:00")
    shop.scores(ann, 2.0, origin="decay")
    shop.until("2026-12-02 12:00")
    assert shop.offers(ann) == [(None, 5.0), (None, 5.0), (None, 20.0)]
    assert shop.times(ann)[-1] == "2026-12-01 10:00"  # sixty days after the first of October


def test_sliding_scale_promotion_waits_for_the_morning_of_those_who_sleep() -> None:
    shop = Shop("sliding_scale")
    ann = shop.person("ann", 10.0, timezone="America/Los_Angeles")
    shop.until("2026-10-02 00:00")
    assert shop.times(ann) == ["2026-10-01 15:00"]


def test_sliding_scale_promotion_says_at_the_upper_end_what_is_new_and_promises_nothing() -> None:
    # A range up to 100, chosen by people, gives nothing to the likeliest; they get the same letter without an offer.
    shop = Shop("sliding_scale", scores=(0.0, 100.0))
    ann = shop.person("ann", 96.0)
    shop.until("2026-10-02 00:00")
    assert shop.offers(ann) == [(None, 0.0)]
    assert shop.sent(ann)[0].texts["mail"]["subject"] == "New this month"


# --- win-back --------------------------------------------------------------------------------------------------------


def customer(shop: Shop, name: str, *, score: float = 60.0) -> str:
    """Somebody who has ordered before, long ago."""
    user = shop.person(name, score)
    shop.does(user, "Order", total=ORDER_VALUE)
    return user


def test_win_back_says_a_word_to_customers_who_drift_away_and_makes_an_offer_a_week_later() -> None:
    shop = Shop("win_back", since="2026-07-01 12:00")
    ann = customer(shop, "ann")
    shop.until("2026-09-21 12:00")
    shop.scores(ann, 30.0, origin="decay")
    shop.until("2026-10-21 12:00")
    assert shop.offers(ann) == [("word", None), ("offer", 15.0)]
    assert shop.times(ann) == ["2026-09-21 12:00", "2026-09-28 12:00"]
    assert "Ann" in shop.sent(ann)[0].texts["mail"]["body"]


def test_win_back_is_not_for_strangers_nor_for_those_who_were_moved_by_an_event_or_ordered_this_month() -> None:
    shop = Shop("win_back", since="2026-07-01 12:00")
    stranger = shop.person("ann", 60.0)
    moved, recent = customer(shop, "bo"), customer(shop, "cy")
    shop.until("2026-09-01 12:00")
    shop.does(recent, "Order", total=20.0)
    shop.until("2026-09-21 12:00")
    shop.scores(stranger, 30.0, origin="decay")
    shop.scores(moved, 30.0, origin="live")
    shop.scores(recent, 30.0, origin="decay")
    assert shop.service.taken == []
    assert [shop.became(user) for user in (stranger, moved, recent)] == [["filter"], [], ["goal"]]


def test_win_back_stops_when_the_customer_is_back_by_an_order_or_by_coming_often() -> None:
    shop = Shop("win_back", since="2026-07-01 12:00")
    buyer, visitor = customer(shop, "ann"), customer(shop, "bo")
    shop.until("2026-09-21 12:00")
    for user in (buyer, visitor):
        shop.scores(user, 30.0, origin="decay")
    shop.until("2026-09-23 12:00")
    shop.does(buyer, "Order", total=30.0)
    shop.scores(visitor, 66.0)
    shop.until("2026-10-21 12:00")
    assert shop.offers(buyer) == shop.offers(visitor) == [("word", None)]
    assert (shop.became(buyer)[-1], shop.became(visitor)[-1]) == ("goal_reached", "left_segment")


# --- a reminder without a discount -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "body"),
    [
        ("en", "Hello Ann,\nwhat you looked at is still there.\n- Red shoes\n- Hat"),
        ("fr", "Bonjour Ann,\nce que vous avez regardé est toujours disponible.\n- Red shoes\n- Hat"),
    ],
)
def test_reminder_without_a_discount_names_what_waits_in_the_cart(language: Language, body: str) -> None:
    shop = Shop("reminder", language=language)
    ann = shop.person("ann", 60.0)
    cart = [{"product_id": "1", "name": "Red shoes", "price": 80.0}, {"product_id": "2", "name": "Hat"}, {"sku": "3"}]
    shop.does(ann, "Cart Viewed", products=cart, score=88.0)
    (send,) = shop.sent(ann)
    assert (send.offer, send.channels, send.texts["push"]["body"]) == (None, ("push", "mail"), body)


def test_reminder_without_a_discount_is_not_for_those_who_have_just_ordered() -> None:
    """Most crossings into high are the order itself."""
    shop = Shop("reminder")
    ann, bo = shop.person("ann", 60.0), shop.person("bo", 60.0)
    shop.does(ann, "Order", total=30.0, score=90.0)
    shop.does(bo, "Order", total=30.0)
    shop.until("2026-09-23 12:00")
    shop.scores(bo, 90.0)
    assert shop.service.taken == []
    assert shop.became(ann) == shop.became(bo) == ["goal"]


def test_reminder_without_a_discount_comes_in_the_morning_unless_the_order_was_sooner() -> None:
    shop = Shop("reminder", since="2026-09-21 22:00")
    ann, bo = shop.person("ann", 60.0), shop.person("bo", 60.0)
    for user in (ann, bo):
        shop.does(user, "Cart Viewed", products=[{"name": "Hat"}], score=88.0)
    shop.until("2026-09-22 03:00")
    shop.does(bo, "Order", total=30.0)
    shop.until("2026-09-23 12:00")
    assert shop.times(ann) == ["2026-09-22 08:00"]
    assert shop.sent(bo) == []
    assert shop.service.counts(shop.id) == {"waited_quiet": 2, "sent": 1, "goal": 1}


def test_reminder_without_a_discount_reaches_by_each_channel_only_who_agreed_to_it() -> None:
    shop = Shop("reminder")
    neither, mail, push = (shop.person(name, 60.0) for name in ("ann", "bo", "cy"))
    shop.people[neither].traits["news"] = False
    shop.people[push].traits["news"] = False
    for user in (neither, mail):
        shop.does(user, "Push Refused")
    for user in (neither, mail, push):
        shop.scores(user, 90.0)
    assert [[send.channels for send in shop.sent(user)] for user in (neither, mail, push)] == [
        [],
        [("mail",)],
        [("push",)],
    ]
    assert shop.became(neither) == ["consent"]
    assert shop.sent(mail)[0].addresses == {"mail": "bo@example.org"}


def test_reminder_without_a_discount_comes_once_in_two_weeks() -> None:
    shop = Shop("reminder")
    ann = shop.person("ann", 60.0)
    for day in (21, 24, 27):
        shop.until(f"2026-09-{day} 12:30")
        shop.scores(ann, 90.0)
        shop.scores(ann, 60.0, origin="decay")
    shop.until("2026-10-06 12:30")
    shop.scores(ann, 90.0)
    assert shop.became(ann) == ["sent", "again", "again", "sent"]


# --- three-day blast -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "subjects"),
    [
        ("en", ["Three days for you: today 10 %", "Day two: 15 %", "Last day: 20 %"]),
        ("fr", ["Trois jours pour vous : aujourd'hui 10 %", "Deuxième jour : 15 %", "Dernier jour : 20 %"]),
    ],
)
def test_three_day_blast_comes_on_three_days_with_more_on_each(language: Language, subjects: list[str]) -> None:
    shop = Shop("three_day_blast", language=language)
    ann = shop.person("ann", 60.0)
    shop.scores(ann, 20.0, origin="decay")
    shop.until("2026-10-01 12:00")
    assert [send.texts["mail"]["subject"] for send in shop.sent(ann)] == subjects
    assert shop.times(ann) == ["2026-09-21 12:00", "2026-09-22 12:00", "2026-09-23 12:00"]


def test_three_day_blast_ends_with_the_order_and_not_with_a_visit() -> None:
    shop = Shop("three_day_blast")
    buyer, visitor = shop.person("ann", 60.0), shop.person("bo", 60.0)
    for user in (buyer, visitor):
        shop.scores(user, 20.0, origin="decay")
    shop.until("2026-09-22 14:00")
    shop.does(buyer, "Order", total=30.0)
    shop.scores(visitor, 80.0)
    shop.until("2026-10-01 12:00")
    assert shop.offers(buyer) == [("first", 10.0), ("second", 15.0)]
    assert [step for step, _ in shop.offers(visitor)] == ["first", "second", "third"]


def test_three_day_blast_begun_at_night_comes_on_three_mornings() -> None:
    shop = Shop("three_day_blast", since="2026-09-21 23:00")
    ann = shop.person("ann", 60.0)
    shop.scores(ann, 20.0, origin="decay")
    shop.until("2026-10-01 12:00")
    assert shop.times(ann) == ["2026-09-22 08:00", "2026-09-23 08:00", "2026-09-24 08:00"]


def test_three_day_blast_uses_up_the_room_that_other_campaigns_would_have() -> None:
    """It is not held back by the caps, but counts in them: a reminder within the week comes too much."""
    shop = Shop("three_day_blast")
    ann = shop.person("ann", 60.0)
    shop.scores(ann, 20.0, origin="decay")
    shop.until("2026-09-24 12:00")
    assert is_capped(shop.messaging.caps, shop.service.rows[ann].sends_s, shop.now_s)
    assert not is_capped(shop.messaging.caps, shop.service.rows[ann].sends_s, shop.now_s + 5 * 86_400.0)


def test_three_day_blast_withholds_all_three_from_who_is_compared_with() -> None:
    shop = Shop("three_day_blast")
    ann = shop.person("ann", 60.0, group="control")
    shop.scores(ann, 20.0, origin="decay")
    shop.until("2026-10-01 12:00")
    assert shop.sent(ann) == []
    assert shop.service.counts(shop.id) == {"entered": 1, "control": 3, "finished": 1}


# --- churn rescue ----------------------------------------------------------------------------------------------------


def test_churn_rescue_does_the_more_the_higher_the_risk() -> None:
    shop = Shop("churn_rescue")
    risks = {"ann": 76.0, "bo": 85.0, "cy": 96.0}
    people = {name: shop.person(name, 60.0) for name in risks}
    calm = shop.person("di", 60.0)
    for name, user in people.items():
        shop.scores(user, risks[name], origin="decay")
    shop.scores(calm, 70.0, origin="decay")
    assert [shop.offers(user) for user in people.values()] == [
        [("offer", 10.0)],
        [("offer", 20.0)],
        [("offer", 30.0)],
    ]
    assert shop.offers(calm) == []


@pytest.mark.parametrize(("language", "subject"), [("en", "Can we help?"), ("fr", "Pouvons-nous vous aider ?")])
def test_churn_rescue_offers_a_hand_to_those_who_are_still_at_risk_three_days_later(
    language: Language, subject: str
) -> None:
    shop = Shop("churn_rescue", language=language)
    lost, saved, back = (shop.person(name, 60.0) for name in ("ann", "bo", "cy"))
    for user in (lost, saved, back):
        shop.scores(user, 90.0, origin="decay")
    shop.until("2026-09-22 12:00")
    shop.does(saved, "Order", total=30.0, score=10.0)
    shop.scores(back, 40.0)
    shop.until("2026-10-01 12:00")
    assert [step for step, _ in shop.offers(lost)] == ["offer", "help"]
    assert shop.sent(lost)[-1].texts["mail"]["subject"] == subject
    assert shop.times(lost)[-1] == "2026-09-24 12:00"
    assert len(shop.sent(saved)) == len(shop.sent(back)) == 1
    assert (shop.became(saved)[-1], shop.became(back)[-1]) == ("goal_reached", "left_segment")


def test_churn_rescue_ends_with_those_who_are_long_gone() -> None:
    """Out of the audience is lapsed, which is neither low nor high: nobody is rescued by a second message then."""
    shop = Shop("churn_rescue")
    ann = shop.person("ann", 60.0)
    shop.scores(ann, 99.0, origin="decay")
    shop.until("2026-09-22 12:00")
    shop.scores(ann, None, origin="audience")
    shop.until("2026-10-01 12:00")
    assert shop.offers(ann) == [("offer", 30.0)]
    assert shop.became(ann)[-1] == "left_segment"


def test_churn_rescue_does_not_raise_what_it_has_offered_within_two_months() -> None:
    shop = Shop("churn_rescue")
    ann = shop.person("ann", 60.0)
    shop.scores(ann, 80.0, origin="decay")
    shop.scores(ann, 40.0)
    shop.until("2026-10-21 12:00")
    shop.scores(ann, 99.0, origin="decay")
    assert shop.became(ann)[-1] == "again"  # once in sixty days
    shop.scores(ann, 40.0)
    shop.until("2026-11-21 12:00")
    shop.scores(ann, 99.0, origin="decay")
    assert shop.offers(ann) == [("offer", 10.0), ("offer", 30.0)]


# --- others of the field ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "offer"), [("incentive", 10.0), ("early_access", None)])
def test_the_undecided_get_a_small_reason_once_a_month(strategy: str, offer: float | None) -> None:
    shop = Shop(strategy)
    ann, likely = shop.person("ann", 40.0), shop.person("bo", 40.0)
    for at in ("2026-09-21 12:30", "2026-10-01 12:30", "2026-10-22 12:30"):
        shop.until(at)
        shop.scores(ann, 60.0)
        shop.scores(ann, 40.0, origin="decay")
    shop.scores(likely, 90.0)
    assert shop.offers(ann) == [(None, offer), (None, offer)]
    assert (shop.became(ann), shop.became(likely)) == (["sent", "again", "sent"], [])


@pytest.mark.parametrize(("strategy", "offer"), [("large_discount", 25.0), ("hands_on_help", None)])
def test_more_is_done_for_the_unlikely_and_seldom(strategy: str, offer: float | None) -> None:
    shop = Shop(strategy)
    ann = shop.person("ann", 60.0)
    for at in ("2026-09-21 12:30", "2026-11-01 12:30", "2026-12-21 12:30"):
        shop.until(at)
        shop.scores(ann, 20.0, origin="decay")
        shop.scores(ann, 60.0)
    assert shop.offers(ann) == [(None, offer), (None, offer)]
    assert shop.became(ann) == ["sent", "again", "sent"]


def test_retargeting_shows_the_undecided_twice_what_they_looked_at_and_ends_with_their_decision() -> None:
    shop = Shop("retargeting")
    undecided, buyer, gone = (shop.person(name, 40.0) for name in ("ann", "bo", "cy"))
    for user in (undecided, buyer, gone):
        shop.does(user, "Cart Viewed", products=[{"name": "Hat"}], score=60.0)
    shop.until("2026-09-23 12:30")
    shop.does(buyer, "Order", total=30.0)
    shop.scores(gone, 30.0, origin="decay")
    shop.until("2026-10-01 12:00")
    assert shop.offers(undecided) == [("first", None), ("second", None)]
    assert shop.times(undecided) == ["2026-09-22 12:00", "2026-09-25 12:00"]
    assert [send.texts["push"]["body"].split("\n")[-1] for send in shop.sent(undecided)] == ["- Hat", "- Hat"]
    assert shop.offers(buyer) == shop.offers(gone) == [("first", None)]
    assert (shop.became(buyer)[-1], shop.became(gone)[-1]) == ("goal_reached", "left_segment")


def test_recommendations_come_to_the_unlikely_once_in_a_month_without_a_discount() -> None:
    shop = Shop("recommendations")
    ann, buyer = shop.person("ann", 60.0), shop.person("bo", 60.0)
    shop.does(buyer, "Order", total=30.0)
    for at in ("2026-09-21 12:30", "2026-10-10 12:30", "2026-10-22 12:30"):
        shop.until(at)
        for user in (ann, buyer):
            shop.scores(user, 20.0, origin="decay")
            shop.scores(user, 60.0)
    assert (shop.offers(ann), shop.became(ann)) == ([(None, None), (None, None)], ["sent", "again", "sent"])
    assert shop.became(buyer) == ["goal", "sent", "again"]


@pytest.mark.parametrize(
    ("strategy", "ordered", "times"),
    [
        ("newsletter", "2026-10-05 12:00", ["2026-09-22 10:00", "2026-09-29 10:00", "2026-10-06 10:00"]),
        ("round_up", "2026-09-30 12:00", ["2026-10-01 10:00"]),
    ],
)
def test_a_quiet_letter_keeps_in_touch_while_somebody_is_unlikely(
    strategy: str, ordered: str, times: list[str]
) -> None:
    shop = Shop(strategy)
    ann, livelier, buyer = shop.person("ann", 20.0), shop.person("bo", 55.0), shop.person("cy", 20.0)
    shop.until(ordered)
    shop.does(buyer, "Order", total=30.0)
    shop.until("2026-10-08 12:00")
    assert shop.times(ann) == times
    assert shop.sent(livelier) == []
    assert (shop.times(buyer), shop.became(buyer)[-1]) == (times[:-1], "goal")


# --- what it did -----------------------------------------------------------------------------------------------------


def test_what_a_strategy_did_is_compared_in_money_once_it_knows_what_an_order_is_worth() -> None:
    shop = Shop("churn_rescue")
    groups = {group: [shop.person(f"u{n}", 60.0, group=group) for n in range(120)] for group in ("treated", "control")}
    for user in (*groups["treated"], *groups["control"]):
        shop.scores(user, 90.0, origin="decay")
    shop.until("2026-09-21 13:00")
    for user in (*groups["treated"][:115], *groups["control"][:105]):
        shop.does(user, "Order", total=ORDER_VALUE)
    shop.until("2026-10-22 12:00")  # thirty days, and an hour for what comes late
    found = lift(shop.service.book(shop.id).tallies)
    assert found.rate is not None
    assert found.net is not None
    assert (found.treated_users, found.control_users) == (120, 120)
    assert found.rate.estimate == pytest.approx(10 / 120)
    # Each order was worth 50, and the offer of 20 % costs a fifth of it.
    assert found.net.estimate == pytest.approx((115 * 40.0 - 105 * 50.0) / 120)
