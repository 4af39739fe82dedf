"""Duplicates change nothing: with any repetitions a log gives the same as without, but for the counter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import nan
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog
from config.loader import loads
from streams.core.decode import build_decoder
from streams.core.events import BadEvent, Event
from tests.conftest import examples
from tests.property.accepted import accept
from tests.property.engine import Driver, Outcome
from tests.property.strategies import START_S, batches, catalogs, cuts, inputs, scenarios, tighten, to_yaml
from tests.property.test_core import same_bits
from tests.reference.reference_shard import Input

pytestmark = pytest.mark.timeout(900)


def cases(count: int) -> settings:
    return settings(
        max_examples=examples(count),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def with_message_ids(log: Sequence[Input]) -> list[Input]:
    """The log with ids by which transitions name their causes: without them they would name positions, which move."""
    return [
        msgspec.structs.replace(item, message_id=f"m{item.message_hash}") if isinstance(item, Event) else item
        for item in log
    ]


CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"time_s": START_S + 500 * 86_400.0, "log_time_s": START_S + 500 * 86_400.0},
    {"time_s": START_S - 9 * 86_400.0},
    {"value": 1_000.0},
    {"user": "somebody else"},
    {"properties": {"price": 4, "color": "red"}},
)
"""What a repetition says differently: its id alone decides. (New names and trait values would take columns.)"""

_repetitions = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(CHANGES)), min_size=1, max_size=25
)


def repeated(log: Sequence[Input], repetitions: Sequence[tuple[int, int, dict[str, Any]]]) -> list[Input]:
    """The log with events of it once more, each somewhere behind its first place; positions as they then stand."""
    behind: dict[int, list[Event]] = {}
    places = [place for place, item in enumerate(log) if isinstance(item, Event)]
    for source, later, change in repetitions:
        place = places[source % len(places)]
        event = log[place]
        assert isinstance(event, Event)
        at = place + later % (len(log) - place)
        behind.setdefault(at, []).append(msgspec.structs.replace(event, **change))
    longer = [item for place, first in enumerate(log) for item in (first, *behind.get(place, []))]
    return [
        msgspec.structs.replace(item, position=place) if isinstance(item, Event) else item
        for place, item in enumerate(longer)
    ]


def drive(catalog: Catalog, items: Sequence[Input], live_after: int, places: Sequence[int]) -> Outcome:
    driver = Driver(catalog, live_after)
    for batch in batches(items, places):
        driver.take(batch)
    return driver.outcome


def counters(outcome: Outcome) -> dict[str, int]:
    assert outcome.engine is not None
    return outcome.engine.shard.counters()


@cases(25)
@given(scenarios(min_events=10), _repetitions, st.data())
def test_repetitions_change_nothing_but_their_counter(
    case: tuple[Catalog, list[Input], int], repetitions: list[tuple[int, int, dict[str, Any]]], data: st.DataObject
) -> None:
    catalog, log, live_after = case
    log = with_message_ids(log)
    longer = repeated(log, repetitions)
    once = drive(catalog, log, live_after, [0, len(log)])
    again = drive(catalog, longer, live_after, data.draw(cuts(len(longer))))
    same_bits(again, once)
    assert once.engine is not None
    assert again.engine is not None
    assert again.engine.shard.snapshot.to_bytes(None) == once.engine.shard.snapshot.to_bytes(None)
    found = counters(again)
    assert found.pop("duplicates") == counters(once)["duplicates"] + len(repetitions)
    assert found == {name: n for name, n in counters(once).items() if name != "duplicates"}


@cases(30)
@given(catalogs(max_predictions=1, max_segments=0), inputs(min_events=10), _repetitions, st.data())
def test_the_last_so_many_accepted_ids_are_known_and_no_others(
    catalog: Catalog, log: list[Input], repetitions: list[tuple[int, int, dict[str, Any]]], data: st.DataObject
) -> None:
    """Beyond the bound a repetition counts as an event; a restart in between forgets nothing."""
    catalog = tighten(catalog, dedupe_ids=data.draw(st.integers(0, 12)))
    longer = repeated(log, repetitions)
    driver = Driver(catalog, 10**9, store=True)
    for batch in batches(longer, data.draw(cuts(len(longer)))):
        driver.take(batch)
        if data.draw(st.booleans()):
            driver.restart()
    outcomes = accept(catalog, longer).outcomes
    found = driver.engine.shard.counters()
    assert found["duplicates"] == outcomes.count("duplicate")
    assert found["events"] == outcomes.count("accepted")


@pytest.mark.parametrize("bound", [1, 2, 5, 8])
def test_an_id_is_known_until_as_many_others_were_accepted(bound: int) -> None:
    catalog = loads(to_yaml(SMALL | {"limits": {"dedupe_ids": bound}}))
    for others in range(2 * bound + 2):
        driver = Driver(catalog, 10**9)
        ids = [1, *range(2, 2 + others), 1]
        driver.take(
            [Event("ann", "Order", START_S, nan, message, None, None, n, START_S) for n, message in enumerate(ids)]
        )
        assert driver.engine.shard.counters()["duplicates"] == (1 if others < bound else 0), others


SMALL: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "features": {"events": ["Order", "View"], "value": "price"},
    "predictions": {"orders": {"name": "Orders", "goal": {"did": "Order"}, "window": "1d", "access": "live"}},
}
MAPPED: dict[str, Any] = {
    "format": "ndjson",
    "user": "who",
    "event": "what",
    "time": {"field": "at", "unit": "s"},
    "message_id": "id",
    "value": "price",
}


@pytest.mark.parametrize("mapped", [False, True])
def test_records_with_one_message_id_are_one_event_and_equal_records_without_are_many(mapped: bool) -> None:
    catalog = loads(to_yaml(SMALL | ({"input": MAPPED} if mapped else {})))
    decoder = build_decoder(catalog)

    def decoded(lines: Sequence[dict[str, Any]]) -> list[Event | BadEvent]:
        records = [json.dumps(line if mapped else as_segment(line)).encode() for line in lines]
        return [decoder.decode(record, n, None, 1_000 + n) for n, record in enumerate(records)]

    lines = [
        {"who": f"u{n % 3}", "what": "Order" if n % 2 else "View", "at": START_S + 900 * n, "id": f"m{n}", "price": n}
        for n in range(200)
    ]
    once = drive(catalog, decoded(lines), 20, [0, len(lines)])
    twice = drive(catalog, decoded([*lines[:150], *lines[40:90], *lines]), 20, [0, 7, 150, 400])
    same_bits(twice, once)
    assert counters(once)["duplicates"] == 0
    assert counters(twice)["duplicates"] == 200
    assert len(once.transitions) > 10

    same = [{key: value for key, value in lines[1].items() if key != "id"}] * 4
    assert counters(drive(catalog, decoded(same), 20, [0, 4]))["events"] == 4


def as_segment(line: dict[str, Any]) -> dict[str, Any]:
    record = {"type": "track", "userId": line["who"], "event": line["what"], "properties": {"price": line["price"]}}
    seconds = int(line["at"] - START_S)
    stamp = f"2024-01-{3 + seconds // 86_400:02}T{seconds // 3_600 % 24:02}:{seconds // 60 % 60:02}:00Z"
    return {**record, "timestamp": stamp, **({"messageId": line["id"]} if "id" in line else {})}
