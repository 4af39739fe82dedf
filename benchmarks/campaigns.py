"""A scheduled campaign to very many users: how fast it goes out, and that memory does not grow with it.

One partition as `tideline campaigns` runs it, on an embedded Valkey server that writes each commit to disk before it
answers. Logs are empty, facts of users are made up as they are asked for, and what is put out is counted and dropped:
what is measured is deciding, storing and the outbox. `docs/benchmarks.md` explains the keys.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks._command import Command
from benchmarks._measure import Figures, Memory, Progress
from config.campaign_checks import read_campaign, read_messaging
from config.catalog import Catalog
from config.loader import loads
from streams.adapters.redis_campaigns import RedisCampaigns
from streams.adapters.valkey_server import EmbeddedValkey
from streams.campaigns.effects import Out, Send
from streams.campaigns.inputs import Facts, Score
from streams.campaigns.plan import Definitions, Plan
from streams.runtime.campaigns.listening import Shard
from streams.runtime.campaigns.partition_run import CampaignRun, Defined, Ports
from streams.runtime.campaigns.two_logs import ShardAt, TwoLogs
from streams.runtime.place import PATIENCE
from streams.runtime.records import Record

_NOW_S: Final = 1_790_000_000.0  # 2026-09-21T14:13:20Z
_SEGMENT: Final = "orders.low"
_ID: Final = "letter"
_FILLED: Final = 0.2
"""From this part of all users on memory is looked at: by then buffers are as large as they get."""
_CATALOG: Final = """
version: 1
name: Shop
features: {value: revenue}
predictions: {orders: {name: Orders, goal: {did: Order Completed}, window: 7d}}
"""
_CAMPAIGN: Final[dict[str, Any]] = {
    "name": "Letter",
    "segment": _SEGMENT,
    "trigger": {"at": "2026-09-21 14:00"},
    "conversion": {"event": "Order Completed", "revenue": "revenue", "revenue_cap": 250},
    "channels": ["app"],
    "offer": {"unit": "percent", "prediction": "orders", "least": 5, "most": 20, "step": 5, "order_value": 50},
    "message": {
        "parts": {
            "subject": "{{ offer.value }} % for you",
            "body": "Hello{% if user.name is defined %} {{ user.name }}{% endif %}, take {{ offer.value }} % off.",
        }
    },
}


class _NoLog:
    """A partition in which nothing happens."""

    begin = end = 0

    def read(self, offset: int, max_records: int) -> Sequence[Record]:  # noqa: ARG002  as a log is read
        return ()

    def close(self) -> None:
        """Nothing is open."""


class _Everybody:
    """So many users, all of whom are in the segment. See `FactsReader`."""

    def __init__(self, users: int) -> None:
        self._users = users

    def use(self, plan: Plan) -> None:
        """Everything is known."""

    def facts(self, users: Sequence[str], as_of_s: float) -> Mapping[str, Facts]:
        segments = frozenset([_SEGMENT])
        scores = [{"orders": Score(score=float(int(user[5:]) % 50))} for user in users]
        return {
            user: Facts(as_of_s, segments=segments, scores=score) for user, score in zip(users, scores, strict=True)
        }

    def lives_s(self, users: Sequence[str]) -> Mapping[str, float]:
        return dict.fromkeys(users, float("-inf"))

    def members(self, segment: str, cursor: str, limit: int) -> tuple[list[str], str]:
        assert segment == _SEGMENT
        first = int(cursor or 0)
        end = min(first + limit, self._users)
        return [f"user-{number}" for number in range(first, end)], str(end) if end < self._users else ""


class _Counted:
    """Takes what is put out, and keeps how much it was. See `Outlet`."""

    def __init__(self) -> None:
        self.sends = 0
        self.others = 0

    def publish(self, outs: Sequence[Out]) -> None:
        sends = sum(isinstance(each, Send) for each in outs)
        self.sends += sends
        self.others += len(outs) - sends


def defined() -> Defined:
    """One scheduled campaign with a sliding scale, a control group and the holdout."""
    catalog: Catalog = loads(_CATALOG)
    messaging = read_messaging({"channels": {"app": {"kind": "log"}}})
    campaigns = {_ID: {1: read_campaign(_ID, _CAMPAIGN)}}
    return Defined(Plan(Definitions(messaging, campaigns, kinds={"orders": "event"})), catalog)


def measure(users: int, folder: Path, progress: Progress) -> Figures:
    """Send it to so many users."""
    memory, outlet, plan = Memory(), _Counted(), defined()
    with EmbeddedValkey(folder) as server, closing(RedisCampaigns(server.url)) as store:
        logs = TwoLogs(_NoLog(), _NoLog(), lambda: ShardAt(0, None))
        ports = Ports(store, logs, _Everybody(users), outlet, PATIENCE, lambda: plan, _NoLog)
        run = CampaignRun(ports, Shard(0, 1))
        run.assign()
        started_s, filled = time.perf_counter(), None
        while run.step(_NOW_S):
            if filled is None and run.counts.inputs >= _FILLED * users:
                filled = memory.resident_bytes()
            progress.say(f"{run.counts.inputs:,} of {users:,} users, {outlet.sends:,} messages")
        seconds = time.perf_counter() - started_s
        resident = memory.resident_bytes()
        used = _used_bytes(server.url)
        counts, left = run.counts, len(store.outbox(store.claim(0)))
    return {
        "seconds": round(seconds, 1),
        "users": users,
        "inputs": counts.inputs,
        "sends": outlet.sends,
        "other_effects": outlet.others,
        "commits": counts.commits,
        "users_per_s": round(counts.inputs / seconds, 1),
        "outbox_left": left,
        "process_bytes": resident,
        "process_bytes_at_a_fifth": filled,
        "process_peak_bytes": memory.peak_bytes(),
        "redis_used_bytes": used,
        "redis_bytes_per_user": round(used / users, 1),
    }


def _used_bytes(url: str) -> int:
    with closing(redis.Redis.from_url(url)) as client:
        return int(client.info("memory")["used_memory"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    command = Command("campaigns", __doc__)
    command.numbers({"users": (1_000_000, "members of the segment")})
    command.run(arguments, lambda given, folder, progress: measure(given["users"], folder, progress))


if __name__ == "__main__":
    main()
