"""Records as they go out: readable by Tideline's own decoder, with the failures that were asked for, in time."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from config.errors import InputError
from config.loader import load_catalog
from streams.core.decode import build_decoder
from streams.core.events import BadEvent, DeadReason, Event
from streams.simulate.drills import Shares
from streams.simulate.pacing import AtOnce, Paced
from streams.simulate.records import Record
from streams.simulate.run import Counts, Plan, run_simulation
from streams.simulate.shop import MARKS
from streams.simulate.sinks import FileSink, Sink
from tests.conftest import ROOT

PLAN = Plan(users=300, days=20.0, start_ms=1_704_067_200_000, seed=4)
DRILL = replace(PLAN, shares=Shares(duplicates=0.1, late=0.05, bad=0.02))


class Recorder:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def send(self, records: list[Record]) -> None:
        self.records += records

    def close(self) -> None:
        pass


def simulated(plan: Plan) -> tuple[list[Record], Counts]:
    sink = Recorder()
    counts = run_simulation(plan, sink, AtOnce())
    return sink.records, counts


def decoded(records: list[Record]) -> list[Event | BadEvent]:
    decoder = build_decoder(load_catalog(ROOT / "examples/shop/catalog.yaml"))
    return [decoder.decode(raw, position, None, position + 1) for position, (_, raw) in enumerate(records)]


def test_every_record_is_an_event_that_the_catalog_of_the_example_reads() -> None:
    records, counts = simulated(PLAN)
    found = decoded(records)
    events = [event for event in found if isinstance(event, Event)]
    assert len(events) == len(records) == counts.records == sum(counts.events.values())
    assert [event.user for event in events] == [user for user, _ in records]
    assert {event.name or "identify" for event in events} == set(MARKS)
    assert [event.time_s for event in events] == sorted(event.time_s for event in events)
    assert all(isnan(event.value) == (event.name != "Order Completed") for event in events)
    assert counts.bytes == sum(len(raw) + 1 for _, raw in records)
    first = {event.user: event for event in reversed(events)}
    assert all(set(event.traits or {}) == {"country", "plan", "email_consent"} for event in first.values())
    assert counts.users == len(first) == PLAN.users


def test_properties_are_those_of_the_segment_spec() -> None:
    by_name: dict[str, dict[str, Any]] = {}
    for _, raw in simulated(PLAN)[0]:
        record = json.loads(raw)
        by_name[record.get("event", "identify")] = record
        assert record["sentAt"] == record["timestamp"]
    product = {"product_id", "name", "category", "price"}
    assert set(by_name["Product Viewed"]["properties"]) == product
    assert set(by_name["Products Searched"]["properties"]) == {"query"}
    assert set(by_name["Product Added"]["properties"]) == product | {"cart_id", "quantity"}
    assert set(by_name["Cart Viewed"]["properties"]) == {"cart_id", "products"}
    assert set(by_name["Order Refunded"]["properties"]) == {"order_id", "total", "currency"}
    order = by_name["Order Completed"]["properties"]
    assert set(order) == {"order_id", "revenue", "currency", "products"}
    assert order["revenue"] == pytest.approx(sum(line["price"] * line["quantity"] for line in order["products"]))


def test_the_same_seed_gives_the_same_bytes_in_any_slices() -> None:
    records, counts = simulated(DRILL)
    for cut in (replace(DRILL, slice_ms=3_600_000), replace(DRILL, slice_events=777)):
        assert simulated(cut) == (records, counts)
    assert simulated(replace(DRILL, seed=5))[0] != records


def test_failures_come_in_their_shares_and_every_event_is_sent() -> None:
    clean, _ = simulated(PLAN)
    records, counts = simulated(DRILL)
    events = len(clean)
    for name, got, share in (("twice", counts.duplicates, 0.1), ("late", counts.late, 0.05), ("bad", counts.bad, 0.02)):
        # 4 standard deviations of a binomial.
        assert abs(got - events * share) < 4.0 * (events * share * (1.0 - share)) ** 0.5, name
    assert len(records) == events + counts.duplicates + counts.bad
    found = decoded(records)
    events_of = [event for event in found if isinstance(event, Event)]
    assert len(found) - len(events_of) == counts.bad
    assert len(events_of) == events + counts.duplicates
    assert len({event.message_hash for event in events_of}) == events
    late = 0
    seen: dict[str, tuple[int, bytes]] = {}
    for place, ((_, raw), event) in enumerate(zip(records, found, strict=True)):
        if isinstance(event, Event):
            record = json.loads(raw)
            before = seen.setdefault(record["messageId"], (place, raw))
            assert before[1] == raw  # a repetition is the same bytes, behind the first one
            late += before[0] == place and record["sentAt"] > record["timestamp"]
    assert late == counts.late


def test_broken_records_have_every_reason() -> None:
    records, counts = simulated(replace(PLAN, shares=Shares(bad=1.0)))
    reasons = {event.reason for event in decoded(records) if isinstance(event, BadEvent)}
    assert counts.bad * 2 == len(records)
    assert reasons >= {
        DeadReason.UNREADABLE_JSON,
        DeadReason.MISSING_USER,
        DeadReason.TIME_OUT_OF_RANGE,
        DeadReason.UNKNOWN_TYPE,
        DeadReason.BAD_ENCODING,
        DeadReason.NOT_AN_OBJECT,
    }
    assert {user for user, _ in records} == {user for user, _ in simulated(PLAN)[0]}


def test_shares_are_shares() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Shares(late=1.5)


class Wall:
    """A clock that only moves when somebody sleeps, or when the sink takes its time."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


