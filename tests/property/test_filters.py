"""Filters of the compiled core against brute force over a user's whole history.

Three ways: the program of a filter run at any time with any scores; memberships at any minute of the clock; and the
memberships of any log at the moment at which they were decided, with the scores that were said there.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit

from config.catalog import Catalog
from config.loader import loads
from models.layout import LAST_T, NO_CATEGORY, SCORED_T
from models.snapshot import Status
from streams.core.events import Event, Scalar
from streams.core.filters import STACK, holds
from streams.core.shard import Shard
from tests.conftest import examples
from tests.property.accepted import accept
from tests.property.engine import Driver
from tests.property.strategies import (
    COUNT_WINDOWS,
    EVENTS,
    SINCE_BOUNDS,
    START_S,
    catalog_texts,
    history_filters,
    inputs,
    prediction_leaves,
    to_yaml,
    trees,
)
from tests.property.strategies import history_leaves as leaves_of_history
from tests.reference.definitions import CATEGORIES, SegmentRule, segment_rules
from tests.reference.filters import Answer, Facts, bucket_s, evaluate
from tests.reference.margins import Margins
from tests.reference.reference_shard import Advance, Input

pytestmark = pytest.mark.timeout(900)
MINUTE_S, DAY_S = 60.0, 86_400.0
PREDICTIONS = ("p0", "p1")
CATEGORY_SEGMENTS = 3 * len(PREDICTIONS)


def cases(count: int) -> settings:
    return settings(
        max_examples=examples(count),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def catalog_of(filters: list[dict[str, Any]], hysteresis: float = 0) -> Catalog:
    """Segments s0, s1, ... with these filters, beside two predictions."""
    prediction = {"name": "p", "goal": {"did": "Order"}, "window": "1d", "hysteresis": hysteresis}
    return loads(
        to_yaml(
            {
                "version": 1,
                "name": "filters",
                "features": {"events": ["Order"], "half_lives_days": [7]},
                "history": list(EVENTS),
                "predictions": dict.fromkeys(PREDICTIONS, prediction),
                "segments": {f"s{n}": {"name": f"s{n}", "filter": filter_} for n, filter_ in enumerate(filters)},
            }
        )
    )


def traits_of(events: list[Event]) -> dict[str, Scalar]:
    """The latest value of each trait that arrived."""
    found: dict[str, Scalar] = {}
    for event in events:
        found.update(event.traits or {})
    return found


# --- the program of a filter, at any time and with any scores ---


_segment_names = tuple(f"{p}.{c}" for p in PREDICTIONS for c in CATEGORIES)
_any_filter = trees(
    st.one_of(
        leaves_of_history(EVENTS),
        leaves_of_history(EVENTS),
        prediction_leaves(PREDICTIONS),
        st.sampled_from(_segment_names).map(lambda name: {"segment": name}),
    ),
    most=10,
)
_scores = st.sampled_from([math.nan, 0.0, 7.5, 20.0, 35.0, 50.0, 57.5, 62.5, 75.0, 80.0, 92.5, 99.875, 100.0])
_likelihoods = st.sampled_from([math.nan, 0.0, 0.25, 0.3, 0.5, 0.515625, 0.6, 1.0])
_waits_s = st.one_of(
    st.just(0.0),
    st.sampled_from([30.0, 5_400.0, DAY_S, 3 * DAY_S, 10 * DAY_S, 30 * DAY_S, 90 * DAY_S]),
    st.integers(0, 40 * 24).map(lambda hours: hours * 3_600.0),
    st.integers(0, 4 * 40 * 86_400).map(lambda quarters: quarters / 4),
)


@st.composite
def _said(draw: st.DrawFn) -> dict[str, Any]:
    """What may be known of a user besides the history, as the loop hands it to a filter."""
    n = len(PREDICTIONS)
    return {
        "score": np.array([draw(_scores) for _ in range(n)]),
        "likelihood": np.array([draw(_likelihoods) for _ in range(n)]),
        "category": np.array([draw(st.sampled_from([0, 1, 2, NO_CATEGORY])) for _ in range(n)]),
        "member": np.array([draw(st.integers(0, 1)) for _ in range(CATEGORY_SEGMENTS)], np.uint8),
        "widen": np.array([draw(st.sampled_from([0.0, 0.0, 5.0, 12.5])) for _ in range(n)]),
    }


def _facts(said: dict[str, Any], events: list[Event], at_s: float) -> Facts:
    answers = {
        id_: Answer(
            score=_or_none(said["score"][p]),
            likelihood=_or_none(said["likelihood"][p]),
            category=None if said["category"][p] == NO_CATEGORY else int(said["category"][p]),
        )
        for p, id_ in enumerate(PREDICTIONS)
    }
    members = {name: bool(said["member"][g]) for g, name in enumerate(_segment_names)}
    widen = dict(zip(PREDICTIONS, said["widen"].tolist(), strict=True))
    return Facts(events, traits_of(events), at_s, answers, members, widen)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def run_program(shard: Shard, segment: int, row: int, at_s: float, said: dict[str, Any]) -> bool:
    """The compiled program of a segment's filter."""
    found = holds(
        shard.sealed["programs"],
        int(shard.definitions.segments.program[segment]),
        shard.sealed["rows"],
        shard.sealed["c"],
        shard.sealed["history"],
        row,
        at_s,
        said["score"],
        said["likelihood"],
        said["category"],
        said["member"],
        said["widen"],
        np.zeros(STACK, np.uint8),
    )
    return bool(found)


