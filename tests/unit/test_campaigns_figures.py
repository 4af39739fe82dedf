"""What a campaign has done, added up over partitions, and why nothing is claimed of it yet."""

from __future__ import annotations

from typing import Any

from streams.campaigns.figures import BookReader, Measured, figures, merged, words
from streams.campaigns.inputs import Crossing, Deleted, Member
from streams.campaigns.lift import MIN_CONVERTED, MIN_USERS, MIN_VALUED
from streams.campaigns.state import Book, Spent, Tally
from tests.campaign_world import OPEN, Service, campaign, facts, journey, send_step
from tests.unit.test_campaigns_lift import group

NOW_S = 1_790_000_000.0  # 2026-09-21T14:13:20Z
DAY_S = 86_400.0
LADDER = {"unit": "amount", "prediction": "p", "edges": [30, 70], "values": [6, 3, 0]}


def book(**given: Any) -> Book:
    return Book(**given)


def test_books_of_partitions_are_one_sum() -> None:
    one = book(
        counts={"sent": 2, "quiet": 1},
        steps={"a": 3},
        inside={1: 2},
        open={1: 1},
        tallies={"treated:0:1": Tally(2, 1, 10.0, 1.0, 2, 9.0, 81.0)},
        spent={"budget:c:total": Spent(500, 9e9)},
    )
    other = book(
        counts={"sent": 5},
        steps={"a": 1, "b": 1},
        inside={1: 1, 2: 4},
        open={2: 1},
        tallies={"treated:0:1": Tally(1, 0), "control:0:1": Tally(7, 0)},
        spent={"budget:c:total": Spent(250, 9e9), "rate:c:x": Spent(1, 1.0)},
    )
    total = merged([one, other])
    assert total.counts == {"sent": 7, "quiet": 1}
    assert (total.steps, total.inside, total.open) == ({"a": 4, "b": 1}, {1: 3, 2: 4}, {1: 1, 2: 1})
    assert total.tallies == {"treated:0:1": Tally(3, 1, 10.0, 1.0, 2, 9.0, 81.0), "control:0:1": Tally(7, 0)}
    assert {name: spent.amount for name, spent in total.spent.items()} == {"budget:c:total": 750, "rate:c:x": 1}
    assert one.counts == {"sent": 2, "quiet": 1}  # nothing that was read is changed
    assert one.tallies["treated:0:1"].users == 2


def test_what_the_engine_counts_is_found_again() -> None:
    """Of a real service: sent, waiting for the rate, left out, and withheld by chance."""
    rules = campaign(rate={"sends": 2, "per": "hour"}, control=0.3, cooldown="7d")
    service = Service.of({"c": rules}, messaging=OPEN.model_copy(update={"holdout": 0.2}))
    users = [f"user-{n}" for n in range(40)]
    known = {user: facts("s") for user in users} | {"out": facts()}
    service.step(NOW_S, [Crossing(user, "s", True, 1, NOW_S, "live") for user in [*users, "out"]], known)
    reader: BookReader = service.store
    found = figures(rules, "c", reader.books_of("c"), reader.waiting_for_rate("c"), NOW_S)
    assert (found.sent, found.withheld) == (2, {"left": 1})
    assert found.waiting_for_rate == found.waited["rate"] > 20
    assert found.sent + found.control + found.holdout + found.waiting_for_rate == 40
    assert found.open_windows == found.sent + found.control + found.holdout
    assert (found.journey, found.replaced, found.budgets) == (None, 0, ())
    service.step(NOW_S + 5.0, [Crossing(user, "s", True, 3, NOW_S + 5.0, "live") for user in users], known)
    again = figures(rules, "c", reader.books_of("c"), reader.waiting_for_rate("c"), NOW_S)
    assert again.withheld["cooldown"] == found.sent + found.control + found.holdout
    assert again.replaced == found.waiting_for_rate == again.waiting_for_rate
    assert list(again.withheld) == sorted(again.withheld, key=lambda reason: -again.withheld[reason])


def test_a_journey_says_where_its_users_are() -> None:
    rules = journey({"word": send_step(), "wait": {"wait": "1d"}, "offer": send_step()}, skip_recent_goal="1d")
    service = Service.of(journeys={"j": rules})
    known = {"ann": facts("s"), "bo": facts("s"), "cy": facts("s", latest_s={"Order": NOW_S - 60.0})}
    service.step(NOW_S, [Crossing(user, "s", True, 1, NOW_S, "live") for user in known], known)
    service.step(NOW_S + 60.0, [Crossing("bo", "s", False, 2, NOW_S + 60.0, "live")], known)
    found = figures(rules, "j", service.store.books_of("j"), 0, NOW_S)
    assert found.journey is not None
    assert (found.journey.entered, found.journey.inside) == (2, 1)
    assert found.journey.steps == {"word": 2, "wait": 2, "offer": 0}
    assert found.journey.ended == {"finished": 0, "goal_reached": 0, "left_segment": 1, "gone": 0}
    assert found.journey.waiting == {"wait": 1}
    assert (found.sent, found.withheld) == (2, {"goal": 1})
    service.step(NOW_S + DAY_S, [], known)
    after = figures(rules, "j", service.store.books_of("j"), 0, NOW_S).journey
    assert after is not None
    assert (after.inside, after.steps["offer"], after.ended["finished"]) == (0, 1, 1)
    assert after.waiting == {}


