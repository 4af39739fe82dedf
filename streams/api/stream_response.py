"""One stream: reads the log, writes events, and ends when the client is gone, hangs, or the service stops."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from config.errors import BrokerError, RecordsGone, StoreError
from streams.api.problems import Kind, Problem
from streams.api.stream_places import Beginning, place_id, where_to_go_on
from streams.ports import Crossing, TransitionFeed
from streams.runtime.wanted_crossings import WantedCrossings, head_of

_LOG: Final = logging.getLogger(__name__)
CHECK_S: Final = 5.0
"""So often is looked whether the key is still good."""
CHUNK_RECORDS: Final = 64
"""A client's next events are read from the log when it has taken these."""
_RETRY_MS: Final = 2_000
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # proxies of nginx's kind would hold events back
]


@dataclass(slots=True)
class OpenStreams:
    """The streams of one process, and what holds for all of them."""

    limit: int = 64
    heartbeat_s: float = 15.0
    patience_s: float = 20.0
    """Who takes nothing for so long is dropped, and told if it comes back within as long again."""
    clock: Callable[[], float] = time.monotonic
    dropped: int = 0
    foreign: int = 0
    """Records that are no transitions, and were stepped over."""
    _places: Counter[str] = field(default_factory=Counter)
    """Of each key, by its id."""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def count(self) -> int:
        """Those that are open."""
        return self._places.total()

    @property
    def limit_per_key(self) -> int:
        """A quarter: one key leaves places to others."""
        return max(1, self.limit // 4)

    def take_place(self, key_id: str) -> None:
        """For a caller with that key. Raises `Problem` with Retry-After where there is none."""
        if self._stopping.is_set():
            raise Problem(Kind.UNAVAILABLE, "the service is about to stop", headers={"Retry-After": "2"})
        if self.count >= self.limit:
            words = f"this process serves {self.limit} streams at the same time, and has as many"
            raise Problem(Kind.OVERLOADED, words, headers={"Retry-After": "10"})
        if self._places[key_id] >= self.limit_per_key:
            words = f"this process serves {self.limit_per_key} streams of one key at the same time; yours has as many"
            raise Problem(Kind.OVERLOADED, words, headers={"Retry-After": "10"})
        self._places[key_id] += 1

    def give_place(self, key_id: str) -> None:
        """What was taken."""
        self._places[key_id] -= 1
        if not self._places[key_id]:
            del self._places[key_id]

    def stop(self) -> None:
        """End all streams, each with a word; no more are taken."""
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        """After `stop`."""
        return self._stopping.is_set()

    async def stopped(self) -> None:
        """Wait for `stop`."""
        await self._stopping.wait()


class _Hangs(Exception):
    """The client has not come back."""


class StreamResponse(Response):
    """Has a place among the open streams and a feed, which it gives back at its end."""

    def __init__(
        self,
        feed: TransitionFeed,
        beginning: Beginning,
        wanted: WantedCrossings,
        streams: OpenStreams,
        key_id: str,
        is_allowed: Callable[[], Awaitable[bool]],
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self._feed = feed
        self._beginning = beginning
        self._wanted = wanted
        self._streams = streams
        self._key_id = key_id
        self._positions = list(beginning.positions)
        self._is_allowed = is_allowed
        self._checked_s = self._wrote_s = streams.clock()
        self._is_dropped = False
        self._trouble: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """See ASGI."""
        telling = asyncio.create_task(self._tell(send))
        ends = [asyncio.create_task(_gone(receive)), asyncio.create_task(self._streams.stopped())]
        try:
            await asyncio.wait([telling, *ends], return_when=asyncio.FIRST_COMPLETED)
            if self._streams.is_stopping and not telling.done() and not ends[0].done():
                await asyncio.wait([telling], timeout=self._streams.patience_s)
            if telling.done():
                with suppress(_Hangs):
                    telling.result()
        finally:
            for task in (telling, *ends):
                task.cancel()
            try:
                await asyncio.gather(telling, *ends, return_exceptions=True)
            finally:
                await self._leave()

    async def _leave(self) -> None:
        """The place is free again whatever becomes of the feed."""
        try:
            await self._feed.close()
        finally:
            self._streams.give_place(self._key_id)

    # --- what is told ------------------------------------------------------------------------------------------------

    async def _tell(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        self._feed.seek(self._positions)
        head = f"retry: {_RETRY_MS}\n".encode() + self._place() + b"\n" + self._missed(self._beginning)
        await self._write(send, head)
        while (last := await self._last()) is None:
            await self._write(send, await self._next())
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _last(self) -> bytes | None:
        """The last words, if this is the end."""
        words = self._trouble
        if words is None and self._streams.is_stopping:
            words = "the service stops; connect again, and nothing is missed"
        if words is None and self._streams.clock() - self._checked_s >= CHECK_S:
            self._checked_s = self._streams.clock()
            try:
                words = None if await self._is_allowed() else "the key was revoked"
            except StoreError:
                words = "the store does not answer, so nobody can say whether the key is good; connect again"
        if self._is_dropped:
            words = "you have taken nothing for too long; connect again, and nothing is missed"
            return _event("dropped", {"reason": "slow", "detail": words}, self._place())
        return None if words is None else _event("closing", {"detail": words}, self._place())

    async def _next(self) -> bytes:
        """The next events; a heartbeat where there are none for a while."""
        reading = asyncio.create_task(self._feed.read(CHUNK_RECORDS, min(CHECK_S, self._streams.heartbeat_s)))
        stopping = asyncio.create_task(self._streams.stopped())
        try:
            await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
            found = self._events(reading.result()) if reading.done() else b""
        except RecordsGone:
            beginning = where_to_go_on(self._positions, await self._feed.kept())
            self._positions = list(beginning.positions)
            self._feed.seek(self._positions)
            found = self._missed(beginning)
        except BrokerError as error:
            _LOG.warning("a stream ends, as its log cannot be read: %s", error)
            self._trouble = "the log of transitions cannot be read at the moment; connect again"
            return b""
        finally:
            for task in (reading, stopping):
                task.cancel()
            await asyncio.gather(reading, stopping, return_exceptions=True)
        now_s = self._streams.clock()
        if found:
            self._wrote_s = now_s
        elif now_s - self._wrote_s >= self._streams.heartbeat_s:
            self._wrote_s = now_s
            return b": \n" + self._place() + b"\n"
        return found

    def _events(self, crossings: Sequence[Crossing]) -> bytes:
        lines = []
        for crossing in crossings:
            self._positions[crossing.partition] = crossing.offset + 1
            head = head_of(crossing.data)
            if head is None:
                self._streams.foreign += 1
            elif self._wanted.fits(head):
                lines += [self._place(), b"event: transition\ndata: ", crossing.data, b"\n\n"]
        return b"".join(lines)

    def _place(self) -> bytes:
        return b"id: " + place_id(self._positions).encode() + b"\n"

    def _missed(self, beginning: Beginning) -> bytes:
        """An event that says what this reader will never get; nothing if that is nothing."""
        if beginning.is_other_log:
            words = "the place is not one of this log as it is now; the stream goes on with the oldest that is kept"
            return _event("missed", {"reason": "other-log", "detail": words, "partitions": []}, self._place())
        if not beginning.gaps:
            return b""
        count = sum(gap.given - gap.asked for gap in beginning.gaps)
        told = {
            "reason": "retention",
            "detail": f"at most {count} transitions are not kept any more; the stream goes on with the oldest that is",
            "partitions": [
                {"partition": gap.partition, "from": gap.asked, "to": gap.given, "count": gap.given - gap.asked}
                for gap in beginning.gaps
            ],
        }
        return _event("missed", told, self._place())

    # --- to whom -----------------------------------------------------------------------------------------------------

    async def _write(self, send: Send, body: bytes) -> None:
        """Waits while the client does not take what it was given. Raises `_Hangs` when it does not come back."""
        if not body:
            return
        patience_s, began_s = self._streams.patience_s, self._streams.clock()
        try:
            async with asyncio.timeout(2 * patience_s):
                await send({"type": "http.response.body", "body": body, "more_body": True})
        except TimeoutError as error:
            self._streams.dropped += 1
            raise _Hangs from error
        if self._streams.clock() - began_s > patience_s:
            self._streams.dropped += 1
            self._is_dropped = True


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(name: str, data: dict[str, Any], place: bytes) -> bytes:
    return b"".join([place, f"event: {name}\ndata: ".encode(), msgspec.json.encode(data), b"\n\n"])
