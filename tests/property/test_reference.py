"""The reference itself, against numbers worked out by hand; then a few laws it must keep on any log."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog
from config.loader import loads
from streams.core.events import BadEvent, DeadReason, Event, Scalar
from tests.conftest import examples
from tests.property.strategies import (
    batches,
    catalogs,
    cuts,
    history_filters,
    inputs,
    scenarios,
    tight_catalogs,
    tighten,
    to_yaml,
)
from tests.reference.columns import Columns
from tests.reference.conditions import goal_reached
from tests.reference.definitions import prediction_rules, segment_rules
from tests.reference.filters import Answer, Facts, brute_filter, count_within, evaluate
from tests.reference.hashes import Hashes
from tests.reference.labels import brute_labels
from tests.reference.learning import FrozenModel, LiveAfter, OnlineModel, PredictionVersion, sigmoid
from tests.reference.looks import silence_look, weekly_look
from tests.reference.margins import Margins
from tests.reference.memberships import fold
from tests.reference.product_warmup import ProductWarmup
from tests.reference.reference_shard import Advance, ReferenceShard, RunResult, run
from tests.reference.rows import Row, update
from tests.reference.scoring import heuristic, next_category

DAY_S, HOUR_S, MINUTE_S = 86_400.0, 3_600.0, 60.0
T0 = 1_704_240_000.0  # 2024-01-03T00:00:00Z
WEEK_AT_T0 = T0 / (7 * DAY_S)

QUIET = Hashes(look_phase=lambda _: 0.5, week_phase=lambda _: 0.25)
"""Phases that a person can reckon with."""


def make(**changes: Any) -> Catalog:
    data: dict[str, Any] = {
        "version": 1,
        "name": "by hand",
        "features": {"events": ["Order", "View"], "half_lives_days": [1], "value": "price"},
        "predictions": {"orders": {"name": "Orders", "goal": {"did": "Order"}, "window": "1h"}},
    }
    return loads(to_yaml({**data, **changes}))


_numbers = iter(range(1_000, 1_000_000))


def event(
    at_s: float,
    name: str | None = "Order",
    user: str = "ada",
    *,
    value: float = math.nan,
    traits: dict[str, Scalar] | None = None,
    properties: dict[str, Any] | None = None,
    log_time_s: float | None = None,
    message_hash: int | None = None,
) -> Event:
    number = next(_numbers)
    message_hash = number if message_hash is None else message_hash
    log_time_s = at_s if log_time_s is None else log_time_s
    return Event(user, name, at_s, value, message_hash, traits, properties, number, log_time_s)


def feed(*events: Event, catalog: Catalog | None = None) -> tuple[Columns, Row]:
    columns = Columns(catalog or make())
    row = Row("ada", 0, columns.half_lives)
    for one in events:
        update(row, one, columns.meet(one), 1_800.0, frozenset({"plan", "level"}))
    return columns, row


def features(columns: Columns, row: Row, at_s: float) -> dict[str | None, float]:
    return dict(zip(columns.labels(), columns.values(row, at_s), strict=True))


def short(result: RunResult) -> list[tuple[str, str, int, float, str]]:
    return [
        (t["user"], ("+" if t["in_segment"] else "-") + t["segment"], t["sequence"], t["time_s"] - T0, t["origin"])
        for t in result.transitions
    ]


# --- the row ---


def test_counts_halve_every_half_life_and_late_events_have_faded_already() -> None:
    _, row = feed(event(T0), event(T0 + DAY_S), event(T0 + 2 * DAY_S, "View"))
    assert row.counts == {"Order": [(1 * 0.5 + 1) * 0.5], "View": [1.0]}
    assert row.totals == {"Order": 2.0, "View": 1.0}

    _, row = feed(event(T0), event(T0 + DAY_S), event(T0 + 2 * DAY_S, "View"), event(T0 + DAY_S))
    assert row.counts["Order"] == [0.75 + 0.5]
    assert row.totals["Order"] == 3.0
    assert row.latest == {"Order": T0 + DAY_S, "View": T0 + 2 * DAY_S}
    assert row.last_t == T0 + 2 * DAY_S


def test_the_order_of_late_events_does_not_matter_for_counts() -> None:
    times = [T0, T0 + DAY_S, T0 + 3 * DAY_S]
    _, forwards = feed(*(event(t) for t in times))
    _, backwards = feed(*(event(t) for t in reversed(times)))
    assert forwards.counts == backwards.counts == {"Order": [0.125 + 0.25 + 1.0]}


def test_the_latest_time_is_in_whole_seconds_and_the_latest_value_not_from_late_events() -> None:
    _, row = feed(event(T0 + 9.75), event(T0 + 20.0, None), event(T0 + 5.0, value=3.0), event(T0 + 7.0, value=4.0))
    assert row.latest == {"Order": T0 + 9.0}
    # The first value counts although it is late; the second is late and does not.
    assert (row.value_last, row.value_sum, row.value_n) == (3.0, 7.0, 2.0)
    _, row = feed(event(T0, value=3.0), event(T0, value=4.0))
    assert row.value_last == 4.0


def test_counts_are_32_bit() -> None:
    _, row = feed(event(T0), event(T0 + 28_800.0))
    assert row.counts["Order"][0] == pytest.approx(1 + 2 ** (-1 / 3), abs=1e-7)
    assert row.counts["Order"][0] != 1 + 2 ** (-1 / 3)


def test_sessions_and_gaps_are_those_of_track_events() -> None:
    _, row = feed(event(T0, None), event(T0 + 10.0), event(T0 + 10.0, "View"), event(T0 + 1_810.0))
    assert (row.sessions, row.later_instants, row.gap_last_s) == (1.0, 2, 1_800.0)
    assert row.mean_gap_s() == 905.0

    _, row = feed(event(T0), event(T0 + 1_800.25), event(T0 + 5.0))
    assert (row.sessions, row.later_instants, row.gap_last_s) == (2.0, 1, 1_800.25)


def test_an_identify_sets_traits_and_times_only() -> None:
    columns, row = feed(event(T0), event(T0 + DAY_S, None, traits={"plan": "team", "level": 2.0, "else": "x"}))
    assert (row.first_t, row.last_t) == (T0, T0 + DAY_S)
    assert row.traits == {"plan": "team", "level": 2.0}
    assert (row.totals, row.sessions, row.later_instants) == ({"Order": 1.0}, 1.0, 0)
    assert columns.meet(event(T0, None)) is None


def test_features_of_three_events() -> None:
    columns, row = feed(event(T0, value=3.0), event(T0 + DAY_S, value=-1.0), event(T0 + 2 * DAY_S, "Ping"))
    x = features(columns, row, T0 + 3 * DAY_S)
    expected = {
        "count:Order:1d": math.log1p(0.375),
        "total:Order": math.log1p(2),
        "since:Order": math.log1p(2),
        "count:View:1d": 0.0,
        "total:View": 0.0,
        "since:View": math.log1p(3 + 30),
        "count:*:1d": math.log1p(0.5),
        "total:*": math.log1p(1),
        "since:*": math.log1p(1),
        "value:1d": math.log1p((3 * 0.5 - 1) * 0.25),
        "value:last": -math.log1p(1),
        "value:mean": math.log1p(1),
        "sessions": math.log1p(3),
        "age": math.log1p(3),
        "gap:mean": math.log1p(1),
        "gap:last": math.log1p(1),
        "recency": math.log1p(1),
        "recency/gap": math.log1p(1 / 2),
    }
    assert x == pytest.approx(expected, abs=1e-6)
    assert list(x) == list(expected)


def test_found_names_and_trait_values_fill_slots_and_are_zero_before() -> None:
    catalog = make(
        features={
            "events": {"limit": 1},
            "half_lives_days": [1],
            "traits": {"plan": {"limit": 2}, "level": {"numeric": True}},
        }
    )
    columns, row = feed(event(T0), catalog=catalog)
    assert columns.names == ["Order", None, "*"]
    assert columns.values(row, T0)[3:6] == [0.0, 0.0, 0.0]

    plans: list[dict[str, Scalar]] = [{"plan": p, "level": n} for p, n in (("free", 1.0), ("team", 2.5), ("firm", 7.0))]
    found = [event(T0 + i, name, traits=plans[i]) for i, name in enumerate(["Ping", "Login", "Ping"])]
    columns, row = feed(event(T0), *found, catalog=catalog)
    x = features(columns, row, T0 + 2.0)
    assert columns.names == ["Order", "Ping", "*"]
    assert (x["total:Ping"], x["total:*"]) == pytest.approx((math.log1p(2), math.log1p(1)))
    # The third value of the trait has no column, and is the one that the user has.
    assert (x["trait:plan=free"], x["trait:plan=team"], x["trait:level"]) == (0.0, 0.0, 7.0)


# --- scores ---


def test_the_heuristic_by_hand() -> None:
    catalog = make(
        predictions={
            "orders": {"name": "o", "goal": {"did": "Order"}, "window": "7d"},
            "both": {"name": "b", "goal": {"all": [{"did": "Order"}, {"did_not": "View"}]}, "window": "7d"},
            "quiet": {"name": "q", "goal": {"did_not": "Order"}, "window": "7d"},
            "cart": {"name": "c", "goal": {"did": "Cart"}, "window": "7d"},
        }
    )
    orders, both, quiet, cart = prediction_rules(catalog)
    _, row = feed(event(T0), event(T0 + DAY_S), event(T0 + 2 * DAY_S, "View"), catalog=catalog)
    at_s = T0 + 4 * DAY_S
    assert heuristic(orders, row, at_s) == math.log1p(2) - 0.7 * math.log1p(3)
    assert heuristic(both, row, at_s) == math.log1p(3) - 0.7 * math.log1p(2)
    assert heuristic(quiet, row, at_s) == -heuristic(orders, row, at_s)
    assert heuristic(cart, row, at_s) == math.log1p(3) - 0.7 * math.log1p(2) - 10.0


def test_a_percentile_is_the_middle_of_ones_bin() -> None:
    def percentile(z: float, bins: dict[int, int]) -> float:
        return PredictionVersion(0, FrozenModel({}, 0.0, {}, {}), bins).percentile(z, Margins())

    step = 24 / 1_024
    assert percentile(0.0, {}) == 50.0
    assert percentile(0.5 * step, {511: 3, 512: 2, 513: 5}) == 100 * (3 + 1) / 10
    assert percentile(-0.5 * step, {511: 3, 512: 2}) == 100 * 1.5 / 5
    assert percentile(-99.0, {0: 1, 700: 1}) == 25.0
    assert percentile(99.0, {0: 1, 1_023: 1}) == 75.0


def test_a_category_is_left_only_past_its_edge_by_the_hysteresis() -> None:
    rule = prediction_rules(make())[0]  # edges 50 and 75, hysteresis 5
    path = [
        (49.9, 0),
        (54.9, 0),
        (55.0, 1),
        (45.0, 1),
        (79.9, 1),
        (80.0, 2),
        (70.0, 2),
        (100.0, 2),
        (69.9, 1),
        (44.9, 0),
    ]
    category = None
    for score, expected in path:
        category = next_category(category, score, rule, Margins())
        assert category == expected, score
    assert next_category(0, 99.0, rule, Margins()) == 2
    assert next_category(2, 0.0, rule, Margins()) == 0


def test_a_frozen_model_says_what_rivers_pipeline_says() -> None:
    model = OnlineModel(memory_examples=1_000)
    for i in range(40):
        model.learn([i % 3, i % 7, 5.0], int(i % 3 > 0), 2.0 if i % 2 else 1.0)
    frozen = model.freeze()
    for i in range(5):
        x = [float(i), 3.0, 6.0]
        said = model.pipeline.predict_proba_one(dict(enumerate(x)))[True]
        assert sigmoid(frozen.logit(x)) == pytest.approx(said, abs=1e-12)
        assert said != 0.5
    before = frozen.logit([1.0, 2.0, 3.0])
    model.learn([1.0, 2.0, 3.0], 1, 1.0)
    assert frozen.logit([1.0, 2.0, 3.0]) == before


# --- labels ---


@pytest.mark.parametrize(
    ("offset_s", "label"), [(0.0, 0), (0.25, 1), (3_599.75, 1), (3_600.0, 1), (3_600.25, 0), (-1.0, 0)]
)
def test_a_window_is_open_at_its_start_and_closed_at_its_end(offset_s: float, label: int) -> None:
    example = {"user": "ada", "time_s": T0}
    log: list[Any] = [event(T0 + offset_s), event(T0 + 5.0, user="bob"), event(T0 + 5.0, "View")]
    assert brute_labels(log, [example], {"did": "Order"}, HOUR_S) == [label]
    assert brute_labels(log, [example], {"did_not": "Order"}, HOUR_S) == [1 - label]


def test_goals_join_atoms_and_each_condition_is_on_one_event() -> None:
    dear, red = event(T0, properties={"price": 9}), event(T0, properties={"color": "red"})
    where = {"price": {"min": 9}, "color": {"equals": "red"}}
    assert not goal_reached({"did": "Order", "where": where}, [dear, red])
    assert goal_reached({"did": "Order", "where": where}, [event(T0, properties={"price": 9.5, "color": "red"})])
    assert goal_reached({"all": [{"did": "Order"}, {"did_not": "View"}]}, [dear])
    assert not goal_reached({"all": [{"did": "Order"}, {"did_not": "View"}]}, [dear, event(T0, "View")])
    assert goal_reached({"any": [{"did": "Order"}, {"did_not": "View"}]}, [])
    # Types count: true is not 1, text is not a number, and null is not there.
    assert not goal_reached(
        {"did": "Order", "where": {"price": {"equals": 1}}}, [event(T0, properties={"price": True})]
    )
    assert not goal_reached({"did": "Order", "where": {"price": {"min": 0}}}, [event(T0, properties={"price": "5"})])
    assert goal_reached(
        {"did": "Order", "where": {"price": {"exists": False}}}, [event(T0, properties={"price": None})]
    )


def test_a_label_is_handed_out_at_the_first_whole_hour_after_the_window() -> None:
    log: list[Any] = [
        event(T0 + 600.0, "View"),
        event(T0 + 4_200.0),
    ]  # 00:10, and 01:10 which is the window's last instant
    result = run(make(), [*log, Advance(T0 + 2 * HOUR_S)], hashes=QUIET)
    assert [(e["time_s"] - T0, e["label"], e["handed_s"] - T0) for e in result.examples] == [(600.0, 1, 7_200.0)]

    assert run(make(), [*log, Advance(T0 + 2 * HOUR_S - 0.25)], hashes=QUIET).examples == []

    late = run(make(time={"lateness": "1h"}), [*log, Advance(T0 + 9 * HOUR_S)], hashes=QUIET)
    assert [e["handed_s"] - T0 for e in late.examples] == [3 * HOUR_S, 4 * HOUR_S]

    # An event of the last instant is inside, and comes when the ticks up to its own time are over.
    on_the_hour = run(make(), [event(T0, "View"), event(T0 + HOUR_S), Advance(T0 + 2 * HOUR_S)], hashes=QUIET)
    assert [(e["label"], e["handed_s"] - T0) for e in on_the_hour.examples] == [(1, 2 * HOUR_S)]


def test_examples_wait_for_those_made_before_them() -> None:
    log: list[Any] = [
        event(T0 + 3_000.0, "View"),
        event(T0 - 5 * HOUR_S, "View", user="bob", log_time_s=T0 + 3_000.0),
        Advance(T0 + HOUR_S),
    ]
    assert run(make(), log, hashes=QUIET).examples == []
    result = run(make(), [*log, Advance(T0 + 2 * HOUR_S)], hashes=QUIET)
    assert [(e["user"], e["handed_s"] - T0) for e in result.examples] == [("ada", 2 * HOUR_S), ("bob", 2 * HOUR_S)]


def test_a_snapshot_arises_at_every_hour_after_something_was_recorded() -> None:
    shard = ReferenceShard(make(), lambda _: LiveAfter(1_000), QUIET)
    versions: list[float] = []

    def version() -> float:
        return 0.0 if shard.version is None else shard.version.number - T0 / HOUR_S

    for one in (event(T0 + 5.0, "View"), Advance(T0 + 3_599.0), Advance(T0 + HOUR_S), Advance(T0 + 1.9 * HOUR_S)):
        shard.take(one)
        versions.append(version())
    # At 02:00 the label of the only example is known; then nothing happens any more.
    for hours in (2, 3, 9):
        shard.take(Advance(T0 + hours * HOUR_S))
        versions.append(version())
    assert versions == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    assert shard.version is not None
    assert sum(shard.version.predictions["orders"].bins.values()) == 1


def test_events_of_one_instant_are_one_example_and_late_ones_none() -> None:
    log: list[Any] = [
        event(T0 + 5.0, "View"),
        event(T0 + 5.0, "View"),
        event(T0 + 5.0, None, traits={"plan": "x"}),
        event(T0 + 4.0, "View"),
        event(T0 + 5.0, "View"),
        event(T0 + 5.0, "View", user="bob"),
    ]
    result = run(make(), [*log, Advance(T0 + 3 * HOUR_S)], hashes=QUIET)
    assert [(e["user"], e["time_s"] - T0, e["kind"]) for e in result.examples] == [
        ("ada", 5.0, "event"),
        ("bob", 5.0, "event"),
    ]
    # The last event of the instant replaced the features: four views have been by then.
    assert result.examples[0]["features"]["total:View"] == pytest.approx(math.log1p(4))


def test_a_goal_that_comes_after_its_labels_is_counted() -> None:
    log: list[Any] = [event(T0, "View"), Advance(T0 + 2 * HOUR_S), event(T0 + 60.0), event(T0 + 3 * HOUR_S)]
    result = run(make(), log, hashes=QUIET)
    assert result.counters["late_goals"] == 1
    # The late event is in order for its user, so it is an example itself, with nothing in its own hour.
    assert [(e["time_s"] - T0, e["label"]) for e in result.examples] == [(0.0, 0), (60.0, 0)]


# --- looks ---


def test_looks_for_silence_are_daily_at_first_then_a_fifth_apart() -> None:
    days = []
    after_s = T0
    for _ in range(8):
        after_s = silence_look(T0, 0.5, after_s)
        days.append((after_s - T0) / DAY_S)
    assert days[:5] == [1.5, 2.5, 3.5, 4.5, 5.5]
    # 5.5 * 1.2 = 6.6 days are 9504 minutes, 7.92 days 11404.8, which is rounded up.
    assert [round(day * 1_440, 6) for day in days[5:]] == [9_504, 11_405, 13_686]


def test_looks_are_rounded_up_to_the_minute() -> None:
    assert silence_look(T0 + 0.25, 0.0, T0) == T0 + DAY_S + 60.0
    assert silence_look(T0, 0.0, T0) == T0 + DAY_S
    assert silence_look(T0, 0.0, T0 + DAY_S) == T0 + 2 * DAY_S


def test_weekly_looks_have_their_own_phase_and_need_a_day_of_silence() -> None:
    monday = 2_817 * 7 * DAY_S  # weeks are counted from a Thursday, 1970-01-01
    assert monday == 1_703_721_600.0
    phase = 0.5
    first = monday + 3.5 * DAY_S
    assert weekly_look(monday, phase, monday) == first
    assert weekly_look(first - DAY_S, phase, first - DAY_S) == first
    assert weekly_look(first - DAY_S + 0.25, phase, first - DAY_S + 0.25) == first + 7 * DAY_S
    assert weekly_look(monday, phase, first) == first + 7 * DAY_S


def test_a_silent_user_leaves_weekly_examples() -> None:
    # T0 is 2818 weeks less a day and so on: the phase is chosen so that the weekly minute is two days after T0.
    phase = (WEEK_AT_T0 + 2 / 7) % 1.0
    hashes = Hashes(look_phase=lambda _: 0.5, week_phase=lambda _: phase)
    result = run(make(), [event(T0), Advance(T0 + 17 * DAY_S)], hashes=hashes)
    silent = [e for e in result.examples if e["kind"] == "silent"]
    assert [(e["time_s"] - T0) / DAY_S for e in silent] == pytest.approx([2.0, 9.0, 16.0], abs=MINUTE_S / DAY_S)
    assert [e["label"] for e in silent] == [0, 0, 0]


def test_look_times_that_are_past_are_not_caught_up_with() -> None:
    log = [event(T0 + 10.0, user="bob"), event(T0 - 20 * DAY_S, log_time_s=T0 + 10.0)]
    shard = ReferenceShard(make(), lambda _: LiveAfter(1_000), QUIET)
    for one in log:
        shard.take(one)
    # 5.5 days times 1.2 to the seventh are 19.7 days, to the eighth 23.6: but a weekly minute comes before that.
    assert shard.users["ada"].next_look_s == weekly_look(T0 - 20 * DAY_S, 0.25, T0)
    assert T0 < shard.users["ada"].next_look_s < T0 + 3.6 * DAY_S
    shard.take(Advance(T0 + 600.0))
    assert shard.counters["looks"] == 0


def test_a_look_that_finds_nothing_leaves_no_trace() -> None:
    def look_at(plan: str) -> tuple[int, int, float]:
        orders = {"name": "o", "goal": {"did": "Order"}, "window": "90d", "scale": "probability"}
        audience = {"trait": "plan", "equals": "team"}
        shard = ReferenceShard(
            make(predictions={"orders": {**orders, "audience": audience}}), lambda _: LiveAfter(1_000), QUIET
        )
        for one in (event(T0, traits={"plan": plan}), Advance(T0 + 1.7 * DAY_S)):
            shard.take(one)
        assert weekly_look(T0, 0.25, T0) > T0 + 1.7 * DAY_S
        return shard.counters["looks"], shard.counters["recorded_looks"], shard.users["ada"].said.scored_t - T0

    # In the audience her score falls with every day; outside there is nothing to say.
    assert look_at("team") == (1, 1, 1.5 * DAY_S)
    assert look_at("free") == (1, 0, 0.0)


# --- filters ---


def test_windows_are_whole_hours_up_to_two_days_and_whole_days_above() -> None:
    at_s = T0 + 10 * HOUR_S + 1_800.0  # 10:30
    assert count_within([T0 + 10 * HOUR_S], HOUR_S, at_s) == 1
    assert count_within([T0 + 10 * HOUR_S - 0.25], HOUR_S, at_s) == 0
    assert count_within([T0 + 9 * HOUR_S, T0 + 9 * HOUR_S - 0.25], 2 * HOUR_S, at_s) == 1
    assert count_within([T0 - 38 * HOUR_S + HOUR_S], 48 * HOUR_S, at_s) == 1
    assert count_within([T0 - 38 * HOUR_S + HOUR_S - 0.25], 48 * HOUR_S, at_s) == 0
    # Three days: today, yesterday and the day before, from its first second.
    assert count_within([T0 - 2 * DAY_S], 3 * DAY_S, at_s) == 1
    assert count_within([T0 - 2 * DAY_S - 0.25], 3 * DAY_S, at_s) == 0
    assert count_within([T0], 3 * DAY_S, T0 + 3 * DAY_S - 0.25) == 1
    assert count_within([T0], 3 * DAY_S, T0 + 3 * DAY_S) == 0


def test_filters_of_history_and_traits() -> None:
    log: list[Any] = [event(T0), event(T0 + 60.5), event(T0, None, traits={"plan": "team", "level": 2.0})]

    def holds(filter_: dict[str, Any], at_s: float = T0 + HOUR_S) -> bool:
        return brute_filter(filter_, log, at_s)

    assert holds({"event": "Order", "count": {"min": 2, "max": 2}})
    assert not holds({"event": "Order", "count": {"min": 2}}, T0 + 60.0)
    assert holds({"event": "View", "count": {"max": 0}})
    assert not holds({"event": "View", "since": {"min": 0.0}})
    # The latest time is kept in whole seconds: 60.5 is 60.
    assert holds({"event": "Order", "since": {"min": 100.0}}, T0 + 160.0)
    assert not holds({"event": "Order", "since": {"max": 100.0}}, T0 + 160.0)
    assert holds({"event": "Order", "since": {"max": 100.0}}, T0 + 159.75)
    assert holds({"trait": "plan", "in": ["free", "team"]})
    assert holds({"all": [{"trait": "level", "min": 2, "max": 2}, {"not": {"trait": "vip", "exists": True}}]})
    assert not holds({"any": [{"trait": "level", "equals": True}, {"trait": "plan", "min": 0}]})


def test_score_ranges_are_half_open_but_for_100_and_widened_for_members() -> None:
    def holds(bounds: dict[str, float], score: float | None, widen: float = 0.0) -> bool:
        facts = Facts([], {}, T0, {"p": Answer(score=score)}, widen={"p": widen})
        return evaluate({"prediction": "p", "score": bounds}, facts)

    middle = {"min": 40.0, "max": 60.0}
    assert [holds(middle, score) for score in (39.9, 40.0, 59.9, 60.0)] == [False, True, True, False]
    assert [holds(middle, score, 5.0) for score in (34.9, 35.0, 64.9, 65.0)] == [False, True, True, False]
    assert [holds({"min": 90.0, "max": 100.0}, score) for score in (89.9, 100.0)] == [False, True]
    assert not holds({"max": 99.0}, 100.0)
    assert not holds(middle, None, 5.0)


def test_likelihood_ranges_are_not_widened() -> None:
    facts = Facts([], {}, T0, {"p": Answer(likelihood=0.39)}, widen={"p": 5.0})
    assert not evaluate({"prediction": "p", "likelihood": {"min": 0.4}}, facts)
    assert evaluate({"prediction": "p", "likelihood": {"min": 0.39, "max": 1.0}}, facts)


# --- segments ---


def test_a_segment_of_recency_is_entered_by_the_event_and_left_by_silence() -> None:
    segments = {"fresh": {"name": "f", "filter": {"event": "Order", "since": {"max": "1d"}}}}
    log: list[Any] = [event(T0 + 10.5), event(T0 + 20.0, "View"), Advance(T0 + 3 * DAY_S), event(T0 + 4 * DAY_S)]
    result = run(make(segments=segments), log, hashes=QUIET)
    assert short(result) == [
        ("ada", "+fresh", 1, 10.5, "live"),
        ("ada", "-fresh", 2, DAY_S + 60.0, "decay"),
        ("ada", "+fresh", 3, 4 * DAY_S, "live"),
    ]
    first, left, again = result.transitions
    assert [t["entered_at"] - T0 for t in result.transitions] == [10.5, 10.5, 4 * DAY_S]
    assert [t["entry_count"] for t in result.transitions] == [1, 1, 2]
    assert [t["is_reentry"] for t in result.transitions] == [False, False, True]
    assert (first["message_hash"], left["message_hash"]) == (log[0].message_hash, None)
    assert (again["prediction"], again["caused_by_goal"]) == (None, False)
    assert result.memberships == fold(result.transitions) == {"fresh": {"ada"}}


def test_a_window_is_left_at_the_end_of_its_bucket() -> None:
    segments = {"busy": {"name": "b", "filter": {"event": "View", "count": {"min": 2}, "within": "5h"}}}
    log: list[Any] = [event(T0 + 600.0, "View"), event(T0 + 4_000.0, "View"), Advance(T0 + DAY_S)]
    result = run(make(segments=segments, history=["View"]), log, hashes=QUIET)
    # The first view is in the hour from 00:00, which leaves the last five hours at 05:00.
    assert short(result) == [("ada", "+busy", 1, 4_000.0, "live"), ("ada", "-busy", 2, 5 * HOUR_S, "decay")]


def test_a_change_is_held_back_until_it_has_lasted() -> None:
    team = {"trait": "plan", "equals": "team"}
    segments = {
        "after": {"name": "a", "filter": {"segment": "slow"}},
        "slow": {"name": "s", "filter": team, "min_dwell": "1h"},
    }

    def plan(at_s: float, value: str) -> Event:
        return event(at_s, None, traits={"plan": value})

    log: list[Any] = [
        plan(T0 + 30.0, "team"),
        plan(T0 + 1_800.0, "free"),  # the change is broken off
        plan(T0 + 3_600.0, "team"),
        plan(T0 + 7_190.0, "free"),  # again, ten seconds too early
        plan(T0 + 7_200.5, "team"),
        Advance(T0 + 4 * HOUR_S),
        plan(T0 + 4 * HOUR_S, "free"),
        Advance(T0 + 6 * HOUR_S),
    ]
    result = run(make(segments=segments), log, live_after=1_000, hashes=QUIET)
    # 7200.5 s + 1 h is 03:00:00.5; the look is at the whole minute after it. A snapshot
    # has come by then, and does not make it due: what is published is that time has passed.
    assert short(result) == [
        ("ada", "+slow", 1, 3 * HOUR_S + 60.0, "decay"),
        ("ada", "+after", 1, 3 * HOUR_S + 60.0, "decay"),
        ("ada", "-slow", 2, 5 * HOUR_S, "decay"),
        ("ada", "-after", 2, 5 * HOUR_S, "decay"),
    ]


def test_exits_go_out_before_entries_in_the_order_of_evaluation() -> None:
    def plan(name: str) -> dict[str, Any]:
        return {"name": name, "filter": {"trait": "plan", "equals": name}}

    segments = {"c": {"name": "c", "filter": {"segment": "b"}}, "a": plan("free"), "b": plan("team")}
    log: list[Any] = [
        event(T0 + at, None, traits={"plan": value}) for at, value in ((0.0, "free"), (1.0, "team"), (2.0, "free"))
    ]
    result = run(make(segments=segments), log, hashes=QUIET)
    assert [move for _, move, *_ in short(result)] == ["+a", "-a", "+b", "+c", "-b", "-c", "+a"]
    order = [rule.id for rule in segment_rules(make(segments=segments))]
    assert order == ["orders.low", "orders.medium", "orders.high", "a", "b", "c"]


def test_fold_refuses_gaps_and_wrong_directions() -> None:
    def move(sequence: int, inside: bool) -> dict[str, Any]:
        return {"user": "ada", "segment": "s", "sequence": sequence, "in_segment": inside}

    assert fold([move(1, True), move(2, False), move(3, True)]) == {"s": {"ada"}}
    assert fold([move(1, True), move(2, False)]) == {}
    for wrong in ([move(2, False)], [move(1, False)], [move(1, True), move(3, True)], [move(1, True), move(1, True)]):
        with pytest.raises(ValueError, match="sequence"):
            fold(wrong)


# --- warm-up ---


def test_nothing_goes_out_while_warming_then_everybody_is_published_a_few_a_minute() -> None:
    catalog = make(limits={"backfill_users_per_minute": 2})
    log: list[Any] = [event(T0 + i, "View", f"user{i}") for i in range(5)]
    warming = run(catalog, [*log, Advance(T0 + 9 * HOUR_S)], live_after=6, hashes=QUIET)
    assert (warming.transitions, warming.statuses) == ([], {"orders": 0})
    assert {likelihood for user in warming.users.values() for likelihood, _, _ in user.values()} == {None}

    live = run(catalog, [*log, Advance(T0 + 4 * HOUR_S)], live_after=5, hashes=QUIET)
    # Windows end after 01:00, so the labels are known at 02:00, and the snapshot of that hour serves.
    when = [(t["user"], t["time_s"] - T0 - 2 * HOUR_S, t["origin"], t["in_segment"]) for t in live.transitions]
    assert when == [(f"user{i}", 60.0 * (i // 2), "backfill", True) for i in range(5)]
    assert {t["model_version"] for t in live.transitions} == {int((T0 + 2 * HOUR_S) // HOUR_S)}
    assert all(likelihood is not None for user in live.users.values() for likelihood, _, _ in user.values())
    # Its distribution is of its own rank values: five users who are alike are in the middle of it.
    assert {t["score"] for t in live.transitions} == {50.0}


def test_a_preview_is_published_to_everybody_but_enters_nothing() -> None:
    predictions = {"orders": {"name": "o", "goal": {"did": "Order"}, "window": "1h", "access": "preview"}}
    log = [event(T0 + i, "View", f"user{i}") for i in range(3)]
    result = run(make(predictions=predictions), [*log, Advance(T0 + 3 * HOUR_S)], live_after=3, hashes=QUIET)
    assert result.transitions == []
    assert result.statuses == {"orders": 2}
    assert all(likelihood is not None for user in result.users.values() for likelihood, _, _ in user.values())


def test_a_transition_says_whether_the_goal_itself_has_caused_it() -> None:
    predictions = {
        "orders": {
            "name": "o",
            "goal": {"did": "Order", "where": {"price": {"min": 5}}},
            "window": "1h",
            "audience": {"any": [{"event": "Order", "count": {"min": 1}}, {"trait": "plan", "exists": True}]},
        }
    }
    log: list[Any] = [
        event(T0, properties={"price": 9}),
        Advance(T0 + 3 * HOUR_S),
        event(T0 + 4 * HOUR_S, user="bob", properties={"price": 9}),
        event(T0 + 5 * HOUR_S, user="eve", properties={"price": 1}),
        event(T0 + 6 * HOUR_S, None, user="dan", traits={"plan": "free"}),
    ]
    result = run(make(predictions=predictions), log, live_after=1, hashes=QUIET)
    firsts: dict[str, tuple[str, bool]] = {}
    for t in result.transitions:
        firsts.setdefault(t["user"], (t["origin"], t["caused_by_goal"]))
    assert firsts == {"ada": ("backfill", False), "bob": ("live", True), "eve": ("live", False), "dan": ("live", False)}


@pytest.mark.parametrize("access", ["live", "preview"])
def test_a_crossing_leaves_an_example_that_is_judged_and_never_learned(access: str) -> None:
    learned: list[str] = []

    class Watched(LiveAfter):
        def learned(self, example: Any) -> None:
            super().learned(example)
            learned.append(example["kind"])

    orders = {"name": "o", "goal": {"did": "Order"}, "window": "1h", "scale": "probability", "access": access}
    catalog = make(predictions={"orders": {**orders, "categories": {"medium": 30, "high": 45}, "hysteresis": 0}})
    log: list[Any] = []
    for i in range(36):
        log += [event(T0 + 600.0 * i), event(T0 + 600.0 * i + 5.0, "View", user="bob")]
    # Every order of bob's makes the next more likely to the model; the fourth one takes him past 30.
    start_s = T0 + 6 * HOUR_S
    log += [event(start_s + 60.0 * i, user="bob") for i in range(5)]
    result = run(catalog, [*log, Advance(start_s + 3 * HOUR_S)], warmup=lambda _: Watched(20), hashes=QUIET)
    moves = [(t["user"], t["segment"], t["time_s"] - start_s) for t in result.transitions if t["origin"] == "live"]
    published = [("bob", "orders.low", 180.0), ("bob", "orders.medium", 180.0)]
    assert moves == (published if access == "live" else [])
    assert all(t["caused_by_goal"] for t in result.transitions if t["origin"] == "live")
    crossings = [e for e in result.examples if e["kind"] == "crossing"]
    judged = [(e["user"], e["time_s"] - start_s, e["category"], e["label"]) for e in crossings]
    assert judged == [("bob", 180.0, "medium", 1)]
    assert set(learned) == {"event"}


def test_leaving_the_audience_takes_the_score_away_and_says_so() -> None:
    predictions = {
        "quiet": {
            "name": "q",
            "kind": "churn",
            "goal": {"did_not": "Order"},
            "window": "1h",
            "lookback": "1d",
            "scale": "probability",
        }
    }
    log: list[Any] = [event(T0), event(T0 + 1.0), event(T0 + 2.0), Advance(T0 + 4 * HOUR_S), Advance(T0 + 2 * DAY_S)]
    result = run(make(predictions=predictions), log, live_after=1, hashes=QUIET)
    entered, *between, left = result.transitions
    assert (entered["origin"], entered["in_segment"]) == ("backfill", True)
    assert (left["origin"], left["in_segment"], left["time_s"]) == ("audience", False, T0 + 2.0 + DAY_S + 58.0)
    assert (left["score"], left["category"]) == (None, None)
    assert left["previous_score"] is not None
    assert all(t["origin"] != "audience" for t in between)
    assert result.users["ada"]["quiet"] == (None, None, None)


def test_a_new_snapshot_is_told_apart_from_the_event_that_brings_it_up() -> None:
    predictions = {"orders": {"name": "o", "goal": {"did": "Order"}, "window": "1h", "scale": "probability"}}
    catalog = make(predictions=predictions)
    log: list[Any] = [event(T0 + 60.0 * i, "View" if i % 3 else "Order") for i in range(12)]
    log += [Advance(T0 + 3 * HOUR_S), event(T0 + 4 * HOUR_S), Advance(T0 + 6 * HOUR_S), event(T0 + 6.5 * HOUR_S)]
    result = run(catalog, log, live_after=1, hashes=QUIET)
    assert result.transitions[0]["origin"] == "backfill"
    assert {t["origin"] for t in result.transitions} <= {"backfill", "model", "live", "decay"}
    by_event = [t for t in result.transitions if t["origin"] == "live"]
    assert all(t["caused_by_goal"] and t["message_hash"] is not None for t in by_event)
    assert all(t["message_hash"] is None for t in result.transitions if t["origin"] != "live")


def test_the_products_own_warm_up_fits_in() -> None:
    rule = ProductWarmup(min_goals=30)
    for n in range(120):
        goal = n % 3 == 0
        likelihood, heuristic = (0.9, -1.0) if goal else (0.1, 1.0)
        example = {"label": int(goal), "user": f"user{n}", "kind": "event", "time_s": T0, "weight": 1.0}
        rule.learned({**example, "likelihood": likelihood, "heuristic": heuristic})
        assert rule.beaten() == (n >= 87)  # the thirtieth user with the goal is number 87
    result = run(make(), [event(T0), Advance(T0 + 9 * HOUR_S)], warmup=lambda _: ProductWarmup())
    assert result.statuses == {"orders": 0}


# --- inputs ---


def test_duplicates_bad_records_and_the_future() -> None:
    log: list[Any] = [
        event(T0, "View", message_hash=7),
        event(T0 + 9 * DAY_S, message_hash=7),
        BadEvent(DeadReason.BAD_TIME, "", 2, b""),
        event(T0 + 400 * DAY_S, log_time_s=T0 + 60.0),
        event(T0 + 360.0, log_time_s=T0 + 60.0),
    ]
    shard = ReferenceShard(make(), lambda _: LiveAfter(1_000), QUIET)
    for one in log:
        shard.take(one)
    assert dict(shard.counters) == {"events": 3, "duplicates": 1, "bad": 1, "moved_back": 1}
    assert shard.clock == T0 + 360.0
    assert [e.time_s - T0 for e in shard.users["ada"].row.log] == [0.0, 60.0, 360.0]


def test_only_the_last_message_ids_are_remembered() -> None:
    log: list[Any] = [event(T0 + i, message_hash=h) for i, h in enumerate([1, 2, 3, 1, 3])]
    assert run(tighten(make(), dedupe_ids=3), log).counters["duplicates"] == 2
    assert run(tighten(make(), dedupe_ids=2), log).counters["duplicates"] == 1
    assert run(tighten(make(), dedupe_ids=0), log).counters.get("duplicates", 0) == 0


def test_at_the_bound_examples_are_thinned_by_hash_and_weighted() -> None:
    keep = {"user0": 0.9, "user1": 0.4, "user2": 0.1, "user3": 0.6, "user4": 0.3}
    hashes = Hashes(lambda _: 0.5, lambda _: 0.25, lambda user, _: keep[user])
    log: list[Any] = [event(T0 + i, "View", f"user{i}") for i in range(5)]
    result = run(tighten(make(), pending_examples=3), [*log, Advance(T0 + 3 * HOUR_S)], hashes=hashes)
    # The fourth meets a full store: the rate halves, user0 (0.9) goes, and so does the fourth itself (0.6).
    assert [(e["user"], e["weight"]) for e in result.examples] == [("user1", 2.0), ("user2", 2.0), ("user4", 2.0)]


def test_close_calls_are_noted_and_equal_numbers_are_not_close() -> None:
    margins = Margins(1e-7)
    margins.note("edge", 50.0, 50.0)
    margins.note("edge", 50.1, 50.0)
    assert margins.close_calls == []
    margins.note("edge", 50.0000001, 50.0)
    assert len(margins.close_calls) == 1


def test_users_beyond_the_limit_are_refused_before_anything_else() -> None:
    shard = ReferenceShard(tighten(make(), users=1), lambda _: LiveAfter(1_000), QUIET)
    for one in [event(T0), event(T0 + DAY_S, user="bob", message_hash=7), event(T0 + 2.0, message_hash=7)]:
        shard.take(one)
    assert list(shard.users) == ["ada"]
    assert dict(shard.counters) == {"events": 2, "too_many_users": 1}
    assert shard.clock == T0 + 2.0


# --- laws on any log ---


def cases(count: int) -> settings:
    """A log takes longer to make and to run than hypothesis expects of a case."""
    return settings(
        max_examples=examples(count),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@cases(15)
@given(scenarios(min_events=20))
def test_folding_the_transitions_gives_the_memberships(scenario: tuple[Catalog, list[Any], int]) -> None:
    catalog, log, live_after = scenario
    result = run(catalog, log, live_after=live_after)
    assert fold(result.transitions) == result.memberships
    for transition in result.transitions:
        assert transition["origin"] in {"live", "decay", "model", "backfill", "audience"}
        assert transition["entered_at"] <= transition["time_s"]
        assert not transition["caused_by_goal"] or transition["message_hash"] is not None


@cases(15)
@given(catalogs(), inputs(min_events=20, calm=True, noise=False))
def test_labels_equal_brute_force_over_the_whole_log(catalog: Catalog, log: list[Any]) -> None:
    result = run(catalog, log)
    for rule in prediction_rules(catalog):
        examples = [e for e in result.examples if e["prediction"] == rule.id]
        assert [e["label"] for e in examples] == brute_labels(log, examples, rule.goal, rule.window_s)


@cases(15)
@given(tight_catalogs(), inputs(min_events=40))
def test_bounds_hold_at_every_moment(catalog: Catalog, log: list[Any]) -> None:
    shard = ReferenceShard(catalog, lambda _: LiveAfter(3), Hashes())
    for one in log:
        shard.take(one)
        assert len(shard.pending.examples) <= catalog.limits.pending_examples
        assert len(shard.users) <= catalog.limits.users
        assert len(shard.accepted) == len(shard.accepted_set) <= catalog.limits.dedupe_ids


@cases(40)
@given(history_filters(), inputs(min_events=5, users=1, calm=True, noise=False), st.data())
def test_memberships_of_a_history_segment_equal_brute_force(
    filter_: dict[str, Any], log: list[Any], data: st.DataObject
) -> None:
    catalog = make(segments={"s": {"name": "s", "filter": filter_}}, history=["Order", "Cart", "View", "Return"])
    stop = data.draw(st.integers(1, len(log)))
    definition = segment_rules(catalog)[-1].filter
    result = run(catalog, log[:stop])
    at_s = log[stop - 1].time_s
    assert bool(result.memberships.get("s")) == brute_filter(definition, log[:stop], at_s)


@given(st.lists(st.integers(), max_size=30).flatmap(lambda items: st.tuples(st.just(items), cuts(len(items)))))
def test_cuts_keep_every_input_in_order(cut: tuple[list[int], list[int]]) -> None:
    items, places = cut
    assert [item for batch in batches(items, places) for item in batch] == items