@cases(80)
@given(
    st.lists(_any_filter, min_size=3, max_size=6),
    inputs(users=4, min_events=8),
    st.lists(_waits_s, min_size=2, max_size=6),
    st.data(),
)
def test_a_filter_says_at_any_time_what_the_history_says(
    filters: list[dict[str, Any]], log: list[Input], waits_s: list[float], data: st.DataObject
) -> None:
    catalog = catalog_of(filters)
    driver = Driver(catalog, 10**9)
    driver.take(log)
    shard = driver.engine.shard
    rules = {rule.id: rule for rule in segment_rules(catalog)}
    for user in accept(catalog, log).users():
        events = accept(catalog, log).of(user)
        row = shard.users.find(user)
        assert row is not None
        last_s = float(max(shard.users.rows.t[row, LAST_T], shard.users.rows.t[row, SCORED_T]))
        for at_s in (last_s, *(last_s + wait_s for wait_s in waits_s)):
            said = data.draw(_said())
            for g, id_ in enumerate(shard.definitions.segment_ids[CATEGORY_SEGMENTS:], start=CATEGORY_SEGMENTS):
                wanted = evaluate(rules[id_].filter, _facts(said, events, at_s))
                assert run_program(shard, g, row, at_s, said) == wanted, (id_, user, at_s)


# --- time itself changes memberships ---


def _members(shard: Shard, row: int) -> dict[str, bool]:
    first = shard.definitions.layout.columns.u_sequence
    sequences = shard.users.rows.u[row, first : first + len(shard.definitions.segment_ids)]
    return {id_: bool(n & 1) for id_, n in zip(shard.definitions.segment_ids, sequences.tolist(), strict=True)}


@cases(80)
@given(
    st.lists(history_filters(), min_size=1, max_size=3),
    inputs(calm=True, noise=False, users=5, min_events=8),
    st.data(),
)
def test_at_every_minute_members_are_those_of_whom_the_filter_is_true(
    filters: list[dict[str, Any]], log: list[Input], data: st.DataObject
) -> None:
    """In a log without late events nobody is a member a minute longer than true, however silent; nor a minute later."""
    filters.append({"all": [{"segment": "s0"}, {"not": {"segment": f"s{len(filters) - 1}"}}]})
    catalog = catalog_of(filters)
    rules = [rule for rule in segment_rules(catalog) if not rule.uses]
    driver = Driver(catalog, 10**9)
    events: list[Event] = []
    places = data.draw(st.sets(st.integers(0, len(log)), min_size=2, max_size=8))
    for place, item in enumerate(log):
        assert isinstance(item, Event)
        if place in places and events:
            # Some minute before the event: what is due at the event's own minute may be still to come.
            latest_minute = math.floor(item.time_s / MINUTE_S)
            first_minute = math.ceil(events[-1].time_s / MINUTE_S)
            if first_minute <= latest_minute:
                _check_at(driver, rules, events, MINUTE_S * data.draw(st.integers(first_minute, latest_minute)))
        driver.take([item])
        events.append(item)
    _check_at(driver, rules, events, MINUTE_S * math.ceil(events[-1].time_s / MINUTE_S) + data.draw(_minutes_s))


