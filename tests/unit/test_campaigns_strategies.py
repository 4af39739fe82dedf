"""The strategies of the field: each is complete as it comes, in both languages; its story: test_campaign_scenarios."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from config.campaign_checks import problems_of_campaigns, read_campaign, read_journey, read_messaging
from config.campaigns import Campaign
from config.catalog import Catalog
from config.errors import ConfigError
from config.journeys import Journey, SendStep
from config.loader import loads
from config.written import written
from streams.campaigns.message import CompiledMessage
from streams.campaigns.strategies.make import Language, Made, make, strategies

CATALOG = """
version: 1
name: Shop
features: {value: price, traits: [first_name]}
predictions:
  orders: {name: Orders soon, goal: {did: Order, where: {kind: {in: [big, small]}}}, window: 7d}
  churn: {name: Stays away, kind: churn, goal: {did_not: Order}, window: 30d}
  trial: {name: Trial, goal: {did: Order}, window: 7d, access: preview}
"""
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


def test_a_reminder_lists_texts_and_things_with_a_name_and_passes_over_the_rest(catalog: Catalog) -> None:
    (message,) = messages(of(catalog, "reminder"))
    kept = {"products": [{"name": "Hat"}, {"sku": 1}, "Scarf", 7, {"name": None}, ["Shoe"]], "total": 3, "note": "x"}
    body = CompiledMessage.of(message).render(["open"], {"user": {"id": "u"}, "remembered": {"Cart": kept, "Wish": {}}})
    assert body["open"]["body"].split("\n")[2:] == ["- Hat", "- Scarf"]


@pytest.mark.parametrize("answered", [["Hat", {"name": "Scarf"}, {"sku": 1}, 7], {"name": "no list"}, [], None])
@pytest.mark.parametrize("language", get_args(Language))
def test_recommendations_are_those_of_who_is_asked_else_what_is_kept(
    catalog: Catalog, language: Language, answered: Any
) -> None:
    made = of(catalog, "recommendations", language=language, recommender="shop")
    (message,) = messages(made)
    assert (message.recommendations.source, message.recommendations.on_failure) == ("shop", "send_without")
    assert messages(of(catalog, "recommendations", language=language))[0].recommendations is None
    assert isinstance(made.definition, Campaign)
    asked = {} if answered is None else {"recommendations": answered}
    context = {"user": {"id": "u"}, "remembered": {"Cart": {"items": ["Sock"]}}} | asked
    body = CompiledMessage.of(message).render(["open"], context)["open"]["body"]
    listed = [line for line in body.split("\n") if line.startswith("- ")]
    assert listed == (["- Hat", "- Scarf"] if isinstance(answered, list) and answered else ["- Sock"])
    webhook = read_messaging({"channels": {"open": {"kind": "log"}, "shop": {"kind": "webhook"}}})
    assert problems_of_campaigns(catalog, webhook, {made.id: made.definition}, {}) == []


def test_only_a_strategy_with_recommendations_asks_for_them(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="reminder asks for no recommendations"):
        of(catalog, "reminder", recommender="shop")


def test_what_an_order_is_worth_prices_percentages_and_caps_money(catalog: Catalog) -> None:
    for strategy in strategies():
        made = of(catalog, strategy, order_value=50.0)
        assert made.definition.conversion.revenue_cap == 250.0
        steps = made.definition.steps.values() if isinstance(made.definition, Journey) else [made.definition]
        offers = [step.offer for step in steps if isinstance(step, Campaign | SendStep) and step.offer is not None]
        assert all(offer.cost(10.0) == 5.0 for offer in offers)
        plain = of(catalog, strategy).definition
        assert plain.conversion.revenue_cap is None
    with pytest.raises(ConfigError, match="order_value"):
        of(catalog, "incentive", order_value=-1.0)


def test_both_languages_say_the_same_things(catalog: Catalog) -> None:
    for strategy in strategies():
        english, french = (of(catalog, strategy, language=language) for language in ("en", "fr"))
        assert [set(each.parts) for each in messages(english)] == [set(each.parts) for each in messages(french)]
        assert all(a.parts != b.parts for a, b in zip(messages(english), messages(french), strict=True))
        of_both = [
            None if each.segment is None else (each.segment[0], each.segment[1].filter) for each in (english, french)
        ]
        assert of_both[0] == of_both[1], "but for its name, which is for people"


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
