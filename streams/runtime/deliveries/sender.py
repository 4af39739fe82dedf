"""Sends one delivery over HTTP: to an address that was checked, once, in bounded time, reading a bounded answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from streams.runtime.deliveries.addresses import AddressRefused, check_address, check_url
from streams.runtime.open_files import most_connections
from streams.runtime.traces import Traces

_CONNECT_S: Final = 5.0
_ANSWER_BYTES: Final = 64 << 10
_LONGEST_WAIT_S: Final = 3_600.0

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""From host and port to IP addresses. Raises OSError where there are none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt."""

    is_delivered: bool
    words: str
    """For people; nothing of the answer's body."""
    status: int | None = None
    """Of the answer; None if there was none."""
    wait_s: float | None = None
    """What the other side asked for (Retry-After)."""
    is_unknown: bool = False
    """Whether the other side may have taken it, though nobody said so: no answer, or a connection that broke."""
    is_final: bool = False
    """Whether every other attempt would end so, too: it is about what was sent, and not about the other side."""


class _CheckedResolver(AbstractResolver):
    """Names become addresses that were checked, and to these aiohttp connects: nobody asks for the name again."""

    def __init__(self, look_up: LookUp, *, allow_private: bool) -> None:
        self._look_up = look_up
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises AddressRefused if any of the name's addresses is none of the public internet."""
        addresses = [each for each in await self._look_up(host, port) if family in (socket.AF_UNSPEC, _family(each))]
        for address in addresses:
            check_address(address, allow_private=self._allow_private)
        if not addresses:
            raise OSError(f"{host} has no address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=_family(address),
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def look_up_name(host: str, port: int) -> Sequence[str]:
    """By the system's own ways. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(where[0]) for *_, where in found))


class Sender:
    """For one event loop; close it."""

    def __init__(
        self, *, allow_private: bool, timeout_s: float, look_up: LookUp = look_up_name, traces: Traces | None = None
    ) -> None:
        self.traces = traces
        """For whoever sends by it; None where they are off."""
        self._allow_private = allow_private
        # Each endpoint has a bound of its own (`Limits.at_once`). With a low one for all of them, some that do not
        # answer would hold up the others, whose time runs while they wait for a connection. With none they would take
        # all files of the process, and with them the store's and the log's.
        connector = aiohttp.TCPConnector(
            resolver=_CheckedResolver(look_up, allow_private=allow_private),
            use_dns_cache=False,
            limit=most_connections(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S),
            auto_decompress=False,  # few bytes could become very many
            trust_env=False,  # a proxy would be who connects, to whatever it likes
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Send once; whatever goes wrong is in what is returned."""
        outcome, _ = await self._exchange(url, headers, body, None)
        return outcome

    async def ask(self, url: str, headers: Mapping[str, str], body: bytes, most_bytes: int) -> tuple[Outcome, bytes]:
        """Send once, and what was answered; one that is longer has not arrived. Empty where nothing did."""
        return await self._exchange(url, headers, body, most_bytes)

    async def _exchange(
        self, url: str, headers: Mapping[str, str], body: bytes, most_bytes: int | None
    ) -> tuple[Outcome, bytes]:
        """`most_bytes`: of the answer; None: its status is all that is wanted."""
        try:
            check_url(url, allow_private=self._allow_private)
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return await (_status_of(answer) if most_bytes is None else _answer_of(answer, most_bytes))
        except AddressRefused as refused:
            failed = Outcome(False, f"not sent: {refused}")
        except aiohttp.ConnectionTimeoutError:
            failed = Outcome(False, "not reached in time")
        except TimeoutError:
            failed = Outcome(False, "no answer in time", is_unknown=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            is_unknown = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL)
            failed = Outcome(False, f"not reached ({type(error).__name__})", is_unknown=is_unknown)
            if (refused_by := _refused_in(error)) is not None:
                failed = Outcome(False, f"not sent: {refused_by}")
        return failed, b""

    async def close(self) -> None:
        """Cut all connections."""
        await self._session.close()


async def _status_of(answer: aiohttp.ClientResponse) -> tuple[Outcome, bytes]:
    rest = await answer.content.read(_ANSWER_BYTES)
    if len(rest) == _ANSWER_BYTES or not answer.content.at_eof():
        answer.close()  # the status is all that is wanted
    return _judged(answer.status, answer.headers.get("Retry-After"), answer.headers.get("Date")), b""


async def _answer_of(answer: aiohttp.ClientResponse, most_bytes: int) -> tuple[Outcome, bytes]:
    found = b""
    while len(found) <= most_bytes and (piece := await answer.content.read(most_bytes + 1 - len(found))):
        found += piece
    if len(found) > most_bytes:
        answer.close()
        return Outcome(False, f"answered with more than {most_bytes:,} bytes", answer.status), b""
    judged = _judged(answer.status, answer.headers.get("Retry-After"), answer.headers.get("Date"))
    return judged, found if judged.is_delivered else b""


def _judged(status: int, retry_after: str | None, date: str | None) -> Outcome:
    if 200 <= status < 300:
        return Outcome(True, f"answered {status}", status)
    words = f"answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
    return Outcome(False, words, status, _wait_s(retry_after, date) if status in (429, 503) else None)


def _wait_s(retry_after: str | None, date: str | None) -> float | None:
    """Seconds, given as such or as a time (by the other side's own clock); None for what cannot be read."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:6]), _LONGEST_WAIT_S)
    try:
        seconds = (parsedate_to_datetime(retry_after) - parsedate_to_datetime(date or "")).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(0.0, seconds), _LONGEST_WAIT_S)


def _refused_in(error: BaseException | None) -> AddressRefused | None:
    """The refusal behind what the client has made of it."""
    while error is not None:
        if isinstance(error, AddressRefused):
            return error
        error = error.__cause__ or error.__context__
    return None