_minutes_s = st.integers(0, 40 * 1_440).map(lambda minutes: minutes * MINUTE_S)


def _check_at(driver: Driver, rules: list[SegmentRule], events: list[Event], at_s: float) -> None:
    driver.take([Advance(at_s)])
    shard = driver.engine.shard
    for user in dict.fromkeys(event.user for event in events):
        own = [event for event in events if event.user == user]
        row = shard.users.find(user)
        assert row is not None
        found = _members(shard, row)
        wanted: dict[str, bool] = {}
        for rule in rules:
            wanted[rule.id] = evaluate(rule.filter, Facts(own, traits_of(own), at_s, members=wanted))
        assert {id_: found[id_] for id_ in wanted} == wanted, (user, at_s)


# --- windows and bounds at their very edges ---

_EDGE_FILTERS: list[dict[str, Any]] = [
    *({"event": "Order", "count": {"min": least}, "within": window} for window in COUNT_WINDOWS for least in (1, 2, 3)),
    *({"event": "Order", "since": {end: bound}} for bound in SINCE_BOUNDS[1:] for end in ("min", "max")),
]


@cache
def _edge_catalog() -> Catalog:
    return catalog_of(_EDGE_FILTERS)


_edge_gaps_s = st.builds(
    lambda whole_s, off_s: max(0.0, whole_s + off_s),
    st.sampled_from(
        [0.0, 0.0, 30.0, 5_400.0, *(n * 3_600.0 for n in (1, 5, 24, 48)), *(n * DAY_S for n in (3, 7, 30))]
    ),
    st.sampled_from([-0.25, 0.0, 0.0, 0.25, 60.0]),
)
_edge_steps = st.lists(st.tuples(_edge_gaps_s, st.booleans()), min_size=2, max_size=8)


def _edges(rules: list[SegmentRule], events: list[Event]) -> list[float]:
    """Every time at which an event falls out of a window, or reaches a bound."""
    found = set()
    for filter_ in (rule.filter for rule in rules):
        for event in events:
            if "within" in filter_:
                size_s = bucket_s(filter_["within"])
                found.add(math.floor(event.time_s / size_s) * size_s + filter_["within"])
            elif "since" in filter_:
                found |= {math.floor(event.time_s) + bound_s for bound_s in filter_["since"].values()}
    return sorted(found)


def _edge_log(steps: list[tuple[float, bool]]) -> list[Event]:
    """Orders at these distances, some of them told of only with the one behind."""
    times_s = [START_S + at_s for at_s in accumulate(gap_s for gap_s, _ in steps)]
    arrivals_s = [
        later if late else own
        for own, later, (_, late) in zip(times_s, [*times_s[1:], times_s[-1]], steps, strict=True)
    ]
    return [
        Event("ann", "Order", time_s, math.nan, n + 1, None, None, n, arrival_s)
        for n, (arrival_s, time_s) in enumerate(sorted(zip(arrivals_s, times_s, strict=True)))
    ]


_nothing_said = {
    "score": np.full(len(PREDICTIONS), math.nan),
    "likelihood": np.full(len(PREDICTIONS), math.nan),
    "category": np.full(len(PREDICTIONS), NO_CATEGORY),
    "member": np.zeros(CATEGORY_SEGMENTS + len(_EDGE_FILTERS), np.uint8),
    "widen": np.zeros(len(PREDICTIONS)),
}


