"""After a change of definitions users are judged by what is served of them: all, at once, and whenever that is done."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from config.catalog import AllFilter, AnyFilter, Catalog, Filter, NotFilter, ScoreFilter, walk
from config.loader import loads
from models.layout import FIRST_T
from streams.core.events import Event
from streams.core.state import REVIEW_NEXT
from streams.runtime.selecting import Selector
from streams.runtime.stored_rows import Said, StoredRows
from tests.conftest import examples
from tests.property.engine import Driver, seconds, shard_hashes
from tests.property.strategies import START_S, inputs, scenarios, tighten
from tests.property.test_redefine import _tracks, members
from tests.property.test_selecting import can_have_members, state_and_rows
from tests.reference.learning import LiveAfter
from tests.reference.reference_shard import Advance, Input, ReferenceShard

pytestmark = pytest.mark.timeout(900)
slow = settings(
    max_examples=examples(40),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
HOUR_S, DAY_S = 3_600.0, 86_400.0
AS_OF_THEN = ("model_version", "reasons")
"""Of a transition: by the model that is in force when it is written."""


def without_segment(catalog: Catalog, name: str) -> Catalog:
    segments = {other: one for other, one in catalog.segments.items() if other != name}
    return catalog.model_copy(update={"segments": segments})


def is_free(catalog: Catalog, name: str) -> bool:
    """Whether no other segment needs it, and all that it counts is counted without it."""
    others = without_segment(catalog, name)
    needed = {getattr(node, "segment", None) for one in others.segments.values() for node in walk(one.filter)}
    return name not in needed and _tracks(others) == _tracks(catalog)


@slow
@given(scenarios(min_events=8), st.data())
def test_a_new_segment_has_who_was_selected_before_it_was_made(
    scenario: tuple[Catalog, list[Input], int], data: st.DataObject
) -> None:
    catalog, log, live_after = scenario
    free = {n: one for n, one in catalog.segments.items() if is_free(catalog, n) and one.min_dwell_s == 0}
    names = [n for n, one in free.items() if one.entry == "now"]
    assume(names)
    added = data.draw(st.sampled_from(names))
    driver = Driver(without_segment(catalog, added), live_after, store=True)
    driver.take(log)
    state, rows = state_and_rows(driver)
    assume(bool(rows) and state.snapshot is not None)
    tree, users = catalog.segments[added].filter, StoredRows.of(state.definitions.layout, list(rows.values()))
    found = Selector.of(state, tree).chosen(users, Said.of(state, users))
    chosen = {user for user, is_one in zip(rows, found.tolist(), strict=True) if is_one}
    before = len(driver.outcome.transitions)
    driver.redefine(catalog)
    assert members(driver.engine.shard, added) == (chosen if can_have_members(state, tree) else set())
    told = [transition["data"] for transition in driver.outcome.decoded()[before:]]
    assert {(t["segment_id"], t["origin"], t["in_segment"]) for t in told} <= {(added, "backfill", True)}


def moved(tree: Filter, points: float) -> Filter:
    """The filter with the inner ends of its score ranges so many points further up."""
    if isinstance(tree, AllFilter | AnyFilter):
        return tree.model_copy(update={"filters": tuple(moved(inner, points) for inner in tree.filters)})
    if isinstance(tree, NotFilter):
        return tree.model_copy(update={"filter": moved(tree.filter, points)})
    if not isinstance(tree, ScoreFilter):
        return tree
    ends = {"min": tree.score.min, "max": tree.score.max}
    ends = {name: end + points if end is not None and 0.0 < end < 100.0 else end for name, end in ends.items()}
    return tree.model_copy(update={"score": tree.score.model_copy(update=ends)})


def with_moved_filters(catalog: Catalog, data: st.DataObject) -> Catalog:
    """The catalog with ranges of scores, in some of its segments, that are others."""
    points = {name: data.draw(st.sampled_from([0.0, -4.0, 4.0, 11.0])) for name in catalog.segments}
    segments = {
        name: one.model_copy(update={"filter": moved(one.filter, points[name])})
        for name, one in catalog.segments.items()
    }
    return catalog.model_copy(update={"segments": segments})


def with_moved_edges(catalog: Catalog, data: st.DataObject) -> Catalog:
    predictions = {
        name: one.model_copy(update={"categories": one.categories.model_copy(update={"medium": medium})})
        for name, one in catalog.predictions.items()
        if one.access == "live"
        for medium in [data.draw(st.sampled_from([one.categories.medium, one.categories.medium - 4.0]))]
    }
    return catalog.model_copy(update={"predictions": {**catalog.predictions, **predictions}})


@settings(slow, max_examples=examples(150))
@given(scenarios(min_events=20, users=5), st.data())
def test_an_edit_is_judged_as_by_the_reference(scenario: tuple[Catalog, list[Input], int], data: st.DataObject) -> None:
    catalog, log, live_after = scenario
    cut = data.draw(st.integers(len(log) // 2, len(log)))
    later = [*log[cut:], Advance(START_S + data.draw(WAITS))]
    after = with_moved_edges(with_moved_filters(catalog, data), data)
    reference = ReferenceShard(catalog, lambda _: LiveAfter(live_after), shard_hashes(), 2e-6)
    driver = Driver(catalog, live_after)
    for item in log[:cut]:
        reference.take(item)
    driver.take(log[:cut])
    if reference.clock is not None:
        reference.redefine(after)
    driver.redefine(after)
    for item in later:
        reference.take(item)
    driver.take(later)
    wanted = reference.result()
    assume(not wanted.close_calls)
    found = [told_of(one) for one in driver.outcome.decoded()]
    assert found == [
        (one["user"], one["segment"], one["in_segment"], one["sequence"], one["origin"], round(one["time_s"], 3))
        for one in wanted.transitions
    ]


def told_of(transition: dict[str, Any]) -> tuple[Any, ...]:
    data, number = transition["data"], int(transition["sequence"])
    at_s = round(seconds(transition["time"]), 3)
    return (data["user_id"], data["segment_id"], data["in_segment"], number, data["origin"], at_s)


@slow
@given(scenarios(min_events=8), st.data())
def test_an_edited_segment_has_who_its_new_filter_selects_and_others_are_left_alone(
    scenario: tuple[Catalog, list[Input], int], data: st.DataObject
) -> None:
    catalog, log, live_after = scenario
    segments = {n: one.model_copy(update={"min_dwell_s": 0.0, "entry": "now"}) for n, one in catalog.segments.items()}
    catalog = catalog.model_copy(update={"segments": segments})
    after = with_moved_filters(catalog, data)
    names = {name for name, one in after.segments.items() if one != catalog.segments[name]}
    needed = {getattr(node, "segment", None) for one in after.segments.values() for node in walk(one.filter)}
    assume(names and not names & needed)
    driver = Driver(catalog, live_after, store=True)
    driver.take(log)
    state, rows = state_and_rows(driver)
    assume(bool(rows) and state.snapshot is not None)
    users = StoredRows.of(state.definitions.layout, list(rows.values()))
    wanted = {name: members(driver.engine.shard, name) for name in catalog.segments}
    for name in names:
        tree = after.segments[name].filter
        found = Selector.of(state, tree).chosen(users, Said.of(state, users))
        chosen = {user for user, is_one in zip(rows, found.tolist(), strict=True) if is_one}
        wanted[name] = chosen if can_have_members(state, tree) else set()
    before = len(driver.outcome.transitions)
    driver.catalog = after
    driver.redefine(after)
    driver.restart()
    assert {name: members(driver.engine.shard, name) for name in catalog.segments} == wanted
    told = [transition["data"] for transition in driver.outcome.decoded()[before:]]
    assert {(t["segment_id"], t["origin"]) for t in told} <= {(name, "definition_change") for name in names}


def edited(catalog: Catalog, data: st.DataObject) -> Catalog:
    """The catalog with other edges, scales, ranges and dwells, and maybe without a segment."""
    catalog = with_moved_filters(catalog, data)
    draw: Any = data.draw
    predictions = {
        name: one.model_copy(
            update={
                "categories": one.categories.model_copy(update={"medium": draw(st.sampled_from([30.0, 50.0]))}),
                "scale": draw(st.sampled_from(["percentile", "probability"])),
                "archived": draw(st.integers(0, 4)) == 0,
            }
        )
        for name, one in catalog.predictions.items()
    }
    free = [name for name in catalog.segments if is_free(catalog, name)]
    changed = catalog.model_copy(update={"predictions": predictions})
    if free and draw(st.booleans()):
        changed = without_segment(changed, draw(st.sampled_from(free)))
    dwells = {name: draw(st.sampled_from([0.0, 60.0, 3_600.0])) for name in changed.segments}
    segments = {n: one.model_copy(update={"min_dwell_s": dwells[n]}) for n, one in changed.segments.items()}
    return changed.model_copy(update={"segments": segments})


@slow
@given(st.one_of(scenarios(min_events=8), scenarios(min_events=8, deletions=True, users=5)), st.data())
def test_when_users_are_reviewed_does_not_matter(
    scenario: tuple[Catalog, list[Input], int], data: st.DataObject
) -> None:
    catalog, log, live_after = scenario
    catalog = tighten(catalog, commit_users=1)
    one_way = data.draw(st.booleans())
    before, after = (edited(catalog, data), catalog) if one_way else (catalog, edited(catalog, data))
    cut = data.draw(st.integers(0, len(log)))
    at_once, by_and_by = Driver(before, live_after), Driver(before, live_after)
    for driver in (at_once, by_and_by):
        driver.take(log[:cut])
    at_once.redefine(after)
    by_and_by.begin_review(after)
    later = [*log[cut:], *data.draw(inputs(max_events=4)), Advance(log_end(at_once) + data.draw(WAITS))]
    for item in later:
        at_once.take([item])
        if data.draw(st.booleans()) and by_and_by.engine.shard.is_reviewing:
            by_and_by.review()
        by_and_by.take([item])
    while by_and_by.engine.shard.is_reviewing:
        by_and_by.review()
    assert by_user(by_and_by) == by_user(at_once)
    for view in ("t", "u", "f", "b"):
        found, wanted = (rows_of(one, view) for one in (by_and_by, at_once))
        assert found == wanted, view
    a, b = (one.engine.shard.population for one in (by_and_by, at_once))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def small(text: str = "", segments: str = "") -> Catalog:
    """One prediction with its further keys `text`, and segments."""
    return loads(
        "{version: 1, name: small, features: {events: [Order, View]}, limits: {backfill_users_per_minute: 1}, "
        f"predictions: {{p: {{name: Orders, goal: {{did: Order}}, window: 1d{text}}}}}, segments: {{{segments}}}}}"
    )


def order(user: str, after_s: float, number: int) -> Event:
    at_s = START_S + after_s
    return Event(user, "Order", at_s, np.nan, number, None, None, number, at_s)


def two_ways(before: Catalog, after: Catalog, log: list[Input], later: list[Input]) -> tuple[Driver, Driver]:
    """A change between the two parts of a log, with everybody reviewed at once, and at the end or before a moment."""
    at_once, late = Driver(before, 1_000), Driver(before, 1_000)
    for driver in (at_once, late):
        driver.take(log)
    at_once.redefine(after)
    late.begin_review(after)
    for driver in (at_once, late):
        driver.take(later)
    while late.engine.shard.is_reviewing:
        late.review()
    return at_once, late


def same(at_once: Driver, late: Driver) -> None:
    assert by_user(late) == by_user(at_once)
    assert all(rows_of(late, view) == rows_of(at_once, view) for view in ("t", "u", "f", "b"))


def test_which_hours_have_work_does_not_depend_on_when_users_are_reviewed() -> None:
    log: list[Input] = [order("a", 0, 1), order("b", 60, 2), Advance(START_S + 2 * HOUR_S)]
    later: list[Input] = [Advance(START_S + 5 * HOUR_S), order("a", 5 * HOUR_S + 60, 3)]
    edges = ", categories: {medium: 20, high: 40}"
    at_once, late = two_ways(small(), small(edges), log, later)
    same(at_once, late)
    assert late.engine.shard.snapshot.version == at_once.engine.shard.snapshot.version


def test_a_late_review_brings_no_look_that_one_at_once_would_not() -> None:
    held_back = "s: {name: S, filter: {event: Order, count: {min: %d}}, min_dwell: 1h}"
    log: list[Input] = [order("a", 0, 1), order("b", 60, 2), order("c", 120, 3)]
    # The change ends what was held back. The others order again, so the rank of b falls; b is silent.
    later: list[Input] = [order("a", 1_200, 4), order("c", 1_300, 5), Advance(START_S + 3 * HOUR_S)]
    at_once, late = two_ways(small(segments=held_back % 1), small(segments=held_back % 9), log, later)
    same(at_once, late)


def test_what_a_review_has_found_is_not_taken_back_by_a_newer_model() -> None:
    driver = Driver(small(), 1_000)
    driver.take([order("a", 0, 1), Advance(START_S + 2.5 * DAY_S)])
    driver.redefine(small(segments="quiet: {name: Quiet, filter: {event: Order, since: {min: 2d}}}"))
    assert members(driver.engine.shard, "quiet") == {"a"}
    driver.take([order("b", 2.6 * DAY_S, 2), Advance(START_S + 4 * DAY_S)])
    assert driver.engine.shard.counters()["looks_recorded"] > 0, "a newer model has been seen"
    told = [(t["subject"], t["data"]["origin"], t["data"]["in_segment"]) for t in driver.outcome.decoded()]
    assert told == [("a", "backfill", True)]


def test_an_edit_takes_nobody_out_of_the_audience_before_their_next_look() -> None:
    asked = "kind: churn, goal: {did_not: Order}, window: 1h"
    text = "{version: 1, name: small, predictions: {p: {name: Leaves, %s%s}}}"
    driver = Driver(loads(text % (asked, "")), 1_000)
    # Late, so the end of the lookback was past when the next look was set.
    late = Event("a", "Order", START_S + HOUR_S, np.nan, 2, None, None, 2, START_S + 10 * HOUR_S)
    driver.take([order("b", 0, 1), Advance(START_S + 10 * HOUR_S), late])
    before = rows_of(driver, "f")["a"]
    driver.redefine(loads(text % (asked, ", categories: {medium: 20, high: 40}")))
    assert rows_of(driver, "f")["a"] == before


KEEN = "keen: {name: %s, filter: {prediction: p, score: {min: %d}}, min_dwell: %s, entry: %s}"


def ranked(segments: str, text: str = "") -> Driver:
    """Twenty users, who have ordered 1 to 20 times, and a model; one user is reviewed in a commit."""
    driver = Driver(tighten(small(text, segments), commit_users=1, backfill_users_per_minute=1_000), 5, store=True)
    orders = [(n, k) for k in range(20) for n in range(k, 20)]
    log: list[Input] = [order(f"u{n:02}", 60 * place, place + 1) for place, (n, _) in enumerate(orders)]
    driver.take([*log, Advance(START_S + 4 * DAY_S)])
    return driver


def scores(driver: Driver) -> dict[str, float]:
    shard = driver.engine.shard
    column = shard.definitions.layout.columns.f_score
    return {user: float(shard.users.rows.f[row, column]) for row, user in enumerate(shard.users.ids) if user}


def change(driver: Driver, segments: str) -> None:
    """A change of the segments; the process ends after each part of its review."""
    driver.catalog = tighten(small(segments=segments), commit_users=1, backfill_users_per_minute=1_000)
    driver.begin_review(driver.catalog)
    driver.restart()
    while driver.engine.shard.is_reviewing:
        driver.review()
        driver.restart()


@pytest.mark.parametrize("dwell", ["0s", "1h"])
def test_a_narrower_range_lets_nobody_stay_by_the_hysteresis_of_the_old_one_and_a_new_name_lets_everybody(
    dwell: str,
) -> None:
    driver = ranked(KEEN % ("Keen", 30, dwell, "now"))
    keen = members(driver.engine.shard, "keen")
    told = len(driver.outcome.transitions)
    change(driver, KEEN % ("Narrower", 34, dwell, "now"))
    left = {user for user in keen if scores(driver)[user] < 34}
    assert any(scores(driver)[user] >= 29 for user in left), "or nothing is shown"
    assert members(driver.engine.shard, "keen") == keen - left
    assert {t["subject"] for t in driver.outcome.decoded()[told:]} == left
    assert {t["data"]["origin"] for t in driver.outcome.decoded()[told:]} == {"definition_change"}
    assert len(driver.outcome.transitions) == told + len(left)
    drop_scores(driver, points=4.0)
    change(driver, KEEN % ("Of the same filter", 34, dwell, "crossings"))
    assert members(driver.engine.shard, "keen") == keen - left, "they are within the hysteresis of what they entered"
    assert len(driver.outcome.transitions) == told + len(left)


def drop_scores(driver: Driver, points: float) -> None:
    """What is served of everybody, as if a moment had found it."""
    shard = driver.engine.shard
    shard.users.rows.f[: len(shard.users), shard.definitions.layout.columns.f_score] -= points


def test_other_edges_make_the_plain_categories_of_the_scores() -> None:
    driver = ranked("", ", categories: {medium: 20, high: 30}")
    before = members(driver.engine.shard, "p.high")
    driver.redefine(small(", categories: {medium: 20, high: 34}"))
    assert members(driver.engine.shard, "p.high") == {u for u, score in scores(driver).items() if score >= 34}
    assert {user for user in before if 29 <= scores(driver)[user] < 34}, "or nothing is shown"


def plan(user: str, after_s: float, number: int, value: str) -> Event:
    at_s = START_S + after_s
    return Event(user, None, at_s, np.nan, number, {"plan": value}, None, number, at_s)


def test_who_fulfils_a_new_segment_of_crossings_has_to_leave_it_before_entering() -> None:
    known = "known: {name: Known, filter: {trait: plan, exists: true}}"
    team = "team: {name: Team, filter: {trait: plan, equals: team}, entry: %s}"
    driver = Driver(small(segments=known), 1_000, store=True)
    driver.take([plan("a", 0, 1, "team"), plan("b", 1, 2, "team"), plan("c", 2, 3, "free")])
    driver.catalog = small(segments=f"{known}, {team % 'crossings'}")
    driver.redefine(driver.catalog)
    driver.take([plan("a", 60, 4, "team"), plan("c", 61, 5, "team"), plan("d", 62, 6, "team"), order("b", 63, 7)])
    driver.restart()
    assert members(driver.engine.shard, "team") == {"c", "d"}, "of the others it was true before"
    driver.take([plan("a", 70, 8, "free"), plan("a", 71, 9, "team")])
    assert members(driver.engine.shard, "team") == {"a", "c", "d"}
    told = [(t["subject"], t["data"]["origin"]) for t in driver.outcome.decoded() if t["data"]["segment_id"] == "team"]
    assert told == [("c", "live"), ("d", "live"), ("a", "live")]
    driver.redefine(small(segments=f"{known}, {team % 'now'}"))
    assert members(driver.engine.shard, "team") == {"a", "b", "c", "d"}
    assert driver.outcome.decoded()[-1]["data"]["origin"] == "definition_change"


COMPARED = ("in_segment", "origin", "score", "previous_score", "likelihood", "category", "previous_category")


def only_crossings(told: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Entries and exits of one user, without entries that are no crossings and the exits that end them."""
    kept: list[tuple[Any, ...]] = []
    leaves_unseen = False
    for transition in told:
        data = transition["data"]
        if data["in_segment"]:
            leaves_unseen = data["origin"] in ("backfill", "definition_change")
        if not leaves_unseen:
            kept.append((transition["time"], *(data[name] for name in COMPARED)))
    return kept


