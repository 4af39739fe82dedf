"""Bounds of what callers may ask of one process: requests per key and second, bytes per body, bytes in hand."""

from __future__ import annotations

import math
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from starlette.requests import Request

from streams.api.problems import Kind, Problem

Clock = Callable[[], float]
"""Seconds that never go back."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_MAX_BUCKETS: Final = 10_000

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class RateLimiter:
    """A token bucket for each key: `rate_per_s` requests a second, and `burst` at once."""

    def __init__(self, rate_per_s: float, burst: int, clock: Clock) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """key id -> (tokens, at what time)"""

    def check(self, key_id: str) -> None:
        """Take a token. Raises `Problem` with Retry-After where there is none."""
        wait_s = self.take(key_id)
        if wait_s:
            raise Problem(
                Kind.RATE_LIMITED,
                f"a key may make {self._rate_per_s:g} requests a second, {self._burst} at once",
                headers={"Retry-After": str(max(1, math.ceil(wait_s)))},
            )

    def take(self, key_id: str) -> float:
        """Take a token; 0 where there was one, else the seconds until there is."""
        now_s = self._clock()
        tokens, before_s = self._buckets.pop(key_id, (float(self._burst), now_s))
        tokens = min(float(self._burst), tokens + (now_s - before_s) * self._rate_per_s)
        is_allowed = tokens >= 1.0
        self._buckets[key_id] = (tokens - 1.0 if is_allowed else tokens, now_s)
        while len(self._buckets) > _MAX_BUCKETS:
            del self._buckets[next(iter(self._buckets))]  # the one that was idle for longest
        return 0.0 if is_allowed else (1.0 - tokens) / self._rate_per_s


class InFlight:
    """The bytes of bodies that are in hand at the same time."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.bytes = 0

    @contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """A function that takes bytes for one request, which are given back at its end.

        It raises `Problem` with Retry-After where there is no room.
        """
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if self.bytes + count > self._limit_bytes:
                raise Problem(
                    Kind.OVERLOADED,
                    "more events are arriving than the log takes at the moment; send these again",
                    headers={"Retry-After": "1"},
                )
            self.bytes += count
            taken += count

        try:
            yield take
        finally:
            self.bytes -= taken


def check_media(request: Request) -> None:
    """Raises `Problem` for a body that says it is something else than JSON."""
    given = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if given != "application/json":
        words = "send JSON with Content-Type: application/json"
        raise Problem(Kind.UNSUPPORTED_MEDIA, words, headers={"Accept": "application/json"})


async def read_body(request: Request, limit_bytes: int, take: Callable[[int], None]) -> bytes:
    """The body of a request, unpacked, of at most so many bytes. Raises `Problem` (413, 415, 400)."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        words = f"Content-Encoding {encoding[:40]!r}: gzip or none"
        raise Problem(Kind.UNSUPPORTED_MEDIA, words, headers={"Accept-Encoding": "gzip"})
    packed = bytearray()
    async for chunk in request.stream():
        if len(packed) + len(chunk) > limit_bytes:
            raise too_large(limit_bytes)
        take(len(chunk))
        packed += chunk
    return _unpacked(bytes(packed), limit_bytes, take) if encoding == "gzip" else bytes(packed)


def _unpacked(packed: bytes, limit_bytes: int, take: Callable[[int], None]) -> bytes:
    """The content of a gzip; never more than the limit is unpacked, whatever it would become."""
    inflate = zlib.decompressobj(_GZIP)
    try:
        body = inflate.decompress(packed, limit_bytes + 1)
    except zlib.error as error:
        raise Problem(Kind.INVALID_BODY, "Content-Encoding is gzip, and the body is no gzip") from error
    if len(body) > limit_bytes:
        raise too_large(limit_bytes)
    if not inflate.eof or inflate.unused_data:
        raise Problem(Kind.INVALID_BODY, "the gzip is cut off, or something stands behind it")
    take(len(body))
    return body


def too_large(limit_bytes: int) -> Problem:
    """A body over its limit."""
    return Problem(
        Kind.TOO_LARGE, f"the body may have {limit_bytes:,} bytes, unpacked", headers={"Connection": "close"}
    )


class BodyLimit:
    """Refuses bodies over a limit for all routes: at once by Content-Length, else when the bytes have come."""

    def __init__(self, app: Any, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._limit_bytes:
            receive = _refusing(too_large(self._limit_bytes))
        else:
            receive = self._counting(receive)
        await self._app(scope, receive, send)

    def _counting(self, receive: Receive) -> Receive:
        seen = 0

        async def count() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit_bytes:
                raise too_large(self._limit_bytes)
            return message

        return count


def _refusing(problem: Problem) -> Receive:
    """Who reads the body is told at once; who does not need it answers as always (401 before 413)."""

    async def refuse() -> Any:
        raise problem

    return refuse
