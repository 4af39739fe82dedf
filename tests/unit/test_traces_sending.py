"""Traces behind a shard: what campaigns decide, and what channels and webhooks deliver."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, cast

import msgspec
import pytest
from opentelemetry.trace import StatusCode

from streams.adapters.redis_deliveries import Endpoint, Secrets
from streams.campaigns.effects import Send
from streams.runtime.campaigns.outlet import read_trigger, trigger_of
from streams.runtime.channels.http import WebhookChannel
from streams.runtime.channels.local import TopicChannel
from streams.runtime.channels.parcel import Channel, Parcel, cloud_event
from streams.runtime.channels.run import ChannelRun, Tools
from streams.runtime.deliveries.endpoint_run import EndpointRun
from streams.runtime.deliveries.endpoint_run import Tools as WebhookTools
from streams.runtime.deliveries.pace import Delivery, Limits
from streams.runtime.deliveries.sender import Outcome, Sender
from streams.runtime.traces import MOST_PER_S, Traces
from streams.trace_context import of_json, with_trace
from tests.campaign_run_world import NOW_S, World, track
from tests.campaign_world import campaign
from tests.span_world import CONTEXT, SpanWorld, context_of, parent_of, spans
from tests.unit.test_channels_desk import send

SECRET = "whsec_" + "a" * 32
FINE, REFUSED = Outcome(True, "answered 200", 200), Outcome(False, "answered 500", 500)


@pytest.fixture
def kept() -> Iterator[SpanWorld]:
    with spans() as world:
        yield world


# --- campaigns --------------------------------------------------------------------------------------------------------


def traced_entries(world: World, *users: str) -> None:
    """They enter, and the transition of the first is part of a trace."""
    for user in users:
        world.events.append(track(user, "Enter", NOW_S, f"enter {user}"))
    world.shard.store()
    world.shard.publish()
    first = world.transitions.records[0]
    world.transitions.records[0] = first._replace(value=with_trace(first.value, CONTEXT))


def test_a_message_goes_on_below_the_decision_about_the_transition(kept: SpanWorld) -> None:
    world = World()
    world.start(traces=kept.traces)
    traced_entries(world, "ann", "bo")
    world.settle()
    (span,) = kept.named("decide")
    assert parent_of(span) == CONTEXT
    assert dict(span.attributes or {}) == {"tideline.decisions": "c: sent"}
    assert {each.user: each.traceparent for each in world.receiver.sends} == {"ann": context_of(span), "bo": None}


def test_what_is_withheld_is_told_in_the_span(kept: SpanWorld) -> None:
    world = World.of(c=campaign(control=1.0))
    world.start(traces=kept.traces)
    traced_entries(world, "ann")
    world.settle()
    (span,) = kept.named("decide")
    assert dict(span.attributes or {}) == {"tideline.decisions": "c: control"}
    assert world.receiver.sends == []


def test_an_event_that_begins_a_campaign_brings_its_trace_itself(kept: SpanWorld) -> None:
    world = World.of(c=campaign(trigger={"event": "Visit"}))
    world.start(traces=kept.traces)
    world.events.append(track("ann", "Enter", NOW_S, "enter ann"))
    world.events.append(track("ann", "Visit", NOW_S + 1.0, "visit ann"))
    world.events.records[1] = world.events.records[1]._replace(trace=CONTEXT)
    world.settle()
    assert [parent_of(span) for span in kept.named("decide")] == [CONTEXT]


def test_of_events_whose_senders_want_all_of_them_traced_a_bounded_number_is_decided_in_spans(kept: SpanWorld) -> None:
    world = World.of(c=campaign(trigger={"event": "Visit"}))
    world.start(traces=kept.traces)
    for number, user in enumerate(("ann", "bo")):
        world.events.append(track(user, "Enter", NOW_S, f"enter {user}"))
        world.events.append(track(user, "Visit", NOW_S + 1.0, f"visit {user}"))
        last = 2 * number + 1
        world.events.records[last] = world.events.records[last]._replace(trace=CONTEXT)
    assert kept.traces.take(MOST_PER_S - 1) == MOST_PER_S - 1
    world.settle()
    (span,) = kept.named("decide")
    assert sorted(each.traceparent or "" for each in world.receiver.sends) == ["", context_of(span)]


def test_without_traces_a_message_has_none() -> None:
    world = World()
    world.start()
    traced_entries(world, "ann")
    world.settle()
    assert [each.traceparent for each in world.receiver.sends] == [None]


def test_the_record_of_a_message_has_its_trace_only_where_there_is_one() -> None:
    plain, traced = send(1), send(2, traceparent=CONTEXT)
    assert b"traceparent" not in trigger_of(plain).data
    assert of_json(trigger_of(traced).data) == CONTEXT
    assert read_trigger(trigger_of(traced).data) == traced
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(plain), type=Send) == plain


# --- channels ---------------------------------------------------------------------------------------------------------


class Line:
    """A channel that keeps what it is given."""

    at_once = 10
    knows_ids = True

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.given: list[Parcel] = []

    async def deliver(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        if not self.outcomes:
            raise RuntimeError("a bug")
        self.given += parcels
        return self.outcomes

    async def close(self) -> None: ...


def delivered(line: Channel, traces: Traces | None, *sends: Send) -> list[Outcome]:
    nothing = cast("Any", None)
    run = ChannelRun("it", line, Tools(nothing, nothing, nothing, lambda: NOW_S, Random(1), Limits(), traces))
    return asyncio.run(run._deliver([Parcel.of(each, "it") for each in sends]))


def test_each_attempt_of_a_message_that_is_traced_has_a_span_and_the_other_side_is_told_of_it(kept: SpanWorld) -> None:
    line = Line(FINE, FINE, REFUSED)
    sends = send(1, "ann", traceparent=CONTEXT), send(2, "bo"), send(3, "cleo", traceparent=CONTEXT)
    assert delivered(line, kept.traces, *sends) == line.outcomes
    fine, refused = kept.named("deliver")
    assert (parent_of(fine), parent_of(refused)) == (CONTEXT, CONTEXT)
    assert [parcel.attempt_traceparent for parcel in line.given] == [context_of(fine), None, context_of(refused)]
    assert (fine.status.status_code, refused.status.description) == (StatusCode.UNSET, "answered 500")
    assert dict(fine.attributes or {}) == {
        "tideline.channel": "it",
        "tideline.message_id": "id-1",
        "tideline.campaign": "c",
        "tideline.outcome": "answered 200",
    }


def test_a_channel_that_fails_by_a_bug_ends_its_spans(kept: SpanWorld) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        delivered(Line(), kept.traces, send(1, traceparent=CONTEXT))
    assert [span.status.description for span in kept.named("deliver")] == ["RuntimeError"]


class Post:
    """In place of a `Sender`: keeps what is sent."""

    def __init__(self, traces: Traces | None = None, outcome: Outcome = FINE) -> None:
        self.traces = traces
        self.headers: list[Mapping[str, str]] = []
        self.bodies: list[bytes] = []
        self._outcome = outcome

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        assert url
        assert body
        self.bodies.append(body)
        self.headers.append(headers)
        return self._outcome


def test_a_webhook_of_a_channel_gets_the_context_as_header_and_as_attribute() -> None:
    post = Post()
    channel = WebhookChannel(cast("Sender", post), "https://shop.example/", lambda _: [SECRET], lambda: NOW_S)
    traced, plain = (Parcel.of(each, "it") for each in (send(1, traceparent=CONTEXT), send(2)))
    asyncio.run(channel.deliver([traced, plain]))
    assert [headers.get("traceparent") for headers in post.headers] == [CONTEXT, None]
    assert (of_json(cloud_event(traced)), of_json(cloud_event(plain))) == (CONTEXT, None)


def test_a_webhook_of_a_channel_has_the_same_body_at_every_attempt_and_its_span_in_the_header(kept: SpanWorld) -> None:
    post = Post()
    channel = WebhookChannel(cast("Sender", post), "https://shop.example/", lambda _: [SECRET], lambda: NOW_S)
    for _ in range(2):
        delivered(channel, kept.traces, send(1, traceparent=CONTEXT))
    first, second = kept.named("deliver")
    assert [headers["traceparent"] for headers in post.headers] == [context_of(first), context_of(second)]
    assert post.bodies[0] == post.bodies[1]
    assert of_json(post.bodies[0]) == CONTEXT


def test_a_topic_gets_the_same_record_at_every_attempt(kept: SpanWorld) -> None:
    published: list[tuple[str, bytes]] = []

    async def publish(records: Sequence[tuple[str, bytes]]) -> None:
        published.extend(records)

    for _ in range(2):
        delivered(TopicChannel(publish), kept.traces, send(1, traceparent=CONTEXT))
    assert len(kept.named("deliver")) == 2
    assert published[0] == published[1]


# --- webhooks of transitions ------------------------------------------------------------------------------------------


def attempted(post: Post, body: bytes) -> Outcome:
    tools = WebhookTools(cast("Any", None), cast("Any", None), cast("Sender", post), "me", Random(1), lambda: NOW_S)
    run = EndpointRun(Endpoint("wh_1", "https://shop.example/", "", 1.0), tools)
    run._secrets = Secrets(SECRET)
    return asyncio.run(run._attempt(Delivery("t-1", "ann", body, 1, NOW_S, attempts=2)))


def test_each_attempt_of_a_webhook_has_a_span_below_its_transition(kept: SpanWorld) -> None:
    post = Post(kept.traces, REFUSED)
    assert attempted(post, with_trace(b'{"id":"t-1"}', CONTEXT)) is REFUSED
    (span,) = kept.named("deliver")
    assert parent_of(span) == CONTEXT
    assert post.headers[0]["traceparent"] == context_of(span)
    assert span.status.description == "answered 500"
    assert dict(span.attributes or {}) == {
        "tideline.webhook": "wh_1",
        "tideline.transition_id": "t-1",
        "tideline.attempt": 3,
        "tideline.outcome": "answered 500",
    }


def test_a_webhook_of_what_is_not_traced_has_neither_span_nor_header(kept: SpanWorld) -> None:
    for post in (Post(kept.traces), Post()):
        assert attempted(post, b'{"id":"t-1"}') is FINE
        assert "traceparent" not in post.headers[0]
    assert kept.names() == []
