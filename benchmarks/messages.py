"""How soon a message arrives at a webhook after the event whose crossing it is for, beside 99 other campaigns.

See `docs/benchmarks.md`. Store, worker, API and the service of campaigns run as `tideline up` runs them, on this
machine, with the embedded log. Each order of a new user crosses a line on which 100 campaigns wait: one sends to a
webhook that is timed, one to an endpoint that never answers, and of the others the filter does not hold.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks._command import Command
from benchmarks._ingest_load import latencies
from benchmarks._measure import Figures, Progress
from benchmarks.ingest import CATALOG, Service, receiver, running
from config.settings import PREFIX
from streams.runtime.precompile import precompile
from streams.runtime.up_parts import CampaignsPart, WorkerPart

CAMPAIGNS: Final = 100
SETTLE_S: Final = 3.0
"""The first of them are not timed."""
_ARRIVE_S: Final = 60.0
_TIMED, _DEAD = "timed", "dead"


@dataclass(frozen=True, slots=True)
class Size:
    """How much to run; see `--help`."""

    rate: float
    seconds: float


def _campaign(channel: str, filter_: dict[str, Any] | None) -> dict[str, Any]:
    """On the crossing; nobody is held back, so that each order is a message."""
    given: dict[str, Any] = {
        "name": f"To {channel}",
        "segment": "bought",
        "conversion": {"event": "Order Completed"},
        "channels": [channel],
        "control": 0,
        "skip_recent_goal": 0,
        "breaker": None,
        "message": {"parts": {"body": "Hello {{ user.id }}"}},
    }
    return given if filter_ is None else given | {"filter": filter_}


def write_catalog(folder: Path) -> Path:
    """The shop of the ingest benchmark with 100 campaigns."""
    data = yaml.safe_load(CATALOG.read_text(encoding="utf-8"))
    data["messaging"] = {"holdout": 0, "channels": {name: {"kind": "webhook"} for name in (_TIMED, _DEAD)}}
    others = {"event": "Order Completed", "count": {"min": 1_000}}
    data["campaigns"] = {
        "timed": _campaign(_TIMED, None),
        "to_nobody": _campaign(_DEAD, None),
        **{f"other_{number}": _campaign(_TIMED, others) for number in range(CAMPAIGNS - 2)},
    }
    path = folder / "catalog.yaml"
    path.write_text(json.dumps(data), encoding="utf-8")  # which is YAML
    return path


async def measure(service: Service, size: Size, progress: Progress) -> Figures:
    """Orders of new users at a steady rate, each of whom gets a message."""
    arrived_s: dict[str, float] = {}
    users = [f"user-{number}" for number in range(max(1, int(size.rate * (size.seconds + SETTLE_S))))]
    async with receiver(arrived_s) as url, receiver({}, hangs=True) as dead:
        for channel, address in ((_TIMED, url), (_DEAD, dead)):
            await asyncio.to_thread(_set_channel, service, channel, address)
        progress.say("messages")
        found = await latencies(service.target, users, size.rate, arrived_s, settle_s=SETTLE_S, wait_s=_ARRIVE_S)
    return {
        "campaigns": CAMPAIGNS,
        "rate": size.rate,
        "messages": found.timed,
        "missing": found.missing,
        "p50_ms": found.p50_ms,
        "p99_ms": found.p99_ms,
        "worst_ms": found.worst_ms,
        "sender_late_ms": found.sender_late_ms,
    }


def _set_channel(service: Service, channel: str, url: str) -> None:
    with service.client() as client:
        client.call("setChannel", {"channel_id": channel}, body={"settings": {"kind": "webhook", "url": url}})


def run(size: Size, folder: Path, progress: Progress) -> Figures:
    """All of it."""
    precompile()
    os.environ |= {f"{PREFIX}WEBHOOKS_PRIVATE": "true"}  # of the processes that are started
    with running(folder / "data", WorkerPart, CampaignsPart, catalog=write_catalog(folder)) as service:
        return asyncio.run(measure(service, size, progress))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    command = Command("messages", __doc__)
    command.numbers({"rate": (20.0, "orders a second, each a crossing"), "seconds": (30.0, "that are timed")})
    command.run(arguments, lambda given, folder, progress: run(Size(**given), folder, progress))


if __name__ == "__main__":
    main()
