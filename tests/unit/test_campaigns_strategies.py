"""The strategies of the field: each is complete as it comes, in both languages, and does what its name says."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any, get_args

import pytest

from config.campaign_checks import problems_of_campaigns, read_campaign, read_journey, read_messaging
from config.campaigns import Campaign
from config.catalog import Catalog
from config.errors import ConfigError
from config.journeys import Journey, SendStep
from config.loader import loads
from config.offers import LinearOffer
from config.written import written
from streams.campaigns.inputs import Crossing, Facts, Input, Member, Score, Watched
from streams.campaigns.message import CompiledMessage
from streams.campaigns.offers import Kind, preview
from streams.campaigns.strategies.make import Language, Made, make, strategies
from tests.campaign_world import Service

CATALOG = """
version: 1
name: Shop
features: {value: price, traits: [first_name]}
predictions:
  orders: {name: Orders soon, goal: {did: Order, where: {kind: {in: [big, small]}}}, window: 7d}
  churn: {name: Stays away, kind: churn, goal: {did_not: Order}, window: 30d}
  trial: {name: Trial, goal: {did: Order}, window: 7d, access: preview}
"""
NOW_S = 1_790_000_000.0
DAY_S = 86_400.0
MESSAGING = read_messaging({"channels": {"open": {"kind": "log"}}})


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return loads(CATALOG)


def of(catalog: Catalog, strategy: str, **given: Any) -> Made:
    prediction = "churn" if strategy in strategies("churn") else "orders"
    return make(strategy, catalog, prediction, channels=("open",), **given)


def messages(made: Made) -> list[Any]:
    definition = made.definition
    if isinstance(definition, Campaign):
        return [definition.message]
    return [step.send for step in definition.steps.values() if isinstance(step, SendStep)]


@pytest.mark.parametrize("language", get_args(Language))
@pytest.mark.parametrize("strategy", strategies())
def test_every_strategy_is_complete_and_valid(catalog: Catalog, strategy: str, language: Language) -> None:
    made = of(catalog, strategy, language=language)
    segments = dict([made.segment] if made.segment is not None else [])
    whole = catalog.model_copy(update={"segments": segments})
    is_campaign = isinstance(made.definition, Campaign)
    campaigns = {made.id: made.definition} if isinstance(made.definition, Campaign) else {}
    journeys = {made.id: made.definition} if isinstance(made.definition, Journey) else {}
    assert problems_of_campaigns(whole, MESSAGING, campaigns, journeys) == []
    read = read_campaign if is_campaign else read_journey
    assert read(made.id, written(made.definition)) == made.definition
    assert made.definition.conversion.event == "Order"
    assert made.definition.conversion.revenue == "price"


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("language", get_args(Language))
@pytest.mark.parametrize("strategy", strategies())
def test_every_message_reads_well(catalog: Catalog, strategy: str, language: Language, *, known: bool) -> None:
    made = of(catalog, strategy, language=language)
    context = {
        "user": {"id": "u", "first_name": "Ann"} if known else {"id": "u"},
        "offer": {"value": 15, "unit": "percent"},
        "remembered": {"Cart": {"items": ["socks", "hat"]}} if known else {},
    }
    rendered = [CompiledMessage.of(message).render(["open"], context)["open"] for message in messages(made)]
    for texts in rendered:
        assert all(text.strip() and "{" not in text and "None" not in text for text in texts.values())
        assert not any("  " in text.replace("\n", " ") for text in texts.values())
    if strategy == "reminder" and known:
        assert rendered[0]["body"].endswith("\n- socks\n- hat")


def test_both_languages_say_the_same_things(catalog: Catalog) -> None:
    for strategy in strategies():
        english, french = (of(catalog, strategy, language=language) for language in ("en", "fr"))
        assert [set(each.parts) for each in messages(english)] == [set(each.parts) for each in messages(french)]
        assert all(a.parts != b.parts for a, b in zip(messages(english), messages(french), strict=True))
        assert english.segment == french.segment


def test_a_range_of_scores_becomes_a_segment(catalog: Catalog) -> None:
    made = of(catalog, "incentive", scores=(40.0, 60.0))
    assert made.segment is not None
    assert made.definition.segment == made.segment[0] == "incentive_orders"
    assert written(made.segment[1])["filter"] == {"prediction": "orders", "score": {"min": 40.0, "max": 60.0}}
    assert of(catalog, "incentive", scores="low").definition.segment == "orders.low"


@pytest.mark.parametrize(
    ("strategy", "prediction", "scores", "words"),
    [
        ("churn_rescue", "orders", None, "for predictions of kind churn"),
        ("reminder", "churn", None, "for predictions of kind event"),
        ("reminder", "trial", None, "never targeted"),
        ("reminder", "none", None, "no prediction 'none'"),
        ("nothing", "orders", None, "there is no strategy 'nothing'; there are reminder, "),
        ("reminder", "orders", "huge", "expected low, medium, high"),
        ("reminder", "orders", (60.0, 40.0), "min not above max"),
    ],
)
def test_what_does_not_fit_is_refused(
    catalog: Catalog, strategy: str, prediction: str, scores: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        make(strategy, catalog, prediction, channels=("open",), scores=scores)


# --- scenarios -------------------------------------------------------------------------------------------------------


@dataclass
class Shop:
    """One strategy, without a control group, and users about whom things are told."""

    made: Made
    service: Service = field(init=False)
    facts: dict[str, Facts] = field(default_factory=dict)
    _sequences: dict[str, int] = field(default_factory=dict)
    _number: int = 0

    def __post_init__(self) -> None:
        definition = self.made.definition.model_copy(update={"control": 0.0})
        kinds: dict[str, Kind] = {"orders": "event", "churn": "churn"}
        if isinstance(definition, Campaign):
            self.service = Service.of({"it": definition}, kinds=kinds)
        else:
            self.service = Service.of(journeys={"it": definition}, kinds=kinds)

    def know(self, user: str, score: float, *, is_in: bool = True, ordered_s: float | None = None) -> None:
        prediction = "churn" if self.made.id.endswith("churn") else "orders"
        latest = {} if ordered_s is None else {"Order": ordered_s}
        segments = frozenset([self.made.definition.segment] if is_in else [])
        fits = frozenset(self.service.plan.filters()) if is_in else frozenset()
        scores = {prediction: Score(score=score)}
        self.facts[user] = Facts(inf, segments=segments, fits=fits, scores=scores, latest_s=latest)

    def cross(self, user: str, now_s: float, origin: str = "live") -> None:
        sequence = self._sequences[user] = self._sequences.get(user, 0) + 1
        segment = self.made.definition.segment
        self.tell(now_s, Crossing(user, segment, sequence % 2 == 1, sequence, now_s, origin))

    def order(self, user: str, now_s: float) -> None:
        self._number += 1
        self.tell(now_s, Watched(user, "Order", now_s, 0, "g", self._number, f"m{self._number}", {"kind": "big"}))

    def tell(self, now_s: float, *inputs: Input) -> None:
        self.service.step(now_s, inputs, self.facts)

    @property
    def sent(self) -> list[tuple[str, str | None, float | None]]:
        """User, step, value of the offer."""
        return [(each.user, each.step, each.offer.value if each.offer else None) for each in self.service.taken]


def test_a_reminder_goes_to_the_likely_without_a_discount(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "reminder"))
    shop.know("ann", 92.0)
    shop.cross("ann", NOW_S)
    assert shop.sent == [("ann", None, None)]


def test_a_reminder_skips_who_has_just_ordered(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "reminder"))
    shop.know("ann", 92.0, ordered_s=NOW_S - 60.0)
    shop.cross("ann", NOW_S)
    assert (shop.sent, shop.service.counts("it")) == ([], {"goal": 1})


def test_an_incentive_goes_to_the_undecided_and_not_again_for_a_month(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "incentive"))
    shop.know("ann", 60.0)
    for day in (0, 5, 10, 15, 40):
        shop.cross("ann", NOW_S + day * DAY_S)
    # Entries on days 0, 10 and 40; the one on day 10 comes too early.
    assert shop.sent == [("ann", None, 10.0), ("ann", None, 10.0)]


def test_a_sliding_scale_gives_the_less_the_likelier_somebody_is(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "sliding_scale"))
    scores = [0.0, 12.0, 25.0, 38.0, 50.0, 62.0, 74.0]
    users = [f"user-{n}" for n in range(len(scores))]
    for user, score in zip(users, scores, strict=True):
        shop.know(user, score)
    shop.tell(NOW_S, *(Member(user, "it", NOW_S) for user in users))
    values = [value for _, _, value in shop.sent]
    assert values == [20.0, 20.0, 15.0, 10.0, 10.0, 10.0, 5.0]
    assert values == sorted(values, key=lambda value: -(value or 0.0))


def test_a_sliding_scale_does_not_reward_those_who_wait(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "sliding_scale"))
    month_s = NOW_S + 31 * DAY_S
    shop.know("ann", 74.0)
    shop.tell(NOW_S, Member("ann", "it", NOW_S))
    shop.know("ann", 0.0)
    shop.tell(month_s, Member("ann", "it", month_s))
    assert [value for _, _, value in shop.sent] == [5.0, 5.0]
    shop.tell(month_s + 31 * DAY_S, Member("ann", "it", month_s + 31 * DAY_S))
    assert shop.sent[-1][2] == 20.0  # 62 days after the 5, and not 31 after what only followed from it


def test_the_preview_of_a_sliding_scale_says_what_goes_to_those_who_would_come_anyway() -> None:
    offer = LinearOffer.model_validate(
        {"unit": "percent", "prediction": "orders", "most": 20, "step": 10, "order_value": 50.0}, context={}
    )
    users = [(0.0, 0.01), (10.0, 0.02), (50.0, 0.1), (100.0, 0.5), (90.0, None)]
    found = preview(offer, "event", users)
    assert [(rung.value, rung.users, round(rung.cost, 6), round(rung.anyway, 6)) for rung in found] == [
        (0.0, 2, 0.0, 0.0),
        (10.0, 1, 5.0, 0.5),
        (20.0, 2, 20.0, 0.3),
    ]


def test_win_back_says_a_word_first_and_offers_a_week_later(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "win_back"))
    shop.know("ann", 10.0)
    shop.cross("ann", NOW_S, "decay")
    shop.tell(NOW_S + 7 * DAY_S)
    assert shop.sent == [("ann", "word", None), ("ann", "offer", 15.0)]


def test_win_back_listens_to_silence_and_stops_when_somebody_is_back(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "win_back"))
    for user in ("ann", "bo"):
        shop.know(user, 10.0)
    shop.cross("ann", NOW_S, "live")
    shop.cross("bo", NOW_S, "decay")
    shop.order("bo", NOW_S + DAY_S)
    shop.tell(NOW_S + 7 * DAY_S)
    assert shop.sent == [("bo", "word", None)]
    assert shop.service.counts("it") == {"entered": 1, "sent": 1, "goal_reached": 1}


def test_a_three_day_blast_grows_and_ends_with_the_order(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "three_day_blast"))
    for user in ("ann", "bo"):
        shop.know(user, 10.0)
        shop.cross(user, NOW_S)
    shop.tell(NOW_S + DAY_S)
    shop.order("bo", NOW_S + 1.5 * DAY_S)
    shop.tell(NOW_S + 2 * DAY_S)
    assert [(step, value) for user, step, value in shop.sent if user == "ann"] == [
        ("first", 10.0),
        ("second", 15.0),
        ("third", 20.0),
    ]
    assert [step for user, step, _ in shop.sent if user == "bo"] == ["first", "second"]


def test_churn_rescue_does_more_the_higher_the_risk(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "churn_rescue"))
    for user, risk in (("ann", 80.0), ("bo", 90.0), ("cy", 99.0)):
        shop.know(user, risk)
        shop.cross(user, NOW_S)
    assert shop.sent == [("ann", "offer", 10.0), ("bo", "offer", 20.0), ("cy", "offer", 30.0)]


def test_churn_rescue_offers_help_to_those_who_are_still_at_risk(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "churn_rescue"))
    for user in ("ann", "bo"):
        shop.know(user, 90.0)
        shop.cross(user, NOW_S)
    shop.know("bo", 20.0, is_in=False)
    shop.cross("bo", NOW_S + DAY_S)
    shop.tell(NOW_S + 3 * DAY_S)
    assert [(user, step) for user, step, _ in shop.sent] == [("ann", "offer"), ("bo", "offer"), ("ann", "help")]


def test_a_newsletter_comes_once_a_week_while_somebody_is_quiet(catalog: Catalog) -> None:
    shop = Shop(of(catalog, "newsletter"))
    shop.know("ann", 20.0)
    for week in range(3):
        at_s = NOW_S + week * 7 * DAY_S
        shop.tell(at_s, Member("ann", "it", at_s))
    assert len(shop.sent) == 3
