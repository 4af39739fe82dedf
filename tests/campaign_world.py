"""What drives the engine in tests: a store that keeps bytes, shared grants, a service that can be stopped anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

from config.campaigns import Campaign, Channel, Messaging
from config.journeys import Journey
from streams.campaigns.allowance import Allowance, new_grant
from streams.campaigns.decide import Render, Tools
from streams.campaigns.effects import Alert, Note, Send
from streams.campaigns.engine import Engine
from streams.campaigns.inputs import Due, Facts, Input
from streams.campaigns.offers import Kind
from streams.campaigns.plan import Definitions, Plan
from streams.campaigns.state import State, pack, unpack_row, unpack_state

OPEN = Messaging(holdout=0.0, channels={"open": Channel(kind="log")})
"""Everybody may be sent to."""


def campaign(**given: Any) -> Campaign:
    """A campaign that sends to everybody who enters `s`, unless something else is given."""
    data: dict[str, Any] = {
        "name": "Test",
        "segment": "s",
        "conversion": {"event": "Order", "revenue": "value"},
        "channels": ["open"],
        "message": {"parts": {"body": "Hello"}},
        "control": 0.0,
        "reentry": "always",
        "skip_recent_goal": 0,
        "max_trigger_age": "1d",
        "breaker": None,
    }
    return Campaign.model_validate(data | given, context={})


def journey(steps: dict[str, Any], **given: Any) -> Journey:
    """A journey that everybody enters who enters `s`, unless something else is given."""
    data = campaign().model_dump(by_alias=True, include={"name", "segment", "channels", "control", "breaker"})
    data |= {"conversion": {"event": "Order"}, "reentry": "always", "skip_recent_goal": 0, "max_trigger_age": "1d"}
    return Journey.model_validate(data | given | {"steps": steps}, context={})


def send_step(text: str = "Hello", **given: Any) -> dict[str, Any]:
    """A step that sends."""
    return {"send": {"parts": {"body": text}}, **given}


@dataclass
class SharedGrants:
    """The shared side of allowances, for all partitions."""

    grants: dict[str, dict[int, int]] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)

    def of(self, partition: int) -> PartitionGrants:
        return PartitionGrants(self, partition)


class PartitionGrants(NamedTuple):
    shared: SharedGrants
    partition: int

    def raise_to(self, resource: str, limit: int, wanted: int, until_s: float) -> int:  # noqa: ARG002 - never forgets
        grants = self.shared.grants.setdefault(resource, {})
        grants[self.partition] = new_grant(limit, grants, self.partition, wanted)
        self.shared.limits[resource] = limit
        assert sum(grants.values()) <= limit
        return grants[self.partition]

    def lower_to(self, resource: str, amount: int) -> None:
        self.shared.grants[resource][self.partition] = amount


class Crash(Exception):
    """The process is gone."""


def plain(_message: object, context: Mapping[str, Any]) -> Mapping[str, str]:
    """Renders what it is given, so that tests see it."""
    return {"body": f"{context['user']['id']} {context['offer']}"}


@dataclass
class Service:
    """One partition: a store, a log of what was published, and whoever takes messages in by their numbers."""

    plan: Plan
    grants: PartitionGrants = field(default_factory=lambda: SharedGrants().of(0))
    usual: Mapping[str, float] = field(default_factory=dict)
    render: Render = plain
    rows: dict[str, bytes] = field(default_factory=dict)
    state: bytes = field(default_factory=lambda: pack(State()))
    position: int = 0
    outbox: list[Send] = field(default_factory=list)
    taken: list[Send] = field(default_factory=list)
    """What the channel took in: each number once."""
    notes: list[Note] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        campaigns: Mapping[str, Campaign] | None = None,
        journeys: Mapping[str, Journey] | None = None,
        *,
        messaging: Messaging = OPEN,
        kinds: Mapping[str, Kind] | None = None,
        **given: Any,
    ) -> Service:
        versions = {id_: {1: each} for id_, each in (journeys or {}).items()}
        return cls(Plan(Definitions(messaging, campaigns or {}, versions, kinds or {})), **given)

    def step(
        self, now_s: float, inputs: Sequence[Input], facts: Mapping[str, Facts | None], crash: int | None = None
    ) -> None:
        """A batch: read, decide, commit, publish, trim. `crash` says behind which of these it ends with Crash."""
        state = unpack_state(self.state)
        rows = {user: unpack_row(data) for user, data in self.rows.items()}
        allowance = Allowance(state, self.grants)
        allowance.forget_over(now_s)
        engine = Engine(Tools(self.plan, allowance, self.render, self.usual, state.tripped), state, rows, facts)
        due = {user: min((w.due_s for w in row.waiting.values()), default=inf) for user, row in rows.items()}
        late = sorted((user for user, row in rows.items() if row.next_s() <= now_s), key=lambda user: (due[user], user))
        engine.take([*(Due(user) for user in late), *inputs], now_s)
        _end(crash, 0)
        effects = engine.effects
        for user in effects.gone:
            self.rows.pop(user, None)
        self.rows |= {user: pack(engine.rows[user]) for user in effects.changed}
        self.state = pack(state)
        self.outbox += effects.sends
        self.position += 1
        _end(crash, 1)
        self.publish(crash)
        self.notes += effects.notes
        self.alerts += effects.alerts

    def publish(self, crash: int | None = None) -> None:
        """What the outbox holds; on a new start all of it again."""
        for send in self.outbox:
            if send.number > max((each.number for each in self.taken), default=0):
                self.taken.append(send)
            _end(crash, 2)
        _end(crash, 3)
        self.outbox.clear()

    def resume(self, id_: str) -> None:
        """A person lets a campaign go on."""
        state = self.now
        state.tripped.discard(id_)
        self.state = pack(state)

    @property
    def now(self) -> State:
        """The state as it is stored."""
        return unpack_state(self.state)

    def counts(self, id_: str) -> dict[str, int]:
        """What became of a campaign's messages."""
        return self.now.counts.get(id_, {})


def _end(crash: int | None, place: int) -> None:
    if crash == place:
        raise Crash
