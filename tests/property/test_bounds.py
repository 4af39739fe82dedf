"""No bound is exceeded, and what did not fit is counted, or is a dead letter with the reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog
from config.loader import loads
from models.labels import DROPPED, NEXT, example_hash, tail_of
from streams.adapters.files import open_log
from streams.adapters.memory_sinks import NullSink
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.commit import Patience
from streams.core import saving
from streams.core.decode import build_decoder
from streams.core.events import DEAD_LETTER_BYTES, BadEvent, DeadReason, Event
from streams.core.ledger import NO_KEY, cluster_id
from streams.core.pending_log import OVERGROWN, bytes_per_example
from streams.core.shard import Shard
from streams.core.users import user_key
from streams.runtime.replay import Replay, Totals
from tests.conftest import examples
from tests.property.accepted import accept
from tests.property.engine import Driver, seconds, shard_hashes
from tests.property.strategies import START_S, inputs, tight_catalogs, tighten, to_yaml
from tests.reference.looks import silence_look, weekly_look
from tests.reference.reference_shard import Advance, Input

pytestmark = pytest.mark.timeout(900)
NEVER = 10**9
DAY_S = 86_400.0


def cases(count: int) -> settings:
    return settings(
        max_examples=examples(count),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def small(**changes: Any) -> Catalog:
    data: dict[str, Any] = {
        "version": 1,
        "name": "small",
        "predictions": {"orders": {"name": "Orders", "goal": {"did": "Order"}, "window": "1d"}},
    }
    return loads(to_yaml(data | changes))


def pending_of(shard: Shard) -> int:
    """Examples that some prediction still waits for."""
    return int(shard.pending.n[NEXT] - tail_of(shard.sealed["pending"]))


# --- the state of a shard --------------------------------------------------------------------------------------------


@cases(25)
@given(tight_catalogs(), inputs(min_events=30), st.integers(1, 12))
def test_at_every_input_the_state_is_within_its_bounds_and_every_record_accounted_for(
    catalog: Catalog, log: list[Input], live_after: int
) -> None:
    limits = catalog.limits
    driver = Driver(catalog, live_after)
    shard = driver.engine.shard
    for item in log:
        driver.take([item])
        counted = shard.counters()
        assert sum(1 for id_ in shard.users.ids if id_) == counted["users"] <= limits.users
        assert pending_of(shard) == counted["pending_examples"] <= limits.pending_examples
        assert np.count_nonzero(shard.dedupe.table) == min(counted["events"], limits.dedupe_ids)
    outcomes = accept(catalog, log).outcomes
    counted = shard.counters()
    reasons = [json.loads(letter)["reason"] for letter in driver.outcome.dead_letters]
    assert counted["events"] == outcomes.count("accepted")
    assert counted["duplicates"] == outcomes.count("duplicate")
    assert reasons.count("too_many_users") == outcomes.count("no_room")
    assert reasons.count("unreadable_json") == outcomes.count("bad")
    assert len(reasons) == outcomes.count("no_room") + outcomes.count("bad")


def test_who_does_not_fit_is_said_with_the_record_and_may_come_when_there_is_room_elsewhere() -> None:
    catalog = small(limits={"users": 2})
    driver = Driver(catalog, NEVER)
    users = ["ann", "bob", "cat", "ann", "dan", "cat"]
    driver.take(
        [Event(user, "Order", START_S + n, nan, n + 1, None, None, n, START_S + n) for n, user in enumerate(users)]
    )
    letters = [json.loads(letter) for letter in driver.outcome.dead_letters]
    assert [letter["position"] for letter in letters] == [2, 4, 5]
    for letter, user in zip(letters, ["cat", "dan", "cat"], strict=True):
        assert letter["reason"] == "too_many_users"
        assert "holds its 2 users already" in letter["detail"]
        assert "limits.users" in letter["detail"]
        assert json.loads(letter["raw"])["user"] == user
    assert driver.engine.shard.counters()["events"] == 3


# --- pending examples ------------------------------------------------------------------------------------------------


@dataclass
class Examples:
    """What became of the moments of a run: handed out (hash of the user, time, weight), still waiting, left out."""

    handed: list[tuple[int, float, float]] = field(default_factory=list)
    waiting: int = 0
    dropped: int = 0

    @classmethod
    def of(cls, catalog: Catalog, items: Sequence[Input]) -> Examples:
        driver = Driver(catalog, NEVER)
        driver.take(items)
        chunks = driver.outcome.chunks
        columns = [zip(c.user.tolist(), c.time_s.tolist(), c.weight.tolist(), strict=True) for c in chunks]
        shard = driver.engine.shard
        handed = [row for rows in columns for row in rows]
        return cls(handed, pending_of(shard), int(shard.pending.n[DROPPED]))


def spread(log: Sequence[Input]) -> list[Input]:
    """The same events a minute further apart each: none in one instant, so that every event is a moment of its own."""
    return [
        msgspec.structs.replace(item, time_s=item.time_s + 60.0 * n, log_time_s=item.log_time_s + 60.0 * n)
        for n, item in enumerate(log)
        if isinstance(item, Event)
    ]


@cases(40)
@given(inputs(min_events=30, max_events=200, calm=True, noise=False), st.integers(4, 30))
def test_examples_beyond_the_bound_are_left_out_by_their_hash_and_counted(log: list[Input], bound: int) -> None:
    items = spread(log)
    free = Examples.of(small(), items)
    tight = Examples.of(tighten(small(), pending_examples=bound), items)
    assert free.dropped == 0
    assert len(tight.handed) + tight.waiting + tight.dropped == len(free.handed) + free.waiting
    assert {row[:2] for row in tight.handed} <= {row[:2] for row in free.handed}
    keys = {cluster_id(NO_KEY, item.user): user_key(item.user) for item in items if isinstance(item, Event)}
    for user, time_s, weight in tight.handed:
        assert weight == 1.0 or example_hash(np.uint64(keys[user]), time_s) < 1.0 / weight
    if free.waiting > bound:
        assert tight.dropped > 0


# --- names and values that are found on the way ----------------------------------------------------------------------

_names = st.lists(st.integers(0, 30).map(lambda n: f"Event {n}"), min_size=1, max_size=80)


@cases(40)
@given(_names, st.integers(0, 6), st.integers(2, 8))
def test_event_names_beyond_the_bound_share_one_column(names: list[str], found: int, bound: int) -> None:
    catalog = small(features={"events": {"limit": min(found, bound - 1)}}, limits={"event_names": bound})
    driver = Driver(catalog, NEVER)
    driver.take(
        [Event("ann", name, START_S + n, nan, n + 1, None, None, n, START_S + n) for n, name in enumerate(names)]
    )
    shard = driver.engine.shard
    columns = shard.vocabulary.event_names()
    own = [name for name in columns[:-1] if not name.startswith("?")]
    expected = list(dict.fromkeys(["Order", *names]))[: 1 + min(found, bound - 1)]
    assert own == expected
    assert len(columns) - 1 <= bound
    row = shard.users.find("ann")
    assert row is not None
    c = shard.definitions.layout.columns
    totals = dict(zip(columns, shard.users.rows.f[row, c.f_total : c.f_total + c.names].tolist(), strict=True))
    assert {name: totals[name] for name in own} == {name: names.count(name) for name in own}
    assert totals["*"] == sum(
        name not in own for name in names
    )  # what has no column of its own is counted all the same


@cases(40)
@given(st.lists(st.integers(0, 30).map(lambda n: f"value {n}"), min_size=1, max_size=80), st.integers(1, 6))
def test_trait_values_beyond_the_bound_have_no_column(values: list[str], bound: int) -> None:
    catalog = small(features={"traits": {"plan": {"limit": bound}}}, limits={"trait_values": bound})
    driver = Driver(catalog, NEVER)
    events = [
        Event(f"u{n}", None, START_S + n, nan, n + 1, {"plan": value}, None, n, START_S + n)
        for n, value in enumerate(values)
    ]
    driver.take(events)
    features = [name for name in driver.engine.shard.vocabulary.feature_names() if name.startswith("trait:plan=")]
    own = [f"trait:plan={value}" for value in dict.fromkeys(values)][:bound]
    assert features == [*own, *(f"trait:plan=?{n}" for n in range(len(own), bound))]


def test_texts_of_a_trait_are_bounded_and_what_is_too_much_is_called_other() -> None:
    catalog = small(features={"traits": {"plan": {"limit": 2}}}, limits={"trait_values": 2})
    driver = Driver(catalog, NEVER)
    plans = [f"plan {n}" for n in range(1_000)]
    driver.take(
        [Event(f"u{n}", None, START_S, nan, n + 1, {"plan": plan}, None, n, START_S) for n, plan in enumerate(plans)]
    )
    shard = driver.engine.shard
    column = shard.definitions.layout.columns.t_trait
    shown = [
        shard.vocabulary.trait_text("plan", float(shard.users.rows.t[shard.users.row_of(f"u{n}"), column]))
        for n in range(1_000)
    ]
    room = 2 + 256  # beyond those that have columns
    assert shown == [*plans[:room], *["(other)"] * (1_000 - room)]
    assert len(shard.vocabulary.save()["codes"]["plan"]) == room


# --- what is stored --------------------------------------------------------------------------------------------------


def test_stored_message_ids_are_bounded_and_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "DEDUPE_PART", 4)
    bound, batch = 10, 3
    driver = Driver(tighten(small(), dedupe_ids=bound), NEVER, store=True)
    assert driver.server is not None
    for first in range(0, 300, batch):
        numbers = range(first, first + batch)
        driver.take([Event("ann", "Order", START_S + n, nan, n + 1, None, None, n, START_S + n) for n in numbers])
        stored = [
            len(data) // 8 for name, data in driver.server.shards[0].appended.items() if name.startswith("dedupe:")
        ]
        # The oldest part may hold some that are forgotten already, and a part closes with the batch that fills it.
        assert min(first + batch, bound) <= sum(stored) <= bound + 2 * (saving.DEDUPE_PART + batch)
        driver.restart()
    driver.take([Event("ann", "Order", START_S + 300, nan, 301 - bound, None, None, 300, START_S + 300)])
    assert driver.engine.shard.counters()["duplicates"] == 1


def test_stored_examples_leave_the_store_when_they_were_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.core.pending_log.PART_BYTES", 2_000)
    driver = Driver(tighten(small(), pending_examples=30), NEVER, store=True)
    assert driver.server is not None
    sizes = []
    for day in range(60):
        at_s = START_S + day * DAY_S
        driver.take(
            [Event(f"u{n % 7}", "Order", at_s + n, nan, day * 50 + n + 1, None, None, n, at_s + n) for n in range(40)]
        )
        appended = driver.server.shards[0].appended
        sizes.append(sum(len(data) for name, data in appended.items() if name.startswith("pending:")))
        assert pending_of(driver.engine.shard) <= 30
    assert max(sizes[30:]) <= 2 * max(sizes[:10])


def test_many_events_within_a_window_take_no_more_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each leaves a mark that is stored, however few examples wait: before, that was 26 bytes of every event."""
    monkeypatch.setattr("streams.core.pending_log.PART_BYTES", 2_000)
    monkeypatch.setattr("streams.core.pending_log.SPARE_BYTES", 4_000)
    driver = Driver(tighten(small(), pending_examples=30), NEVER, store=True)
    assert driver.server is not None
    sizes = []
    for batch in range(200):
        times_s = [START_S + 300.0 * batch + n for n in range(40)]
        driver.take(
            [Event(f"u{n}", "Order", t, nan, batch * 50 + n + 1, None, None, n, t) for n, t in enumerate(times_s)]
        )
        appended = driver.server.shards[0].appended
        sizes.append(sum(len(data) for name, data in appended.items() if name.startswith("pending:")))
        if batch % 25 == 24:
            driver.restart()
    ring_bytes = 30 * bytes_per_example(driver.engine.shard.pending)
    assert max(sizes) <= 2 * (4_000 + OVERGROWN * ring_bytes), "a chunk of each batch comes to it"
    assert max(sizes) >= 4_000, "the bound was reached"


