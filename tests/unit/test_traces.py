"""Traces: contexts as they travel, and the spans of the API, of shards, and of a process that begins and stops."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from opentelemetry.trace import StatusCode

from config.errors import BrokerUnavailable, SettingsError, StoreUnavailable
from config.loader import loads
from config.settings import load_settings
from streams.adapters.kafka_feed import structured_mode
from streams.adapters.kafka_publisher import binary_mode
from streams.adapters.memory_log import MemoryLog
from streams.adapters.memory_sinks import ListCourier, ListSink
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.api.problems import Kind
from streams.commit import Patience
from streams.core.events import DeadReason
from streams.ports import Identity
from streams.runtime import traces as module
from streams.runtime.records import Record
from streams.runtime.shard_run import Ports, ShardRun
from streams.runtime.shard_traces import traced_by_events, traced_by_headers
from streams.runtime.traces import MOST_PER_S, Traces, open_traces
from streams.trace_context import headers_of, of_headers, of_json, sampled, with_trace
from tests.span_world import CONTEXT, NOT_SAMPLED, SPAN, TRACE, SpanWorld, context_of, parent_of, spans
from tests.unit.api_world import ApiWorld

TRACK = {"userId": "ann", "event": "View", "messageId": "m-1"}
CATALOG = loads("""
version: 1
name: traced
features: {events: [View]}
history: [View]
predictions: {views: {name: Views, goal: {did: View}, window: 7d}}
segments: {seen: {name: Has looked, filter: {event: View, count: {min: 1}}}}
""")


@pytest.fixture
def kept() -> Iterator[SpanWorld]:
    with spans() as world:
        yield world


# --- contexts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CONTEXT, CONTEXT),
        (f"00-{TRACE}-{SPAN}-03", CONTEXT),
        (f"cc-{TRACE}-{SPAN}-01-what-will-come", CONTEXT),
        (NOT_SAMPLED, None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (CONTEXT + "\n", None),
        ("", None),
        (None, None),
    ],
)
def test_a_context_is_taken_where_it_is_one_and_sampled(text: str | None, expected: str | None) -> None:
    assert sampled(text) == expected


def test_a_context_travels_in_headers_and_in_json() -> None:
    assert of_headers([("other", b"x"), *headers_of(CONTEXT)]) == CONTEXT
    assert of_headers([("traceparent", None)]) is of_headers([("other", b"x")]) is None
    event = with_trace(b'{"userId":"ann"}', CONTEXT)
    assert msgspec.json.decode(event) == {"userId": "ann", "traceparent": CONTEXT}
    assert of_json(event) == CONTEXT


@pytest.mark.parametrize(
    "record",
    [
        b'{"userId":"ann"}',
        b'{"properties":{"traceparent":"%b"}}' % CONTEXT.encode(),
        b'{"traceparent":7}',
        b'{"traceparent":"%b"' % CONTEXT.encode(),
        b'["traceparent"]',
        b'"traceparent" \xff',
        b'{"traceparent":null}',
    ],
)
def test_of_other_json_nothing_is_taken(record: bytes) -> None:
    assert of_json(record) is None


def test_a_transition_has_its_context_in_kafka_as_an_attribute_and_as_a_header() -> None:
    plain = transition("m-1")
    traced = with_trace(plain, CONTEXT)
    _, value, headers = binary_mode(traced)
    assert [text for name, text in headers if "traceparent" in name] == [CONTEXT.encode()] * 2
    assert of_headers(headers) == CONTEXT
    assert msgspec.json.decode(structured_mode(headers, value)) == msgspec.json.decode(traced)
    assert not [name for name, _ in binary_mode(plain)[2] if "traceparent" in name]


def transition(cause: str) -> bytes:
    with spans() as world:
        run, sink = shard_run(world.traces)
        run.step([Record(0, 1.0, event("ann", cause))], {}, None)
        return next(iter(sink.published))


# --- the API ----------------------------------------------------------------------------------------------------------


def test_a_request_that_is_traced_has_a_span_and_its_events_go_on_below_it(kept: SpanWorld) -> None:
    world = ApiWorld(traces=kept.traces)
    assert world.post("/v1/track", TRACK, headers={"traceparent": CONTEXT}).status_code == 200
    (span,) = kept.named("POST /v1/track")
    assert parent_of(span) == CONTEXT
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/track",
        "http.response.status_code": 200,
    }
    assert world.log.traces == [context_of(span)]
    assert "traceparent" not in world.events()[0]


def test_in_a_log_without_headers_each_event_says_itself_what_it_is_a_part_of(kept: SpanWorld) -> None:
    world = ApiWorld(traces=kept.traces, log=MemoryLog(has_headers=False))
    batch = {"batch": [{"type": "track", **TRACK, "traceparent": "its own"}, {"type": "track", **TRACK}]}
    assert world.post("/v1/batch", batch, headers={"traceparent": CONTEXT}).status_code == 200
    (span,) = kept.named("POST /v1/batch")
    assert [of_json(record) for _, record in world.log.records] == [context_of(span)] * 2


def test_of_requests_whose_senders_want_all_of_them_traced_a_bounded_number_is(kept: SpanWorld) -> None:
    world = ApiWorld(traces=kept.traces, log=MemoryLog(has_headers=False))
    assert kept.traces.take(MOST_PER_S - 1) == MOST_PER_S - 1
    for _ in range(2):
        assert world.post("/v1/track", TRACK, headers={"traceparent": CONTEXT}).status_code == 200
    assert len(kept.named("POST /v1/track")) == 1
    assert ["traceparent" in each for each in world.events()] == [True, False]


@pytest.mark.parametrize("item", [TRACK, {**TRACK, "userId": None}, {**TRACK, "type": "no-type"}])
def test_what_an_event_says_itself_makes_it_no_part_of_a_trace(kept: SpanWorld, item: dict[str, Any]) -> None:
    world = ApiWorld(traces=kept.traces, log=MemoryLog(has_headers=False))
    batch = {"batch": [{"type": "track", **item, "traceparent": CONTEXT}]}
    assert world.post("/v1/batch", batch, headers={"traceparent": NOT_SAMPLED}).status_code == 200
    assert [of_json(record) for _, record in world.log.records] == [None]


@pytest.mark.parametrize(("given", "share"), [({}, 0.0), ({"traceparent": NOT_SAMPLED}, 1.0)])
def test_what_is_not_traced_leaves_nothing(given: dict[str, str], share: float) -> None:
    with spans(share) as kept:
        world = ApiWorld(traces=kept.traces, log=MemoryLog(has_headers=False))
        assert world.post("/v1/track", TRACK, headers=given).status_code == 200
        assert kept.names() == []
        assert "traceparent" not in world.events()[0]


def test_the_share_begins_traces_of_requests_without_a_context() -> None:
    with spans(share=1.0) as kept:
        world = ApiWorld(traces=kept.traces)
        world.post("/v1/track", TRACK)
        (span,) = kept.named("POST /v1/track")
        assert parent_of(span) is None
        assert world.log.traces == [context_of(span)]


def test_a_mistake_of_the_callers_is_no_error_of_the_server_and_a_log_that_is_away_is(kept: SpanWorld) -> None:
    world = ApiWorld(traces=kept.traces)
    given = {"traceparent": CONTEXT}
    assert world.post("/v1/track", {"userId": "ann"}, headers=given).status_code == Kind.INVALID_EVENT.status
    world.log.failure = BrokerUnavailable("away")
    assert world.post("/v1/track", TRACK, headers=given).status_code == 503
    mistake, away = kept.named("POST /v1/track")
    assert mistake.status.status_code is StatusCode.UNSET
    assert away.status.status_code is StatusCode.ERROR
    assert away.status.description == "BrokerUnavailable"


# --- a shard ----------------------------------------------------------------------------------------------------------


class Away(MemoryStore):
    """Takes no commit."""

    is_away = False

    def commit(self, claim, batch, trim):  # type: ignore[no-untyped-def]
        if self.is_away:
            raise StoreUnavailable("away")
        super().commit(claim, batch, trim)


def shard_run(traces: Traces | None, store: MemoryStore | None = None) -> tuple[ShardRun, ListSink]:
    store, sink = store or MemoryStore(MemoryServer()), ListSink()
    store.prepare(1, Identity(catalog="c"))
    ports = Ports(store, sink, ListCourier(), Patience(lambda _: None, attempts=1), lambda: "g", traces=traces)
    run = ShardRun(CATALOG, ports, shard=0, shards=1, source="events-0")
    run.assign()
    return run, sink


def event(user: str, message_id: str) -> bytes:
    said = {"type": "track", "userId": user, "event": "View", "timestamp": "2024-01-01T00:00:00Z"}
    return msgspec.json.encode({**said, "messageId": message_id})


def published(sink: ListSink) -> dict[str, str | None]:
    """User -> the context of the transition."""
    return {msgspec.json.decode(data)["subject"]: of_json(data) for data in sink.published}


def test_each_event_that_is_traced_has_a_span_and_its_transitions_go_on_below_it(kept: SpanWorld) -> None:
    run, sink = shard_run(kept.traces)
    other = CONTEXT.replace(TRACE, "a" * 32)
    records = [
        Record(0, 1.0, event("ann", "m-0"), CONTEXT),
        Record(1, 1.0, event("bob", "m-1")),
        Record(2, 1.0, event("cleo", "m-2"), other),
    ]
    run.step(records, {}, None)
    ann, cleo = kept.named("score")
    assert (parent_of(ann), parent_of(cleo)) == (CONTEXT, other)
    assert published(sink) == {"ann": context_of(ann), "bob": None, "cleo": context_of(cleo)}
    assert dict(ann.attributes or {}) == {
        "messaging.destination.name": "events-0",
        "messaging.kafka.offset": 0,
        "tideline.event_id": "m-0",
        "tideline.transitions": 1,
    }
    (whole,) = kept.named("score batch")
    assert parent_of(whole) == CONTEXT
    assert [link.context.trace_id for link in whole.links] == [int("a" * 32, 16)]
    assert {f"{link.context.span_id:016x}" for span in (ann, cleo) for link in span.links} == {context_of(whole)[36:52]}
    assert (whole.attributes or {})["messaging.batch.message_count"] == 3


def test_a_batch_without_a_trace_has_no_span_and_says_the_same_as_without_traces(kept: SpanWorld) -> None:
    records = [Record(n, 1.0, event(f"user-{n}", f"m-{n}")) for n in range(3)]
    said = []
    for traces in (None, kept.traces):
        run, sink = shard_run(traces)
        run.step(records, {}, None)
        said.append(list(sink.published))
    assert said[0] == said[1]
    assert kept.names() == []


def test_what_was_stored_is_published_after_a_stop_with_the_same_context(kept: SpanWorld) -> None:
    server = MemoryServer()
    run, sink = shard_run(kept.traces, MemoryStore(server))
    run.step([Record(0, 1.0, event("ann", "m-0"), CONTEXT)], {}, None)
    again, other_sink = shard_run(None, MemoryStore(server))
    assert other_sink.published == sink.published
    assert again.position.offset == 1


def test_a_repetition_and_what_cannot_be_used_end_their_spans_as_such(kept: SpanWorld) -> None:
    run, _ = shard_run(kept.traces)
    found = [event("ann", "m-0"), event("ann", "m-0"), b"no json"]
    run.step([Record(n, 1.0, value, CONTEXT) for n, value in enumerate(found)], {}, None)
    duplicate, bad, good = sorted(kept.named("score"), key=lambda span: span.end_time or 0)
    assert (duplicate.attributes or {})["tideline.duplicate"] is True
    assert bad.status.description == DeadReason.UNREADABLE_JSON.value
    assert (good.attributes or {})["tideline.transitions"] == 1


def test_a_batch_that_fails_ends_its_spans_by_the_error(kept: SpanWorld) -> None:
    store = Away(MemoryServer())
    run, _ = shard_run(kept.traces, store)
    store.is_away = True
    with pytest.raises(StoreUnavailable):
        run.step([Record(0, 1.0, event("ann", "m-0"), CONTEXT)], {}, None)
    assert [span.status.description for span in (*kept.named("score"), *kept.named("score batch"))] == [
        "StoreUnavailable"
    ] * 2


def test_of_events_whose_senders_want_all_of_them_traced_a_bounded_number_is(kept: SpanWorld) -> None:
    run, sink = shard_run(kept.traces)

    def work(first: int, count: int) -> int:
        """How many of these have got a span."""
        before = len(kept.named("score"))
        run.step([Record(n, 1.0, event(f"u{n}", f"m-{n}"), CONTEXT) for n in range(first, first + count)], {}, None)
        return len(kept.named("score")) - before

    assert [work(0, MOST_PER_S + 5), work(100, 5)] == [MOST_PER_S, 0]
    kept.now_s += 0.1
    assert work(200, MOST_PER_S) == MOST_PER_S // 10
    assert len(kept.named("score batch")) == 2
    untraced = {user for user, context in published(sink).items() if context is None}
    assert untraced == {f"u{n}" for n in (*range(MOST_PER_S, MOST_PER_S + 5), *range(100, 105), *range(205, 250))}


class Found:
    """A record of Kafka's client, as far as it is looked at."""

    def __init__(self, headers: Sequence[tuple[str, bytes]]) -> None:
        self.headers = headers


