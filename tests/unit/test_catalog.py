"""What a right catalog means once it is loaded."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.catalog import (
    AllFilter,
    AllOfAtoms,
    AnyFilter,
    AnyOfAtoms,
    Between,
    Catalog,
    CategoryFilter,
    ConstantEvent,
    CountFilter,
    CsvInput,
    Equals,
    EventLimit,
    Exists,
    NdjsonInput,
    NotFilter,
    OneOf,
    RiverModel,
    ScoreFilter,
    SegmentFilter,
    SegmentInput,
    SinceFilter,
    TraitFilter,
    TraitLimit,
    category_names,
    walk,
)
from config.durations import DAY_S, HOUR_S, format_duration, parse_duration
from config.loader import load_catalog, loads

SMALLEST = """
version: 1
name: Shop
predictions:
  orders:
    name: Orders
    goal: {did: Order Completed}
    window: 7d
"""


@pytest.fixture(scope="module")
def full() -> Catalog:
    return load_catalog(Path(__file__).with_name("full_catalog.yaml"))


def test_the_smallest_catalog_has_the_documented_defaults() -> None:
    catalog = loads(SMALLEST)
    prediction = catalog.predictions["orders"]
    assert isinstance(catalog.input, SegmentInput)
    assert catalog.features.events == EventLimit(limit=8)
    assert list(catalog.features.half_lives_days) == [1, 7, 30, 90]
    assert catalog.features.session_gap_s == 1_800
    assert (catalog.time.max_ahead_s, catalog.time.lateness_s) == (300, 0)
    assert (prediction.kind, prediction.scale, prediction.access) == ("event", "percentile", "live")
    assert (prediction.categories.medium, prediction.categories.high, prediction.hysteresis) == (50, 75, 5)
    assert prediction.window_s == 7 * DAY_S
    assert prediction.model == "logistic"
    assert prediction.memory_examples == 500_000
    assert prediction.audience_filter is None
    assert catalog.value_property is None
    assert catalog.segments == {}


def test_goals_are_atoms_and_a_join(full: Catalog) -> None:
    goal = full.predictions["orders_7d"].goal
    assert isinstance(goal, AnyOfAtoms)
    assert [type(atom).__name__ for atom in goal.atoms] == ["Did", "Did", "DidNot"]
    assert [atom.negated for atom in goal.atoms] == [False, False, True]
    assert goal.atoms[0].where == {"category": Equals(equals="shoes"), "price": Between(min=10, max=99.5)}
    assert goal.atoms[1].where == {
        "category": OneOf.model_validate({"in": ("hats", "gloves")}),
        "coupon": Exists(exists=False),
    }
    single = full.predictions["returns_2w"].goal
    assert single.atoms == (single,)
    assert single.join == "all"
    assert isinstance(full.predictions["churn_30d"].goal, AllOfAtoms)


def test_filters_are_trees_in_the_order_of_the_text(full: Catalog) -> None:
    mixed = full.segments["mixed"].filter
    assert isinstance(mixed, AnyFilter)
    first, *_, last = mixed.filters
    assert isinstance(first, CategoryFilter)
    assert first.categories == ("medium", "high")
    assert isinstance(mixed.filters[1], CategoryFilter)
    assert mixed.filters[1].categories == ("low",)
    assert isinstance(last, NotFilter)
    assert [type(node) for node in walk(last)] == [NotFilter, SegmentFilter]
    windowed = mixed.filters[5]
    assert isinstance(windowed, CountFilter)
    assert (windowed.count.min, windowed.count.max, windowed.within_s) == (2, 5, 36 * HOUR_S)
    since = mixed.filters[7]
    assert isinstance(since, SinceFilter)
    assert (since.since.min_s, since.since.max_s) == (12 * HOUR_S, 14 * DAY_S)
    top = full.segments["top"].filter
    assert isinstance(top, ScoreFilter)
    assert (top.score.min, top.score.max) == (90, None)
    assert full.segments["top"].min_dwell_s == 1_800


def test_a_trait_filter_holds_one_condition(full: Catalog) -> None:
    mixed = full.segments["mixed"].filter
    conditions = {node.trait: node.condition for node in walk(mixed) if isinstance(node, TraitFilter)}
    assert conditions == {
        "country": Equals(equals="FR"),
        "age": Between(min=18, max=30),
        "city": Exists(exists=True),
    }


def test_churn_asks_for_activity_within_the_lookback(full: Catalog) -> None:
    churn = full.predictions["churn_30d"]
    assert churn.lookback_s == 60 * DAY_S
    active = churn.audience_filter
    assert isinstance(active, AnyFilter)
    assert [(f.event, f.since.max_s) for f in active.filters if isinstance(f, SinceFilter)] == [
        ("Order Completed", 60 * DAY_S),
        ("Cart Viewed", 60 * DAY_S),
    ]
    text = SMALLEST + "    kind: churn\n    audience: {trait: plan, equals: paid}\n"
    catalog = loads(text.replace("did:", "did_not:"))
    both = catalog.predictions["orders"].audience_filter
    assert isinstance(both, AllFilter)
    assert both.filters[0] == catalog.predictions["orders"].audience
    assert catalog.predictions["orders"].lookback_s == catalog.predictions["orders"].window_s


def test_names_in_use_are_found_everywhere(full: Catalog) -> None:
    assert full.named_events() == ("Order Completed", "Order Refunded", "Cart Viewed")
    assert full.named_traits() == ("country", "plan", "age", "city")
    assert full.trait_features["country"] == TraitLimit(limit=16)
    assert full.value_property == "revenue"
    model = full.predictions["churn_30d"].model
    assert isinstance(model, RiverModel)
    assert model.params == {"grace_period": 100, "leaf_prediction": "nb"}


def test_traits_may_be_a_list_and_take_the_limit() -> None:
    catalog = loads(SMALLEST + "features: {traits: [plan, city]}\nlimits: {trait_values: 5}\n")
    assert catalog.trait_features == {"plan": TraitLimit(limit=5), "city": TraitLimit(limit=5)}


def test_inputs_by_mapping(full: Catalog) -> None:
    assert isinstance(full.input, NdjsonInput)
    assert full.input.user == "context.user.id"
    assert (full.input.time.field, full.input.time.unit, full.input.time.timezone) == ("at", "iso", "Europe/Paris")
    mapping = (
        "input: {format: csv, user: id, event: {constant: Order Completed}, time: day, value: paid, delimiter: ;}\n"
    )
    catalog = loads(SMALLEST + mapping)
    assert isinstance(catalog.input, CsvInput)
    assert catalog.input.event == ConstantEvent(constant="Order Completed")
    assert (catalog.input.time.field, catalog.input.time.unit, catalog.input.time.timezone) == ("day", "iso", "UTC")
    assert catalog.input.delimiter == ";"
    assert catalog.value_property == "value"


def test_words_that_yaml_1_1_would_change_stay_text() -> None:
    conditions = "{a: yes, b: NO, c: 2024-01-31, d: 00012, e: 1:30, f: true, g: 7, h: 1.5, i: on}"
    catalog = loads(SMALLEST.replace("Order Completed}", f"Order Completed, where: {conditions}}}"))
    where = catalog.predictions["orders"].goal.atoms[0].where
    values = {name: condition.value for name, condition in where.items() if isinstance(condition, Equals)}
    assert values == {
        "a": "yes", "b": "NO", "c": "2024-01-31", "d": "00012", "e": "1:30", "f": True, "g": 7, "h": 1.5, "i": "on"
    }  # fmt: skip
    assert [type(values[name]) for name in "fgh"] == [bool, int, float]


def test_a_catalog_does_not_change(full: Catalog) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        full.name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        full.predictions["orders_7d"].window_s = 1.0


def test_a_file_with_a_byte_order_mark_loads(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.encode())
    assert load_catalog(path) == loads(SMALLEST)


def test_category_words() -> None:
    assert category_names("event") == ("Low", "Medium", "High")
    assert category_names("churn") == ("Low risk", "Medium risk", "High risk")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("90m", 5_400), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600), ("1.5h", 5_400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "7", "d", "-7d", "7 d", "7D", "1d12h", "1e3s", "٧d", "7d\n", ".5h", "1" * 40 + "s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=3_650 * 86_400))
def test_durations_come_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.floats(min_value=0, max_value=1e8, allow_nan=False))
def test_any_duration_comes_back_to_a_nanosecond(seconds: float) -> None:
    assert math.isclose(parse_duration(format_duration(seconds)), seconds, abs_tol=1e-9, rel_tol=1e-12)
