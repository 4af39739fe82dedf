"""Notes of campaigns in a shard: which examples they mark, and that they do nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import nan
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog
from config.loader import loads
from config.notes import DROPPED, SENT, WITHHELD, is_note
from models.examples import TOUCH_NONE, TOUCH_SENT, TOUCH_WITHHELD, ExampleChunk
from models.layout import SENT_T, WITHHELD_T
from streams.core.events import Event
from streams.core.ledger import cluster_id
from tests.conftest import examples
from tests.live_after import live_after
from tests.property.engine import Driver, Outcome
from tests.property.strategies import START_S, batches, catalogs, cuts, inputs, scenarios, tight_catalogs, to_yaml
from tests.property.test_core import COLUMNS, compare, same_bits
from tests.property.test_duplicates import with_message_ids
from tests.property.test_redefine import without
from tests.property.test_saves import CrashingRun
from tests.reference.reference_shard import Advance, Input

pytestmark = pytest.mark.timeout(900)
DAY_S = 86_400.0
NEVER = 10**9
"""Examples that no log has: nothing goes live, so that no example is a crossing."""


def cases(count: int) -> settings:
    return settings(
        max_examples=examples(count),
        deadline=None,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def drive(catalog: Catalog, items: Sequence[Input], live_after_: int, places: Sequence[int] | None = None) -> Outcome:
    driver = Driver(catalog, live_after_)
    for batch in batches(items, places or [0, len(items)]):
        driver.take(batch)
    return driver.outcome


def counters(outcome: Outcome) -> dict[str, int]:
    assert outcome.engine is not None
    return outcome.engine.shard.counters()


def is_of_campaigns(item: Input) -> bool:
    return isinstance(item, Event) and item.name is not None and is_note(item.name)


# --- against the reference -------------------------------------------------------------------------------------------


@cases(60)
@given(
    st.one_of(
        scenarios(notes=True, deletions=True, min_events=20),
        st.tuples(tight_catalogs(), inputs(notes=True, min_events=20), st.integers(1, 12)),
    )
)
def test_marks_are_those_of_the_reference(case: tuple[Catalog, list[Input], int]) -> None:
    compare(*case)


@cases(40)
@given(scenarios(notes=True, min_events=30), st.data())
def test_notes_do_nothing_but_mark(case: tuple[Catalog, list[Input], int], data: st.DataObject) -> None:
    """Late, early, repeated, of strangers: without them all else is the same, bit for bit."""
    catalog, log, live_after_ = case
    log = [*with_message_ids(log), Advance(START_S + 400 * DAY_S)]  # so that looks that were put elsewhere come out
    plain = [item for item in log if not is_of_campaigns(item)]
    noted = drive(catalog, log, live_after_, data.draw(cuts(len(log))))
    bare = drive(catalog, plain, live_after_)
    assert noted.engine is not None
    assert bare.engine is not None
    noted.engine.shard.users.rows.t[:, [SENT_T, WITHHELD_T]] = 0.0  # of a row the only thing that notes change
    same_bits(noted, bare, [name for name in COLUMNS if name != "touch"])
    assert repr(noted.engine.shard.vocabulary.save()) == repr(bare.engine.shard.vocabulary.save())  # with NaN in it
    assert noted.engine.shard.snapshot.to_bytes(None) == bare.engine.shard.snapshot.to_bytes(None)
    assert noted.engine.shard.clock_s == bare.engine.shard.clock_s
    found = {name: n for name, n in counters(noted).items() if name not in OF_NOTES}
    assert found == {name: n for name, n in counters(bare).items() if name not in OF_NOTES}


OF_NOTES = ("notes", "late_notes", "notes_passed_over", "duplicates", "moved_back")


# --- against the definition ------------------------------------------------------------------------------------------


@cases(40)
@given(catalogs(max_segments=1), inputs(notes=True, min_events=10), st.data())
def test_a_mark_is_a_note_in_the_window_of_all_that_came_in_time(
    catalog: Catalog, log: list[Input], data: st.DataObject
) -> None:
    """By nothing but the log; time passes before a note as it does in a service, and no event is under way for long."""
    now_s = START_S
    items: list[Input] = []
    for item in log:
        if isinstance(item, Event) and not is_of_campaigns(item):
            now_s = max(now_s, item.log_time_s)
            items.append(Event(**{**fields(item), "time_s": now_s, "log_time_s": now_s}))
        elif isinstance(item, Event):
            now_s = max(now_s, item.log_time_s)
            items += [Advance(now_s), item]
        else:
            items.append(item)
    items.append(Advance(now_s + 60 * DAY_S))
    taken: list[Event] = []
    handed: list[tuple[int, str, float, int, int]] = []
    driver = Driver(catalog, NEVER)
    shard = driver.engine.shard
    names = {cluster_id(b"", item.user): item.user for item in items if isinstance(item, Event)}

    def note(chunk: ExampleChunk) -> None:
        known = shard.counters()["notes"]
        columns = chunk.user.tolist(), chunk.time_s.tolist(), chunk.touch.tolist()
        handed.extend((chunk.prediction, names[u], t, touch, known) for u, t, touch in zip(*columns, strict=True))

    driver.engine.on_chunk = note
    users: set[str] = set()
    seen: set[int] = set()
    for item in items:
        if isinstance(item, Event):
            is_new = item.message_hash not in seen
            if is_of_campaigns(item) and item.user in users and is_new:
                ahead = item.time_s > item.log_time_s + catalog.time.max_ahead_s
                taken.append(Event(**{**fields(item), "time_s": item.log_time_s if ahead else item.time_s}))
            if item.user in users or (is_new and not is_of_campaigns(item)):  # a repetition makes nobody known
                users.add(item.user)
                seen.add(item.message_hash)
    for batch in batches(items, data.draw(cuts(len(items)))):
        driver.take(batch)
    windows_s = [prediction.window_s for prediction in catalog.predictions.values()]
    for p, user, time_s, touch, known in handed:
        inside = {
            one.name for one in taken[:known] if one.user == user and time_s < one.time_s <= time_s + windows_s[p]
        }
        wanted = TOUCH_SENT if SENT in inside else TOUCH_WITHHELD if WITHHELD in inside else TOUCH_NONE
        assert touch == wanted
    assert shard.counters()["notes"] == len(taken)


def fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


# --- cuts, stops, another catalog ------------------------------------------------------------------------------------


@cases(40)
@given(scenarios(notes=True, deletions=True, min_events=20), st.data())
def test_cuts_and_stops_change_no_mark(case: tuple[Catalog, list[Input], int], data: st.DataObject) -> None:
    catalog, items, live_after_ = case
    driver = Driver(catalog, live_after_, store=True)
    for batch in batches(items, data.draw(cuts(len(items)))):
        driver.take(batch)
        if data.draw(st.booleans()):
            driver.restart()
    same_bits(driver.outcome, drive(catalog, items, live_after_))


@cases(30)
@given(
    st.one_of(
        scenarios(notes=True, min_events=20),
        st.tuples(tight_catalogs(), inputs(notes=True, min_events=20), st.integers(1, 12)),
    ),
    st.integers(0, 2**32),
)
def test_crashes_around_saves_change_no_mark(case: tuple[Catalog, list[Input], int], seed: int) -> None:
    catalog, items, examples = case
    run = CrashingRun(catalog, items, random.Random(seed))
    with live_after(examples):
        run.to_the_end()
    whole = drive(catalog, items, examples)
    same_bits(run.outcome, whole)
    assert counters(run.outcome) == counters(whole)


@cases(25)
@given(st.data())
def test_marks_go_over_to_another_catalog_and_come_from_the_past(data: st.DataObject) -> None:
    catalog = data.draw(catalogs().filter(lambda one: len(one.predictions) > 1))
    items = data.draw(inputs(calm=True, notes=True, min_events=30))
    added = data.draw(st.sampled_from(sorted(catalog.predictions)))
    cut = data.draw(st.integers(len(items) // 3, len(items)))
    past = Driver(catalog, NEVER)
    past.take(items[:cut])
    driver = Driver(without(catalog, added), NEVER)
    driver.take(items[:cut])
    del driver.outcome.chunks[:]
    driver.redefine(catalog, past.engine)
    always = Driver(catalog, NEVER)
    always.take(items[:cut])
    del always.outcome.chunks[:]
    end = Advance(START_S + 400 * DAY_S)
    for one in (driver, always):
        one.take([*items[cut:], end])
    assert marks(driver.outcome) == marks(always.outcome)


def marks(outcome: Outcome) -> list[tuple[int, int, float, int]]:
    return sorted(
        (chunk.prediction, user, time_s, touch)
        for chunk in outcome.chunks
        for user, time_s, touch in zip(chunk.user.tolist(), chunk.time_s.tolist(), chunk.touch.tolist(), strict=True)
    )


# --- one by one ------------------------------------------------------------------------------------------------------

SMALL = loads(
    to_yaml(
        {
            "version": 1,
            "name": "small",
            "time": {"lateness": "1h"},
            "features": {"events": {"limit": 8}},
            "predictions": {
                "day": {"name": "Within a day", "goal": {"did": "Order"}, "window": "1d"},
                "week": {"name": "Within a week", "goal": {"did": "Order"}, "window": "7d"},
            },
        }
    )
)


def at(place: int, name: str, time_s: float, user: str = "ann") -> Event:
    return Event(user, name, time_s, nan, place + 1, None, None, place, time_s)


def touches(items: Sequence[Input]) -> dict[tuple[int, float], int]:
    """(prediction, seconds since START_S) -> touch, of the examples of events."""
    outcome = drive(SMALL, [*items, Advance(START_S + 30 * DAY_S)], NEVER)
    return {
        (chunk.prediction, chunk.time_s[n] - START_S): int(chunk.touch[n])
        for chunk in outcome.chunks
        for n in np.flatnonzero(chunk.kind == 0).tolist()
    }


@pytest.mark.parametrize(
    ("after_s", "day", "week"),
    [
        (-1.0, TOUCH_NONE, TOUCH_NONE),
        (0.0, TOUCH_NONE, TOUCH_NONE),
        (0.25, TOUCH_SENT, TOUCH_SENT),
        (DAY_S, TOUCH_SENT, TOUCH_SENT),
        (DAY_S + 0.25, TOUCH_NONE, TOUCH_SENT),
        (7 * DAY_S, TOUCH_NONE, TOUCH_SENT),
        (7 * DAY_S + 0.25, TOUCH_NONE, TOUCH_NONE),
    ],
)
def test_a_window_is_open_at_its_start_and_closed_at_its_end(after_s: float, day: int, week: int) -> None:
    found = touches([at(0, "View", START_S), at(1, SENT, START_S + after_s)])
    assert found == {(0, 0.0): day, (1, 0.0): week}


def test_who_was_sent_one_message_and_spared_another_is_treated() -> None:
    view, hour_s = at(0, "View", START_S), 3_600.0
    spared, sent = at(1, WITHHELD, START_S + hour_s), at(2, SENT, START_S + 2 * DAY_S)
    assert touches([view, spared, sent]) == {(0, 0.0): TOUCH_WITHHELD, (1, 0.0): TOUCH_SENT}
    assert touches([view, at(1, DROPPED, START_S + 1.0)]) == {(0, 0.0): TOUCH_NONE, (1, 0.0): TOUCH_NONE}
    assert touches([view, at(1, "Tideline Message Opened", START_S + 1.0)]) == touches([view])


def test_an_event_that_was_under_way_when_the_message_went_out_is_marked() -> None:
    items = [at(0, "View", START_S), at(1, SENT, START_S + 7_200.0), at(2, "View", START_S + 3_600.0)]
    assert touches(items)[0, 3_600.0] == TOUCH_SENT


def test_notes_that_come_late_or_about_nobody_are_counted() -> None:
    driver = Driver(SMALL, NEVER)
    driver.take([at(0, SENT, START_S), at(1, "View", START_S), Advance(START_S + 9 * DAY_S)])
    driver.take([at(2, SENT, START_S + 3_600.0), at(3, SENT, START_S + 9 * DAY_S), at(3, SENT, START_S + 9 * DAY_S)])
    driver.take([at(4, WITHHELD, START_S + 9 * DAY_S, "bob")])
    found = driver.engine.shard.counters()
    assert (found["notes"], found["late_notes"], found["notes_passed_over"], found["duplicates"]) == (2, 1, 2, 1)
    assert (found["users"], found["events"]) == (1, 1)
    assert SENT not in driver.engine.shard.vocabulary.event_names()


def test_a_note_of_an_earlier_life_marks_nothing() -> None:
    gone = Event("ann", None, START_S + 600.0, nan, 90, None, None, 1, START_S + 600.0, deletes=True)
    back = at(2, "View", START_S + 900.0)
    driver = Driver(SMALL, NEVER)
    driver.take([at(0, "View", START_S), gone, at(3, SENT, START_S + 601.0), back, at(4, SENT, START_S + 599.0)])
    assert driver.engine.shard.counters()["notes_passed_over"] == 2
    assert driver.outcome.dead_letters == []
