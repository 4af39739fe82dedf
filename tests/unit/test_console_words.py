"""What the console makes of figures, filters, features and addresses: pure parts, without an app."""

from __future__ import annotations

import pytest

from config.loader import loads
from streams.api.views import CategoryView, PredictionView
from streams.console import charts
from streams.console.feature_words import feature_words
from streams.console.filter_words import FilterWords, Line
from streams.console.ids import free_id
from streams.console.language import Format
from streams.console.prediction_words import shares_of, stage_of
from streams.console.selection import Selection, selection_of
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH

VIEW = PredictionView(
    id="orders",
    name="Orders",
    kind="event",
    score_name="Score",
    window_s=172_800.0,
    scale="percentile",
    access="live",
    status="live",
    warm_up=None,
    frozen_at=None,
    audience=10,
    categories=[
        CategoryView(id="low", name="Low", low=0.0, high=50.0, users=5),
        CategoryView(id="medium", name="Medium", low=50.0, high=75.0, users=3),
        CategoryView(id="high", name="High", low=75.0, high=100.0, users=2),
    ],
    clock=None,
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, Selection(75.0, 100.0, "high")),
        ({"category": "low"}, Selection(0.0, 50.0, "low")),
        ({"category": "none"}, Selection(75.0, 100.0, "high")),
        ({"min": "20", "max": "40.5"}, Selection(20.0, 40.5, None)),
        ({"max": "40"}, Selection(0.0, 40.0, None)),
        ({"min": "50", "max": "50"}, Selection(75.0, 100.0, "high")),
        ({"min": "-1"}, Selection(75.0, 100.0, "high")),
        ({"min": "nan"}, Selection(75.0, 100.0, "high")),
        ({"min": "x", "max": "4"}, Selection(75.0, 100.0, "high")),
    ],
)
def test_a_selection_is_read_from_an_address_and_written_to_one(query: dict[str, str], found: Selection) -> None:
    assert selection_of(query, VIEW) == found
    again = dict(part.split("=") for part in found.address.split("&"))
    assert selection_of(again, VIEW) == found


def test_shares_of_categories_make_a_whole_bar() -> None:
    assert [(part.share, part.left) for part in shares_of(VIEW)] == [(0.5, 0.0), (0.3, 0.5), (0.2, 0.8)]
    empty = VIEW.model_copy(update={"categories": [c.model_copy(update={"users": 0}) for c in VIEW.categories]})
    assert [part.share for part in shares_of(empty)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("status", "stage"),
    [
        ("live", "live"),
        ("preview (scores shown, not targetable)", "live"),
        ("preview, warming up", "warming up"),
        ("going live", "going live"),
        ("no events yet", "no events yet"),
        ("learning from history", "learning from history"),
        ("archived", "archived"),
    ],
)
def test_the_stage_is_that_of_the_model_whatever_the_access(status: str, stage: str) -> None:
    assert stage_of(VIEW.model_copy(update={"status": status})) == stage


def test_an_axis_ends_at_a_round_number_that_nothing_is_above() -> None:
    assert [charts.top_of([value]) for value in (0.0, 0.31, 1.0, 17.0, 25.0, 26.0, 5_001.0)] == [
        1.0, 0.5, 1.0, 20.0, 25.0, 50.0, 10_000.0,
    ]  # fmt: skip
    assert charts.top_of([None]) == 1.0


def test_marks_stand_where_figures_are() -> None:
    first, second = charts.bars([10.0, 5.0], 10.0, gap=0.0)
    assert (first, second) == (charts.Bar(0.0, 0.0, 500.0, 1000.0), charts.Bar(500.0, 500.0, 500.0, 500.0))
    assert charts.line([0.0, 500.0, 1000.0], [0.0, 10.0, 20.0], 10.0) == "M0 1000h0L500 0L1000 0"
    assert charts.line([0.0, 500.0, 1000.0], [1.0, None, 5.0], 10.0) == "M0 900h0M1000 500h0"
    assert charts.dots([(250.0, 5.0), (750.0, None)], 10.0) == "M250 500h0"
    assert charts.middles(2) == [250.0, 750.0]
    assert charts.ends(3) == [0.0, 500.0, 1000.0]