class Noted:
    """A watcher that writes down up to where each commit goes."""

    def __init__(self) -> None:
        self.positions: list[int] = []

    def begin(self, position: int, rows: int) -> None:
        assert 0 <= position <= rows

    def advance(self, position: int, clock_s: float) -> None:  # noqa: ARG002
        self.positions.append(position)


@pytest.mark.parametrize(("batch_events", "dead_letters"), [(1, 0), (7, 5), (1_000, 1)])
def test_batches_and_kept_dead_letters_are_bounded_and_all_are_counted(
    tmp_path: Path, batch_events: int, dead_letters: int
) -> None:
    good = {"type": "track", "userId": "ann", "event": "Order", "timestamp": "2024-05-31T12:00:00Z"}
    lines = [json.dumps(good) if n % 3 else "not JSON" for n in range(100)]
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join(lines))
    catalog = small(limits={"batch_events": batch_events, "dead_letters": dead_letters})
    store = MemoryStore(MemoryServer(), dead_letters=dead_letters)
    noted = Noted()
    patience = Patience(lambda _: None, attempts=1)
    with open_log([path], catalog, 2e9) as log:
        Replay(catalog, log, store, NullSink(), patience=patience, watcher=noted).run()
    steps = np.diff([0, *noted.positions])
    assert steps.max() <= batch_events
    assert steps.sum() == 100
    stored = store.server.shards[0]
    bad = [f"{path} row {n + 1}" for n in range(100) if not n % 3]
    kept = bad[len(bad) - dead_letters :]
    assert [json.loads(letter)["source"] for letter in stored.dead_letters] == kept
    assert Totals.of(stored.blobs).dead_letters == {"unreadable_json": len(bad)}