@slow
@given(st.one_of(scenarios(min_events=8), scenarios(min_events=8, deletions=True, users=5)), st.data())
def test_a_segment_of_crossings_is_one_without_entries_by_a_change_or_by_going_live(
    scenario: tuple[Catalog, list[Input], int], data: st.DataObject
) -> None:
    catalog, log, live_after = scenario
    names = [name for name in catalog.segments if is_free(catalog, name)]
    assume(names)
    name = data.draw(st.sampled_from(names))
    first, second = with_entry(catalog, name, "now"), with_entry(edited(catalog, data), name, "now")
    if data.draw(st.booleans()):
        first = without_segment(first, name)
    cut = data.draw(st.integers(0, len(log)))
    later = [*log[cut:], *data.draw(inputs(max_events=4)), Advance(START_S + data.draw(WAITS))]
    now, crossings = (
        Driver(with_entry(first, name, entry), live_after, store=entry == "crossings") for entry in ("now", "crossings")
    )
    for driver, entry in ((now, "now"), (crossings, "crossings")):
        driver.take(log[:cut])
        driver.redefine(with_entry(second, name, entry))
        driver.take(later)
    found, wanted = by_user(crossings), by_user(now)
    assert {k: v for k, v in found.items() if k[1] != name} == {k: v for k, v in wanted.items() if k[1] != name}
    of_name = {user for user, segment in (*found, *wanted) if segment == name}
    for user in of_name:
        told = [(t["time"], *(t["data"][field] for field in COMPARED)) for t in found[user, name]]
        assert told == only_crossings(wanted[user, name]), user


