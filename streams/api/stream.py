"""`GET /v1/stream`: transitions as server-sent events, as they happen.

Every stream reads the log for itself, so a client takes what it wants in its own time: what it has not taken yet is in
the log and not in memory, and scoring knows nothing of who listens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from fastapi import FastAPI, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from config.errors import NoLog
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.few_at_once import LOG_WAIT_S
from streams.api.keys import Role
from streams.api.metrics import ApiMetrics
from streams.api.problems import Kind, Problem
from streams.api.services import Services
from streams.api.stream_places import Beginning, positions_of, where_to_go_on
from streams.api.stream_response import StreamResponse
from streams.api.webhook_views import OriginWord
from streams.core.partition import shard_of
from streams.ports import Crossing, Kept, TransitionFeed
from streams.runtime.crossings_tail import Tail
from streams.runtime.wanted_crossings import Direction, WantedCrossings, head_of

_EXAMPLE: Final = """id: AcQC
event: transition
data: {"specversion":"1.0","id":"8f2c9f7a41d3b6e05c1d0f9a7b3e6d21",...,"data":{"user_id":"ann",...}}

"""
MAX_SEGMENTS: Final = 100
LOOKED_BACK: Final = 5_120
"""So many records of each partition are looked through for the latest that are wanted, for at most"""
LOOK_S: Final = 5.0
_FURTHER: Final = 16
"""So many times further back is looked where there were too few."""

Segments = Annotated[list[str], Query(description="Only of this segment; may be given more than once.")]
Prediction = Annotated[str | None, Query(description="Only of segments that use this prediction, and no other.")]
User = Annotated[str | None, Query(description="Only of this user.")]
Way = Annotated[Direction | None, Query(description="Only who enters, or only who leaves.")]
Origins = Annotated[list[OriginWord], Query(description="Only with this origin; may be given more than once.")]
From = Annotated[
    Literal["now", "start"],
    Query(alias="from", description="Where to begin without a Last-Event-ID: `start` is the oldest that is kept."),
]
LastId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="The last `id` that was received: go on behind it."),
]


def add_stream(app: FastAPI, services: Services, authenticator: Authenticator, metrics: ApiMetrics) -> None:
    """Add the route of the stream."""
    streams = services.streams
    metrics.gauge("tideline_api_streams", "Streams of transitions that are open.", lambda: streams.count)
    metrics.counter(
        "tideline_api_streams_dropped", "Streams that were ended as nobody took them.", lambda: streams.dropped
    )
    metrics.counter(
        "tideline_api_streams_foreign",
        "Records that are no transitions, and were stepped over.",
        lambda: streams.foreign,
    )

    @app.get(
        "/v1/stream",
        tags=["stream"],
        operation_id="stream",
        summary="Transitions as they happen, as server-sent events",
        response_class=Response,
        responses={
            200: {
                "description": "Endless. Events: `transition`, `missed`, `dropped`, `closing`; see docs/api.md.",
                "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
            },
            **problems(400, 422),
        },
        **access(authenticator, Role.READ),
    )
    async def stream(
        request: Request,
        segment: Segments = [],  # noqa: B006  FastAPI makes a new list for every request
        prediction: Prediction = None,
        user: User = None,
        direction: Way = None,
        origin: Origins = [],  # noqa: B006
        begin: From = "now",
        last_event_id: LastId = None,
    ) -> Response:
        if len(segment) > MAX_SEGMENTS:
            raise Problem(Kind.INVALID_PARAMETERS, f"segment: {MAX_SEGMENTS} of them at most")
        wanted = WantedCrossings(frozenset(segment), prediction, user, direction, frozenset(origin))
        key_id = request.state.caller.key_id
        latest = None if begin == "start" else 0
        return await open_stream(services, authenticator, key_id, wanted, latest=latest, last_event_id=last_event_id)


async def open_stream(
    services: Services,
    authenticator: Authenticator,
    key_id: str,
    wanted: WantedCrossings,
    *,
    latest: int | None,
    last_event_id: str | None = None,
) -> Response:
    """An endless answer to somebody with that key: behind the last id, else with the `latest` wanted of each partition.

    They are looked for among the last `LOOKED_BACK` of each partition. None: from the oldest that is kept. Raises
    `Problem`, BrokerError.
    """
    asked = None if not last_event_id else positions_of(last_event_id)
    services.streams.take_place(key_id)
    feed: TransitionFeed | None = None
    try:
        feed = await services.transitions.open()
        beginning = await _beginning(services, feed, asked, latest, wanted)
    except BaseException as error:
        services.streams.give_place(key_id)
        if feed is not None:
            await feed.close()
        if isinstance(error, NoLog):
            words = "there are no transitions yet: nothing has made their log"
            raise Problem(Kind.UNAVAILABLE, words, headers={"Retry-After": "10"}) from error
        raise
    return StreamResponse(feed, beginning, wanted, services.streams, key_id, lambda: authenticator.is_good(key_id))


async def _beginning(
    services: Services, feed: TransitionFeed, asked: list[int] | None, latest: int | None, wanted: WantedCrossings
) -> Beginning:
    kept = await feed.kept()
    if asked is not None:
        return where_to_go_on(asked, kept)
    if latest is None:
        return Beginning([part.begin for part in kept])
    if latest == 0 or wanted == WantedCrossings():
        return Beginning([max(part.begin, part.end - latest) for part in kept])
    async with services.log_passes.turn(LOG_WAIT_S):
        return Beginning(await _looked_for(feed, kept, latest, wanted))


async def _looked_for(feed: TransitionFeed, kept: Sequence[Kept], latest: int, wanted: WantedCrossings) -> list[int]:
    """Where the `latest` wanted of each partition begin; the end of one that has none within the bound.

    Looks further back as long as there are too few: most filters fit something that has just happened.
    """
    only = None if wanted.user is None else shard_of(wanted.user, len(kept))
    most = latest
    while True:
        most = min(most * _FURTHER, LOOKED_BACK)
        tail = Tail.of(kept, most, only=only)
        found = [deque[int](maxlen=latest) for _ in kept]
        async for page in tail.pages(feed, LOOK_S):
            for partition, offset in await run_in_threadpool(_fitting, page, wanted):
                found[partition].append(offset)
        has_enough = [
            len(offsets) == latest or tail.starts[number] == kept[number].begin
            for number, offsets in enumerate(found)
            if only is None or number == only
        ]
        if most == LOOKED_BACK or all(has_enough):
            return [offsets[0] if offsets else kept[number].end for number, offsets in enumerate(found)]


def _fitting(page: Sequence[Crossing], wanted: WantedCrossings) -> list[tuple[int, int]]:
    """(partition, offset) of those that are wanted."""
    heads = ((crossing, head_of(crossing.data)) for crossing in page)
    return [(each.partition, each.offset) for each, head in heads if head is not None and wanted.fits(head)]