@cases(60)
@given(_edge_steps)
def test_windows_and_bounds_are_exact_at_their_edges(steps: list[tuple[float, bool]]) -> None:
    catalog = _edge_catalog()
    rules = segment_rules(catalog)[CATEGORY_SEGMENTS:]
    events = _edge_log(steps)
    driver = Driver(catalog, 10**9)
    driver.take(events)
    shard = driver.engine.shard
    last_s = max(event.time_s for event in events)
    for at_s in [edge_s + off_s for edge_s in _edges(rules, events) for off_s in (-0.25, 0.0, 0.25)]:
        if at_s >= last_s:
            facts = Facts(events, {}, at_s)
            wanted = [evaluate(rule.filter, facts) for rule in rules]
            found = [run_program(shard, CATEGORY_SEGMENTS + n, 0, at_s, _nothing_said) for n in range(len(rules))]
            assert found == wanted, at_s - START_S


@cases(30)
@given(_edge_steps)
def test_who_is_a_member_changes_in_the_minute_of_the_edge(steps: list[tuple[float, bool]]) -> None:
    catalog = _edge_catalog()
    rules = segment_rules(catalog)[CATEGORY_SEGMENTS:]
    events = _edge_log([(gap_s, False) for gap_s, _ in steps])
    driver = Driver(catalog, 10**9)
    driver.take(events)
    minutes_s = {math.ceil(edge_s / MINUTE_S) * MINUTE_S for edge_s in _edges(rules, events)}
    for minute_s in sorted(minutes_s | {minute_s - MINUTE_S for minute_s in minutes_s}):
        if minute_s >= events[-1].time_s:
            _check_at(driver, rules, events, minute_s)


# --- any log, at the moment of the decision ---


def _plain(text: str) -> Catalog:
    """The catalog without what makes a membership depend on the one before: no hysteresis, no min_dwell."""
    data = yaml.safe_load(text)
    for prediction in data["predictions"].values():
        prediction["hysteresis"] = 0
    for segment in data["segments"].values():
        segment.pop("min_dwell", None)
        segment.pop("entry", None)
    return loads(to_yaml(data))


@cases(40)
@given(catalog_texts().map(_plain), inputs(users=5, min_events=15), st.integers(1, 6))
def test_memberships_follow_from_the_history_and_what_is_said_of_the_user(
    catalog: Catalog, log: list[Input], live_after: int
) -> None:
    driver = Driver(catalog, live_after)
    shard = driver.engine.shard
    rules = segment_rules(catalog)
    events = accept(catalog, log).events
    for item in log:
        before = shard.counters()["events"]
        driver.take([item])
        if shard.counters()["events"] > before:
            user = events[before].user
            _check_decided(catalog, shard, rules, [event for event in events[: before + 1] if event.user == user])


def _check_decided(catalog: Catalog, shard: Shard, rules: list[SegmentRule], own: list[Event]) -> None:
    row = shard.users.find(own[0].user)
    assert row is not None
    rows, c = shard.users.rows, shard.definitions.layout.columns
    statuses = [prediction.status for prediction in shard.snapshot.predictions]
    live = {id_: status is not Status.WARMING for id_, status in zip(catalog.predictions, statuses, strict=True)}
    answers = {}
    for p, id_ in enumerate(catalog.predictions):
        category = int(rows.b[row, c.b_category + p])
        z = float(rows.f[row, c.f_z + p])
        answers[id_] = Answer(
            score=_or_none(rows.f[row, c.f_score + p]),
            likelihood=None if math.isnan(z) or not live[id_] else float(expit(z)),
            category=None if category == NO_CATEGORY else category,
        )
    found = _members(shard, row)
    margins = Margins()
    wanted: dict[str, bool] = {}
    for rule in rules:
        facts = Facts(own, traits_of(own), float(rows.t[row, SCORED_T]), answers, wanted, margins=margins)
        targeted = all(live[id_] and catalog.predictions[id_].access == "live" for id_ in rule.uses)
        targeted = targeted and all(answers[id_].score is not None for id_ in rule.uses)  # null outside of the audience
        wanted[rule.id] = targeted and evaluate(rule.filter, facts)
    assume(not margins.close_calls)
    assert {id_: found[id_] for id_ in wanted} == wanted
