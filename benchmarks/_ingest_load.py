"""Events over HTTP for the benchmark of ingest: as many as the API takes, or one after another at a steady rate."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

import numpy as np

BODIES: Final = 64
"""Different batches, sent again and again: making them is not what is timed."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send, and with which key."""

    host: str
    port: int
    key: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What the API has taken."""

    events: int
    seconds: float
    request_ms: list[float]
    """Of every request, from sending it to its answer."""


def call(user: str, number: int) -> dict[str, object]:
    """One order."""
    return {
        "type": "track",
        "userId": user,
        "event": "Order Completed",
        "messageId": f"{user}-{number}",
        "properties": {"order_id": f"o{number}", "revenue": 12.5, "currency": "EUR", "products": ["a", "b"]},
        "context": {"library": {"name": "benchmark", "version": "1"}, "locale": "en-GB"},
    }


def request(target: Target, path: str, body: bytes) -> bytes:
    """The bytes of one request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {target.host}\r\nAuthorization: Bearer {target.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def answer(reader: asyncio.StreamReader) -> None:
    """Read one answer. Raises RuntimeError unless the API has taken the events."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    body = await reader.readexactly(size)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the API has refused events: {body.decode(errors='replace')}")


def send_batches(told: Connection, target: Target, connections: int, batch: int, seconds: float) -> None:
    """For so long, on so many connections at once, the next batch when the one before is answered. For a process."""
    bodies = [json.dumps({"batch": [call(f"user-{b}-{n}", n) for n in range(batch)]}).encode() for b in range(BODIES)]
    requests = [request(target, "/v1/batch", body) for body in bodies]
    told.send(asyncio.run(_send_batches(target, requests, connections, batch, seconds)))


async def _send_batches(target: Target, requests: list[bytes], connections: int, batch: int, seconds: float) -> Taken:
    taken: list[float] = []

    async def one(first: int, until_s: float) -> None:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        number = first
        while time.perf_counter() < until_s:
            began_s = time.perf_counter()
            writer.write(requests[number % len(requests)])
            await answer(reader)
            taken.append((time.perf_counter() - began_s) * 1_000.0)
            number += 1
        writer.close()

    began_s = time.perf_counter()
    await asyncio.gather(*(one(n * 7, began_s + seconds) for n in range(connections)))
    return Taken(len(taken) * batch, time.perf_counter() - began_s, taken)


async def send_steadily(target: Target, users: list[str], rate: float, sent_s: dict[str, float]) -> float:
    """One order of each user, so many a second; `sent_s` gets when each was due (monotonic clock).

    Returns by how many seconds the last one was late. A sender that is held up makes latencies longer, not fewer.
    """
    loop = asyncio.get_running_loop()
    free: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
    pending: set[asyncio.Task[None]] = set()

    async def one(user: str) -> None:
        if free.empty():
            line = await asyncio.open_connection(target.host, target.port)
        else:
            line = free.get_nowait()
        line[1].write(request(target, "/v1/track", json.dumps(call(user, 1)).encode()))
        await answer(line[0])
        free.put_nowait(line)

    began_s = loop.time()
    for number, user in enumerate(users):
        due_s = began_s + number / rate
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        sent_s[user] = due_s
        pending.add(asyncio.create_task(one(user)))
        pending = {task for task in pending if not task.done() or task.exception() is not None}
    late_s = loop.time() - (began_s + (len(users) - 1) / rate)
    await asyncio.gather(*pending)
    while not free.empty():
        free.get_nowait()[1].close()
    return late_s


@dataclass(frozen=True, slots=True)
class Latencies:
    """From when an order was due until its webhook was there, in milliseconds."""

    timed: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    missing: int
    """Orders whose webhook did not come in time, of all that were sent."""
    sender_late_ms: float


async def latencies(
    target: Target, users: list[str], rate: float, arrived_s: dict[str, float], *, settle_s: float, wait_s: float
) -> Latencies:
    """Send one order of each user, and wait until `arrived_s` has all of them, `wait_s` at most.

    The orders of the first `settle_s` are not timed. Raises RuntimeError where nothing that counts has arrived.
    """
    sent_s: dict[str, float] = {}
    late_s = await send_steadily(target, users, rate, sent_s)
    deadline_s = time.monotonic() + wait_s
    while not all(user in arrived_s for user in users) and time.monotonic() < deadline_s:  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # not at each arrival: that would be timed, too
    timed = users[int(rate * settle_s) :]
    ms = [(arrived_s[user] - sent_s[user]) * 1_000.0 for user in timed if user in arrived_s]
    if not ms:
        raise RuntimeError("no webhook has arrived")
    p50, p99, worst = (float(value) for value in np.percentile(ms, [50.0, 99.0, 100.0]))
    return Latencies(len(ms), p50, p99, worst, sum(user not in arrived_s for user in users), late_s * 1_000.0)