class Timed(Recorder):
    def __init__(self, wall: Wall, slow_s: float = 0.0) -> None:
        super().__init__()
        self.wall, self.slow_s = wall, slow_s
        self.sent: list[tuple[float, int]] = []

    def send(self, records: list[Record]) -> None:
        super().send(records)
        self.sent.append((self.wall.now_s - 100.0, len(self.records)))
        self.wall.now_s += self.slow_s


def test_a_rate_is_kept() -> None:
    wall = Wall()
    sink: Timed = Timed(wall)
    run_simulation(replace(PLAN, slice_events=200), sink, Paced(50.0, lambda: wall.now_s, wall.sleep))
    assert sink.records == simulated(PLAN)[0]
    for at_s, number in sink.sent:
        assert number / 50.0 == pytest.approx(at_s, abs=0.05)


def test_in_real_time_every_record_is_sent_when_it_happens() -> None:
    wall = Wall()
    sink = Timed(wall)
    start_s = PLAN.start_ms / 1_000.0
    plan = replace(PLAN, days=1.0, arrive_days=1.0, slice_ms=60_000)
    run_simulation(plan, sink, Paced(None, lambda: wall.now_s, wall.sleep))
    events = [event for event in decoded(sink.records) if isinstance(event, Event)]
    assert len(events) > 500
    for at_s, number in sink.sent:
        assert -1e-5 < at_s - (events[number - 1].time_s - start_s) < 0.01


def test_a_slow_sink_is_not_asked_to_catch_up_faster_than_it_can() -> None:
    wall = Wall()
    sink = Timed(wall, slow_s=3.0)
    run_simulation(PLAN, sink, Paced(1_000.0, lambda: wall.now_s, wall.sleep))
    assert len(sink.records) > 5_000
    assert all(later - earlier >= 3.0 for (earlier, _), (later, _) in zip(sink.sent, sink.sent[1:], strict=False))


def test_a_rate_is_above_zero() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Paced(0.0, lambda: 0.0, lambda _: None)


@pytest.mark.parametrize("name", ["events.ndjson", "events.ndjson.gz"])
def test_a_file_holds_the_records_and_is_the_same_every_time(tmp_path: Path, name: str) -> None:
    paths = [tmp_path / "a" / name, tmp_path / "b" / name]
    for path in paths:
        path.parent.mkdir()
        sink: Sink = FileSink(path)
        run_simulation(DRILL, sink, AtOnce())
        sink.close()
    data = paths[0].read_bytes()
    assert data == paths[1].read_bytes()
    lines = gzip.decompress(data) if name.endswith(".gz") else data
    assert lines == b"".join(raw + b"\n" for _, raw in simulated(DRILL)[0])


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.*cannot be written: No such file"):
        FileSink(tmp_path / "nowhere" / "x.ndjson")