def with_entry(catalog: Catalog, name: str, entry: str) -> Catalog:
    """The catalog with a segment of this entry, and no dwell that would put an entry off until it looks like one."""
    if name not in catalog.segments:
        return catalog
    one = catalog.segments[name].model_copy(update={"entry": entry, "min_dwell_s": 0.0})
    return catalog.model_copy(update={"segments": {**catalog.segments, name: one}})


WAITS = st.sampled_from([0.0, 61.0, 7_200.0, 30 * 86_400.0])


def log_end(driver: Driver) -> float:
    clock_s = driver.engine.shard.clock_s
    return 0.0 if np.isnan(clock_s) else clock_s


def by_user(driver: Driver) -> dict[tuple[str, str], list[dict[str, Any]]]:
    told: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for transition in driver.outcome.decoded():
        data = {name: value for name, value in transition["data"].items() if name not in AS_OF_THEN}
        told[transition["subject"], data["segment_id"]].append({**transition, "data": data})
    return told


def rows_of(driver: Driver, view: str) -> dict[str, bytes]:
    shard = driver.engine.shard
    array, first_s = getattr(shard.users.rows, view), shard.users.rows.t[:, FIRST_T]
    return {user: array[row].tobytes() for row, user in enumerate(shard.users.ids) if first_s[row] != 0.0}


@slow
@given(scenarios(min_events=8), st.data())
def test_a_stop_in_the_middle_of_a_review_changes_nothing(
    scenario: tuple[Catalog, list[Input], int], data: st.DataObject
) -> None:
    catalog, log, live_after = scenario
    catalog = tighten(catalog, commit_users=1)
    after = edited(catalog, data)
    whole, stopped = Driver(catalog, live_after), Driver(catalog, live_after)
    for driver in (whole, stopped):
        driver.take(log)
        driver.begin_review(after)
    while whole.engine.shard.is_reviewing:
        whole.review()
        if data.draw(st.booleans()):
            begin = int(stopped.engine.shard.si[REVIEW_NEXT])
            stopped.review()
            stopped.engine.shard.si[REVIEW_NEXT] = begin  # nothing was stored of a part that changed nothing
        else:
            stopped.review()
    while stopped.engine.shard.is_reviewing:
        stopped.review()
    assert by_user(stopped) == by_user(whole)
