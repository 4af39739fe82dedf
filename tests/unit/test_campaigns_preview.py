"""What a campaign would do to everybody: against each user decided alone, by the functions that the engine uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, nan
from random import Random
from typing import Any

import numpy as np
import pytest

from config.campaign_checks import read_messaging
from config.campaigns import Campaign, Messaging
from config.loader import loads
from config.offers import FixedOffer, LadderOffer, LinearOffer, Offer
from streams.campaigns.consent import open_channels
from streams.campaigns.inputs import Facts, Score
from streams.campaigns.offers import Kind, given, rung_of, rungs_of
from streams.campaigns.preview import (
    LEAVE_OUT,
    Answer,
    Basis,
    Columns,
    Preview,
    Previewer,
    audience_filter,
    basis_of,
    of_conversion,
    withheld_filters,
)
from streams.core.events import Event
from tests.campaign_shop import Shop
from tests.campaign_world import campaign, journey, send_step
from tests.reference.conditions import plain
from tests.reference.filters import Answer as Said
from tests.reference.filters import Facts as Asked
from tests.reference.filters import evaluate

NOW_S = 1_790_000_000.0
DAY_S = 86_400.0
PAGE = 7
LADDER = {"unit": "amount", "prediction": "p", "edges": [30, 70], "values": [6, 3, 0]}
CATALOG = """
version: 1
name: Shop
predictions:
  p: {name: P, goal: {did: Order}, window: 7d}
  away: {name: Away, kind: churn, goal: {did_not: Order}, window: 30d}
  both: {name: Both, goal: {any: [{did: Order}, {did: Call}]}, window: 7d}
  big: {name: Big, goal: {did: Order, where: {size: big}}, window: 7d}