@pytest.mark.parametrize(
    ("feature", "high", "english", "french"),
    [
        ("total:Order", True, "“Order” in total: many", "« Order » au total : beaucoup"),
        ("count:A:B:1d", False, "“A:B” in about the last 1\u00a0day: few", "« A:B » sur 1 jour environ : peu"),
        ("since:*", True, "time since the last other event: long, or never", None),
        ("trait:country=AT", False, "country is not AT", "country n’est pas AT"),
        ("recency", False, "time since the last event: short", "temps depuis le dernier événement : court"),
        ("trait:age", True, "age: high", "age : élevé"),
        ("something new", True, "something new: high", "something new : élevé"),
    ],
)  # fmt: skip
def test_features_are_told_in_words(feature: str, high: bool, english: str, french: str | None) -> None:
    assert feature_words(ENGLISH, Format("en"), feature, high=high) == english
    if french is not None:
        told = feature_words(FRENCH, Format("fr"), feature, high=high)
        assert told.replace("\u00a0", " ").replace("\u202f", " ") == french


def test_every_kind_of_filter_is_told_in_words() -> None:
    catalog = loads("""
version: 1
name: All filters
history: [View]
predictions:
  buys: {name: Buys, goal: {did: Order}, window: 2d}
  goes: {name: Goes, kind: churn, goal: {did_not: Order}, window: 4d}
segments:
  other: {name: The others, filter: {trait: vip, exists: false}}
  all_kinds:
    name: Everything
    filter:
      all:
        - {prediction: buys, score: {min: 62.5}}
        - {prediction: buys, likelihood: {min: 0.1, max: 0.3}}
        - {prediction: goes, category: [medium, high]}
        - any: [{trait: country, in: [A, B, C]}, {trait: country, equals: D}, {trait: age, min: 18}]
        - not: {segment: other}
        - {event: View, count: {min: 2, max: 5}, within: 7d}
        - {event: Order, count: {max: 0}}
        - {event: Order, since: {min: 3d}}
        - {event: Order, since: {max: 12h}}
        - {event: Order, since: {min: 1d, max: 2d}}
        - {trait: mail, exists: true}
        - {trait: gift, equals: true}
        - {trait: born, in: [1987, 12.5, false]}
        - {segment: buys.high}
""")
    names = {key: segment.name for key, segment in catalog.segments.items()} | {"buys.high": "Buys: High"}
    tree = catalog.segments["all_kinds"].filter
    english = FilterWords(ENGLISH, Format("en"), catalog.predictions, names).line(tree)
    assert flat(english) == [
        "All of these hold:",
        "Buys: score from 62.50 to 100",
        "Buys: likelihood from 10.0% to 30.0%",
        "Goes: category Medium risk or High risk",
        "At least one of these holds:",
        "country is A, B or C",
        "country is D",
        "age is at least 18",
        "This does not hold:",
        "is in “The others”",
        "“View” within 7\u00a0days: from 2 to 5 times",
        "“Order” ever: at most 0 times",
        "latest “Order” at least 3\u00a0days ago",
        "latest “Order” less than 12\u00a0hours ago",
        "latest “Order” between 1\u00a0day and 2\u00a0days ago",
        "mail is known",
        "gift is true",
        "born is 1987, 12.5 or false",
        "is in “Buys: High”",
    ]
    french = flat(FilterWords(FRENCH, Format("fr"), catalog.predictions, names).line(tree))
    assert french[3] == "Goes\u00a0: catégorie Risque moyen ou Risque élevé"
    assert french[16:18] == ["gift est vrai", "born est 1987, 12,5 ou faux"]
    assert len(french) == len(flat(english))


def flat(line: Line) -> list[str]:
    return [line.text, *(text for part in line.parts for text in flat(part))]


def test_ids_are_like_names_and_free() -> None:
    taken = loads("""
version: 1
name: Two
predictions: {buys: {name: Buys, goal: {did: Order}, window: 2d}}
segments:
  acheteurs_fideles: {name: One, filter: {trait: vip, exists: true}}
  acheteurs_fideles_2: {name: Two, filter: {trait: vip, exists: true}}
""").segments
    assert free_id("Acheteurs fidèles !", taken) == "acheteurs_fideles_3"
    assert free_id("25 % les mieux classés", taken) == "segment_25_les_mieux_classes"
    assert free_id("顧客", taken) == "segment"
    assert len(free_id("x" * 100, taken)) <= 63