# --- single records --------------------------------------------------------------------------------------------------

FORMATS: dict[str, tuple[dict[str, Any], list[str] | None, bytes]] = {
    "segment": (
        {},
        None,
        b'{"type":"track","userId":"ann","event":"Order","timestamp":"2024-05-31T12:00:00Z","properties":{"x":"%s"}}',
    ),
    "ndjson": (
        {"format": "ndjson", "user": "u", "event": "e", "time": "t"},
        None,
        b'{"u":"ann","e":"Order","t":"2024-05-31","more":"%s"}',
    ),
    "csv": (
        {"format": "csv", "user": "u", "event": "e", "time": "t"},
        ["u", "e", "t", "more"],
        b"ann,Order,2024-05-31,%s",
    ),
}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600"])
def test_a_record_may_have_as_many_bytes_as_the_limit_and_not_one_more(format_: str, letter: str) -> None:
    mapping, header, record = FORMATS[format_]
    limit = 300
    changes: dict[str, Any] = {"limits": {"property_bytes": limit}} | ({"input": mapping} if mapping else {})
    decoder = build_decoder(small(**changes), header=header)
    text = letter.encode()
    room = limit - len(record % b"")
    fitting = text * (room // len(text)) + b"." * (room % len(text))
    assert isinstance(decoder.decode(record % fitting, 0, None, 1), Event)
    refused = decoder.decode(record % (fitting + b"."), 0, None, 1)
    assert isinstance(refused, BadEvent)
    assert refused.reason is DeadReason.TOO_LARGE
    assert "more than 300 bytes (limits.property_bytes)" in refused.detail


@given(st.integers(0, 3 * DEAD_LETTER_BYTES))
def test_a_dead_letter_keeps_the_first_bytes_and_says_what_it_cut(size: int) -> None:
    raw = b"\xff" + b"a" * size
    letter = build_decoder(small()).decode(raw, 7, None, 1)
    assert isinstance(letter, BadEvent)
    assert letter.raw == raw[:DEAD_LETTER_BYTES]
    assert letter.truncated == (len(raw) > DEAD_LETTER_BYTES)
    assert len(letter.to_json()) < 4 / 3 * DEAD_LETTER_BYTES + 1_000


# --- going live ------------------------------------------------------------------------------------------------------


@cases(20)
@given(st.integers(1, 5), st.integers(1, 40))
def test_so_many_users_a_minute_are_published_when_a_prediction_goes_live(rate: int, users: int) -> None:
    driver = Driver(small(limits={"backfill_users_per_minute": rate}), 1)
    ids = [f"u{n}" for n in range(users)]
    log = [Event(user, "Order", START_S, nan, n + 1, None, None, n, START_S) for n, user in enumerate(ids)]
    driver.take([*log, Advance(START_S + 3 * DAY_S)])
    published = {t["data"]["user_id"]: seconds(t["time"]) for t in driver.outcome.decoded()[:users]}
    assert list(published.values()) == sorted(published.values())
    assert set(published) == set(ids)
    live_s = START_S + DAY_S + 3_600.0  # the first whole hour after the window of the first examples
    for n, user in enumerate(ids):
        turn_s = live_s + 60.0 * (n // rate)
        own = shard_hashes()
        looks_s = [silence_look(START_S, own.look_phase(user), live_s - 60.0)]
        looks_s.append(weekly_look(START_S, own.week_phase(user), live_s - 60.0))
        assert published[user] == min([turn_s, *looks_s])  # one who is looked at anyway does not wait for the turn