def test_records_have_the_traces_of_their_headers_or_of_their_events() -> None:
    records = [Record(n, 1.0, b"{}") for n in range(3)]
    found = [Found(()), Found(headers_of(CONTEXT)), Found(headers_of(NOT_SAMPLED))]
    assert [record.trace for record in traced_by_headers(records, found)] == [None, CONTEXT, None]
    values = [b"{}", with_trace(b'{"a":1}', CONTEXT)]
    read = traced_by_events([Record(n, 1.0, value) for n, value in enumerate(values)])
    assert [record.trace for record in read] == [None, CONTEXT]


# --- a process --------------------------------------------------------------------------------------------------------


def test_traces_are_off_unless_they_are_asked_for() -> None:
    with open_traces(load_settings(), "worker") as traces:
        assert traces is None


def test_who_asks_for_traces_without_their_packages_is_told_which_extra_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    settings = load_settings(traces="otlp")
    with pytest.raises(SettingsError, match="extra `traces`"), open_traces(settings, "worker"):
        pytest.fail("it must not begin")


def test_a_collector_that_is_away_does_not_hold_up_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.05)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with open_traces(load_settings(traces="otlp", traces_share=1.0), "api") as traces:
        assert traces is not None
        span = traces.begin("once", parent=None)
        assert span is not None
        span.end()
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 8.0  # the exporter alone would try for ten
