"""What is delivered to others: webhooks, lists kept elsewhere, and channels of campaigns.

What was given up on the way to a webhook or a channel is kept, and sent again as it was. Of a list only the number is:
a change that is sent later might be old by then, so the whole list is compared instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from starlette.responses import Response

from config.errors import NotStored
from streams.adapters.redis_deliveries import Endpoint
from streams.api.app import Parts
from streams.api.campaign_channels import Channels
from streams.api.keys import Role
from streams.api.views import time_text
from streams.api.webhooks import Webhooks
from streams.console.delivery_words import result_words
from streams.console.language import Language
from streams.console.problem_words import Said
from streams.console.routing import PageRoute
from streams.console.visit import Visit
from streams.runtime.channels.redriving import read_delivery, renewed

Kind = Literal["webhook", "audience", "channel"]
_SHOWN: Final = 100
"""Failures of one that are shown."""


class Target(NamedTuple):
    """Something that takes what is delivered."""

    kind: Kind
    id: str
    name: str
    waiting: int
    dead: int
    """What was given up; of a list since it was compared last."""


class Failure(NamedTuple):
    """One delivery that was given up."""

    id: str
    user: str
    attempts: int
    at: str | None
    result: Said
    """What came of the last attempt."""


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
        hooks = [self._endpoint(each) for each in self._webhooks.store.all() if each.archived_s is None]
        return hooks + [Target("channel", v.id, v.id, v.waiting, v.dead) for v in self._channels.all()]

    def _endpoint(self, found: Endpoint) -> Target:
        store, name = self._webhooks.store, found.name or found.url
        waiting = store.waiting_count(found.id)
        if found.audience is None:
            return Target("webhook", found.id, name, waiting, store.dead_count(found.id))
        return Target("audience", found.id, name, waiting, store.progress(found.id).differing)

    def show(self, visit: Visit) -> Response:
        """What one of them gave up, with the question whether to send it again. Raises NotStored, StoreError."""
        target = self._target(visit.query.get("kind", ""), visit.query.get("id", ""))
        if target.kind == "audience":
            return visit.render("failures_of_list.html", target=target)
        found = list(self._failures(target, visit.language))
        return visit.render("failures.html", target=target, failures=found[:_SHOWN], count=len(found))

    def redrive(self, visit: Visit) -> Response:
        """Send all of it again, or compare a list. Raises NotStored, StoreError."""
        target = self._target(visit.form.get("kind", ""), visit.form.get("id", ""))
        if target.kind == "webhook":
            self._webhooks.store.redrive(target.id, None)
        elif target.kind == "audience":
            self._webhooks.store.ask_to_compare(target.id)
        else:
            self._services.channels.desks.redrive(target.id, "dead", renewed(self._services.wall()))
        return visit.go("/system")

    def _target(self, kind: str, id_: str) -> Target:
        for each in self.targets():
            if (each.kind, each.id) == (kind, id_):
                return each
        raise NotStored(f"nothing is delivered to {id_[:100]!r}")

    def _failures(self, target: Target, language: Language) -> Iterator[Failure]:
        if target.kind == "webhook":
            for each in self._webhooks.deliveries(target.id, "dead"):
                result = result_words(language, each.result or "")
                yield Failure(each.id, each.user_id, each.attempts, each.since, result)
            return
        for data in self._services.channels.desks.ended(target.id, "dead").values():
            delivery = read_delivery(data)
            result = result_words(language, delivery.words)
            yield Failure(delivery.id, delivery.user, delivery.attempts, time_text(delivery.since_s), result)
