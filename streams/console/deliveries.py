"""What is delivered to others: webhooks, and channels of campaigns; what they gave up, and sending it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from starlette.responses import Response

from config.errors import NotStored
from streams.api.app import Parts
from streams.api.campaign_channels import Channels
from streams.api.keys import Role
from streams.api.views import time_text
from streams.api.webhooks import Webhooks
from streams.console.routing import PageRoute
from streams.console.visit import Visit
from streams.runtime.channels.redriving import read_delivery, renewed

Kind = Literal["webhook", "channel"]
KINDS: Final[tuple[Kind, ...]] = ("webhook", "channel")
_SHOWN: Final = 100
"""Failures of one that are shown."""


class Target(NamedTuple):
    """Something that takes what is delivered."""

    kind: Kind
    id: str
    name: str
    waiting: int
    dead: int
    """What was given up and is kept."""


class Failure(NamedTuple):
    """One delivery that was given up."""

    id: str
    user: str
    attempts: int
    at: str | None
    result: str
    """What came of the last attempt; told by the other side, so in its language."""


class Deliveries:
    """The pages, and the list for that of the system."""

    def __init__(self, parts: Parts) -> None:
        self._services = parts.services
        self._webhooks = Webhooks(parts.services, parts.definer)
        self._channels = Channels(parts.services)

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened."""
        yield PageRoute("/system/failures", "GET", Role.READ, self.show)
        yield PageRoute("/system/failures", "POST", Role.WRITE, self.redrive)

    def targets(self) -> list[Target]:
        """All that are not archived. Raises StoreError."""
        store = self._webhooks.store
        hooks = [
            Target("webhook", each.id, each.name or each.url, store.waiting_count(each.id), store.dead_count(each.id))
            for each in store.all()
            if each.audience is None and each.archived_s is None
        ]
        return hooks + [Target("channel", v.id, v.id, v.waiting, v.dead) for v in self._channels.all()]

    def show(self, visit: Visit) -> Response:
        """What one of them gave up, with the question whether to send it again. Raises NotStored, StoreError."""
        target = self._target(visit.query.get("kind", ""), visit.query.get("id", ""))
        found = list(self._failures(target))
        return visit.render("failures.html", target=target, failures=found[:_SHOWN], count=len(found))

    def redrive(self, visit: Visit) -> Response:
        """Send all of it again. Raises NotStored, StoreError."""
        target = self._target(visit.form.get("kind", ""), visit.form.get("id", ""))
        if target.kind == "webhook":
            self._webhooks.store.redrive(target.id, None)
        else:
            self._services.channels.desks.redrive(target.id, "dead", renewed(self._services.wall()))
        return visit.go("/system")

    def _target(self, kind: str, id_: str) -> Target:
        for each in self.targets():
            if (each.kind, each.id) == (kind, id_):
                return each
        raise NotStored(f"nothing is delivered to {id_[:100]!r}")

    def _failures(self, target: Target) -> Iterator[Failure]:
        if target.kind == "webhook":
            for each in self._webhooks.deliveries(target.id, "dead"):
                yield Failure(each.id, each.user_id, each.attempts, each.since, each.result or "")
            return
        for data in self._services.channels.desks.ended(target.id, "dead").values():
            delivery = read_delivery(data)
            yield Failure(
                delivery.id, delivery.user, delivery.attempts, time_text(delivery.since_s), delivery.words or ""
            )