"""
PREDICTIONS = loads(CATALOG).predictions


@dataclass
class User:
    """All that a preview or the engine may ask."""

    facts: Facts
    likelihood: float

    def holds(self, answer: Answer) -> bool | None:
        """What a filter or its stand-in says of the user, by the reference."""
        if answer is None or isinstance(answer, bool):
            return answer
        history = [Event("u", name, at_s, nan, 0, None, None, 0, at_s) for name, at_s in self.facts.latest_s.items()]
        members = {"s": "s" in self.facts.segments}
        scores = {name: Said(True, score=each.score) for name, each in self.facts.scores.items()}
        asked = Asked(history, self.facts.traits, NOW_S, {"p": Said(), **scores}, members)
        return evaluate(plain(answer), asked)


def everybody(rng: Random, n: int) -> list[User]:
    found = []
    for _ in range(n):
        score = rng.choice([None, 0.0, 30.0, 69.9, 70.0, 100.0, rng.uniform(0.0, 100.0)])
        traits = {"news": rng.choice([True, False, "yes", None]), "email": rng.choice(["a@example.org", None])}
        latest = {"Order": NOW_S - rng.choice([0.5, 1.5, 40.0]) * DAY_S, "Push Refused": NOW_S - DAY_S}
        facts = Facts(
            as_of_s=inf,
            segments=frozenset(["s"] if rng.random() < 0.7 else []),
            scores={} if score is None else {"p": Score(score)},
            traits={name: value for name, value in traits.items() if value is not None},
            latest_s={name: at_s for name, at_s in latest.items() if rng.random() < 0.5},
        )
        found.append(User(facts, nan if score is None else rng.random()))
    return found


def flags(users: list[User], answer: Answer) -> Any:
    if answer is None:
        return None
    return np.array([user.holds(answer) for user in users], np.bool_)


def previewed(
    rules: Any, messaging: Messaging, users: list[User], *, kinds: Mapping[str, Kind] | None = None, page: int = PAGE
) -> Preview:
    previewer = Previewer(rules, messaging, kinds or {"p": "event"})
    withheld = withheld_filters(rules, messaging)
    for first in range(0, len(users), page):
        some = users[first : first + page]
        scores = [each.facts.scores["p"].score if "p" in each.facts.scores else None for each in some]
        previewer.add(
            Columns(
                inside=flags(some, audience_filter(rules)),
                withheld={reason: flags(some, answer) for reason, answer in withheld.items()},
                scores={"p": np.array([nan if score is None else score for score in scores])},
                likelihood=np.array([each.likelihood for each in some]),
            )
        )
    return previewer.result()


CHANNELS = {
    "log": {"kind": "log"},
    "free": {"kind": "email", "consent": "none", "address": "email"},
    "mail": {"kind": "email", "consent": {"trait": "news", "in": [True, "yes"]}, "address": "email"},
    "push": {"kind": "webhook", "consent": {"withdrawn": "Push Refused"}},
}


@pytest.mark.parametrize("channels", [["log"], ["mail"], ["push"], ["free"], ["mail", "push"], ["mail", "log"]])
@pytest.mark.parametrize("recent", ["0", "1d"])
@pytest.mark.parametrize("offer", [None, LADDER, {"unit": "amount", "value": 4}])
def test_every_user_is_where_the_rules_would_put_them(
    channels: list[str], recent: str, offer: dict[str, Any] | None
) -> None:
    rng = Random(f"{channels} {recent} {offer}")
    filter_ = {"trait": "email", "exists": True} if rng.random() < 0.5 else None
    skip = 0 if recent == "0" else recent
    rules = campaign(channels=channels, skip_recent_goal=skip, offer=offer, control=0.25, filter=filter_)
    messaging = read_messaging({"channels": CHANNELS, "holdout": 0.1})
    users = everybody(rng, 300)
    found = previewed(rules, messaging, users)

    inside = [each for each in users if "s" in each.facts.segments]
    inside = [each for each in inside if filter_ is None or "email" in each.facts.traits]
    recent_s = rules.skip_recent_goal_s
    rest = [each for each in inside if not NOW_S - each.facts.latest_s.get("Order", -inf) < recent_s]
    reached = [each for each in rest if open_channels(channels, messaging.channels, each.facts)]
    assert (found.users, found.reachable) == (len(inside), len(reached))
    assert found.left_out == {"goal": len(inside) - len(rest), "consent": len(rest) - len(reached)}
    assert found.messages == pytest.approx(len(reached) * 0.9 * 0.75)
    assert found.holdout + found.control + found.messages == pytest.approx(found.reachable)
    if rules.offer is not None:
        kind: Kind = "event"
        offers = [given(rules.offer, kind, each.facts, None, NOW_S) for each in reached]
        (rungs,) = found.offers
        by_rung = [sum(each is not None and each.rung == n for each in offers) for n in range(len(rungs.rungs))]
        assert [rung.users for rung in rungs.rungs] == by_rung
        assert rungs.without_score == sum(each is None for each in offers)
        most = sum(each.cost for each in offers if each is not None) * 0.9 * 0.75
        assert rungs.cost_at_most == pytest.approx(most)


def test_what_goes_to_those_who_do_it_anyway_is_the_sum_of_their_likelihoods() -> None:
    rules = campaign(offer=LADDER)
    likely = [(10.0, 0.1), (20.0, 0.3), (50.0, 0.5), (90.0, 0.9), (95.0, nan)]
    users = [User(Facts(inf, segments=frozenset(["s"]), scores={"p": Score(score)}), p) for score, p in likely]
    found = previewed(rules, OPEN, users)
    (offer,) = found.offers
    assert [(rung.value, rung.users) for rung in offer.rungs] == [(6.0, 2), (3.0, 1), (0.0, 2)]
    # Of whom it is not known, they are taken to be like the others of the rung.
    assert [rung.anyway for rung in offer.rungs] == pytest.approx([0.4, 0.5, 1.8])
    assert offer.cost_at_least == pytest.approx(6 * 0.4 + 3 * 0.5)
    assert offer.cost_at_most == pytest.approx(15.0)
    assert found.anyway == pytest.approx(1.8 / 4 * 5)


OPEN = read_messaging({"holdout": 0.0, "channels": {"open": {"kind": "log"}}})
ONE = [User(Facts(inf, segments=frozenset(["s"]), scores={"p": Score(10.0)}), nan)]


def test_while_no_likelihood_is_known_nothing_is_said_of_those_who_do_it_anyway() -> None:
    found = previewed(campaign(offer=LADDER), OPEN, ONE)
    assert (found.anyway, found.offers[0].cost_at_least) == (None, None)
    assert found.offers[0].cost_at_most == 6.0
    nobody = previewed(campaign(offer=LADDER), OPEN, [])
    assert (nobody.users, nobody.anyway, nobody.offers[0].cost_at_least) == (0, 0.0, 0.0)


def test_a_percentage_has_no_cost_until_it_is_said_what_an_order_is_worth() -> None:
    percent = {**LADDER, "unit": "percent"}
    (offer,) = previewed(campaign(offer=percent), OPEN, ONE).offers
    assert [rung.cost_at_most for rung in offer.rungs] == [None, None, 0.0]
    assert (offer.cost_at_most, offer.cost_at_least) == (None, None)
    (offer,) = previewed(campaign(offer={**percent, "order_value": 50.0}), OPEN, ONE).offers
    assert offer.cost_at_most == 3.0


def test_a_budget_says_how_far_it_goes() -> None:
    """Ten messages at 6 and ten at nothing: of 30, five of the ten can be paid."""
    users = [ONE[0]] * 10 + [User(Facts(inf, segments=frozenset(["s"]), scores={"p": Score(90.0)}), nan)] * 10
    for amount, messages in ((30.0, 15.0), (60.0, 20.0), (500.0, 20.0)):
        budget = {"amount": amount, "per": "day"}
        found = previewed(campaign(offer={**LADDER, "budget": budget}), OPEN, users).offers[0].budget
        assert found is not None
        assert (found.amount, found.per, found.needed, found.messages) == (amount, "day", 60.0, messages)


def test_consent_that_no_filter_can_tell_is_not_told() -> None:
    """Of two events, which was later is asked of one user at a time."""
    channels = {"push": {"kind": "webhook", "consent": {"given": "Push Agreed", "withdrawn": "Push Refused"}}}
    messaging = read_messaging({"channels": channels, "holdout": 0.0})
    found = previewed(campaign(channels=["push"]), messaging, ONE * 3)
    assert (found.left_out, found.reachable) == ({"goal": 0, "consent": None}, 3)
    assert tuple(found.left_out) == LEAVE_OUT


def test_each_offer_of_a_journey_is_looked_at_by_itself() -> None:
    steps = {
        "word": send_step(),
        "small": send_step(offer={"unit": "amount", "value": 2}),
        "large": send_step(offer=LADDER),
    }
    found = previewed(journey(steps), OPEN, ONE * 4)
    assert [(offer.step, [rung.users for rung in offer.rungs]) for offer in found.offers] == [
        ("small", [4]),
        ("large", [4, 0, 0]),
    ]


@pytest.mark.parametrize(
    ("given_", "found"),
    [
        ({"prediction": "p"}, Basis("p", False, 7 * DAY_S)),
        ({"segment": "p.low"}, Basis("p", False, 7 * DAY_S)),
        ({"offer": LADDER, "prediction": "away"}, Basis("p", False, 7 * DAY_S)),
        ({"prediction": "away"}, Basis("away", True, 30 * DAY_S)),
        ({}, "no prediction is named"),
        ({"prediction": "none"}, "no prediction is named"),
        ({"prediction": "both"}, "the conversion is not what both predicts"),
        ({"prediction": "big"}, "the conversion is not what big predicts"),
    ],
)
def test_who_does_it_anyway_is_told_by_a_prediction_of_just_that(given_: dict[str, Any], found: Basis | str) -> None:
    assert basis_of(campaign(**given_), PREDICTIONS) == found


def test_who_is_likely_to_stay_away_is_unlikely_to_do_it() -> None:
    likelihood = np.array([0.9, nan])
    away, comes = of_conversion(Basis("away", True, 1.0), likelihood), of_conversion(Basis("p", False, 1.0), likelihood)
    assert away[0] == pytest.approx(0.1)
    assert comes[0] == 0.9
    assert np.isnan(away[1])
    assert np.isnan(comes[1])


@pytest.mark.parametrize("kind", ["event", "churn"])
@pytest.mark.parametrize(
    "offer",
    [
        FixedOffer.model_validate({"unit": "amount", "value": 4}, context={}),
        LadderOffer.model_validate(LADDER, context={}),
        LinearOffer.model_validate({"unit": "amount", "prediction": "p", "most": 21, "step": 3}, context={}),
    ],
)
def test_many_scores_lead_to_the_rungs_of_each(offer: Offer, kind: Kind) -> None:
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.uniform(0.0, 100.0, 500), np.arange(0.0, 100.5, 0.5)])
    assert rungs_of(offer, kind, scores).tolist() == [rung_of(offer, kind, score) for score in scores.tolist()]


def test_every_template_can_be_previewed() -> None:
    for strategy in ("sliding_scale", "win_back", "churn_rescue", "reminder"):
        shop = Shop(strategy)
        rules = shop.made.definition
        found = basis_of(rules, shop.catalog.predictions)
        assert isinstance(found, Basis)
        assert found.is_inverse == (strategy == "churn_rescue")
        assert all(answer is not None for answer in withheld_filters(rules, shop.messaging).values())
        assert isinstance(rules, Campaign) == (strategy in ("sliding_scale", "reminder"))