def test_who_was_not_let_in_is_not_among_those_who_left() -> None:
    rules = journey({"wait": {"wait": "1d"}, "word": send_step()})
    service = Service.of(journeys={"j": rules})
    known = {"ann": facts("s"), "bo": facts()}
    service.step(NOW_S, [Crossing(user, "s", True, 1, NOW_S, "live") for user in known], known)
    found = figures(rules, "j", service.store.books_of("j"), 0, NOW_S)
    assert found.journey is not None
    assert (found.withheld, set(found.journey.ended.values())) == ({"left": 1}, {0})
    service.step(NOW_S + 1.0, [Deleted("ann")], known)
    gone = figures(rules, "j", service.store.books_of("j"), 0, NOW_S).journey
    assert gone is not None
    assert (gone.inside, gone.waiting) == (0, {})


def test_a_budget_shows_what_this_period_has_used() -> None:
    rules = campaign(
        offer={"unit": "amount", "value": 3, "budget": {"amount": 10.0, "per": "day"}},
        trigger={"at": "2026-09-21 10:00"},
    )
    service = Service.of({"c": rules})
    users = [f"user-{n}" for n in range(5)]
    service.step(NOW_S, [Member(user, "c", NOW_S) for user in users], {user: facts("s") for user in users})
    for now_s, spent in ((NOW_S, 9.0), (NOW_S + DAY_S, 0.0)):
        (found,) = figures(rules, "c", service.store.books_of("c"), 0, now_s).budgets
        assert (found.amount, found.per, found.spent) == (10.0, "day", spent)
    assert figures(rules, "c", service.store.books_of("c"), 0, NOW_S).withheld == {"budget": 2}


def measured(treated: Tally, control: Tally, **given: Any) -> tuple[Measured, Measured]:
    books = [book(tallies={"treated:-1:1": treated, "control:-1:1": control})]
    found = figures(campaign(**given), "c", books, 0, NOW_S)
    assert (found.rungs, found.overall.rung) == ((), None)
    assert found.groups["treated"].users == treated.users
    return found.overall.rate, found.overall.net


def test_why_nothing_is_claimed_yet() -> None:
    few, many = group(MIN_USERS - 1, 60), group(2_000, 1_000)
    assert [each.why for each in measured(many, few)] == ["few_users", "few_users"]
    assert [each.difference for each in measured(many, few)] == [None, None]
    assert [each.why for each in measured(many, group(2_000, MIN_CONVERTED - 1))] == ["few_converted"] * 2
    rate, net = measured(many, group(2_000, MIN_VALUED - 1))
    assert (rate.why, net.why) == (None, "few_converted")
    assert [each.why for each in measured(many, many)] == ["wide", "wide"]
    rate, net = measured(group(2_000, 1_000), group(2_000, 500))
    assert (rate.why, net.why) == (None, None)
    assert words(rate) == "the treated do more"


def test_of_money_it_is_said_why_there_is_nothing_to_say() -> None:
    plain, capped = group(2_000, 1_000, cap=None), group(2_000, 1_000)
    assert measured(plain, plain)[1].why == "no_cap"
    assert measured(plain, plain, conversion={"event": "Order", "revenue": "value"})[1].why == "no_cap"
    assert measured(capped, plain)[1].why == "no_cap"  # the cap came with a later version
    assert measured(plain, plain, conversion={"event": "Order"})[1].why == "no_revenue"


def test_every_reason_has_words() -> None:
    for why in ("few_users", "few_converted", "wide", "several", "no_revenue", "no_cap"):
        assert words(Measured(None, why)).endswith(".") is False
        assert len(words(Measured(None, why))) > 20


def test_each_rung_has_its_value_and_is_corrected_for_the_others() -> None:
    tallies = {
        f"{arm}:{rung}:1": group(2_000, n) for rung in range(3) for arm, n in (("treated", 200), ("control", 200))
    }
    tallies |= {"treated:0:1": group(2_000, 600), "treated:1:1": group(2_000, 215)}
    found = figures(campaign(offer=LADDER), "c", [book(tallies=tallies)], 0, NOW_S)
    assert [(each.rung, each.value) for each in found.rungs] == [(0, 6.0), (1, 3.0), (2, 0.0)]
    assert [each.rate.why for each in found.rungs] == [None, "wide", "wide"]
    assert found.overall.treated_users == sum(each.treated_users for each in found.rungs) == 6_000
    before = figures(campaign(), "c", [book(tallies=tallies)], 0, NOW_S)  # the version in force has no ladder
    assert [each.value for each in before.rungs] == [None, None, None]


def test_a_rung_that_would_be_claimed_alone_but_not_among_ten_says_so() -> None:
    seen = []
    for hits in range(200, 340, 4):
        tallies = {f"{arm}:{rung}:1": group(2_000, 200) for rung in range(10) for arm in ("treated", "control")}
        books = [book(tallies=tallies | {"treated:0:1": group(2_000, hits)})]
        found, *others = figures(campaign(offer=LADDER), "c", books, 0, NOW_S).rungs
        difference = found.rate.difference
        assert difference is not None
        is_one_of_ten = difference.p_always * 10 < 0.05
        assert found.rate.why == ("wide" if difference.low_always <= 0.0 else None if is_one_of_ten else "several")
        assert {each.rate.why for each in others} == {"wide"}
        seen.append(found.rate.why)
    # The more do it, the more can be said; each of the three comes.
    assert list(dict.fromkeys(seen)) == ["wide", "several", None]
