"""Webhooks: to whom transitions are sent. `tideline deliver` sends them; here they are made and looked at."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from config.errors import NoLog, NotStored
from streams.adapters.redis_deliveries import Endpoint, Progress, RedisDeliveries, Secrets, Sent
from streams.api.auth import Authenticator, access
from streams.api.bodies import Bodies, described
from streams.api.definer import Definer
from streams.api.definition_requests import IdempotencyKey
from streams.api.definitions_view import DefinitionsView
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.once import REPLAYED, Once, once_of
from streams.api.problems import Kind, Problem
from streams.api.services import Services
from streams.api.stored import NothingYet
from streams.api.targets import check_segments, named, status_of
from streams.api.views import time_text
from streams.api.webhook_views import (
    DeliveryList,
    DeliveryView,
    NewWebhook,
    Redrive,
    Redriven,
    TestResult,
    WebhookList,
    WebhookView,
    WebhookWithSecret,
)
from streams.runtime.deliveries.addresses import AddressRefused, check_url
from streams.runtime.deliveries.endpoint_run import headers_of
from streams.runtime.deliveries.pace import Breaker, Delivery
from streams.runtime.deliveries.sender import Sender
from streams.runtime.deliveries.signing import SECRET_BYTES, read_secret, write_secret

MAX_WEBHOOKS: Final = 100
OVERLAP_S: Final = 86_400.0
SHOWN_S: Final = OVERLAP_S
"""For so long the answer to a request that is sent again has its secret."""
"""So long a secret is good beside the one that took its place."""
_DELIVERY: Final = msgspec.msgpack.Decoder(Delivery)

State = Annotated[Literal["waiting", "dead", "delivered"], Query(description="Of which state; some of the latest.")]


def add_webhooks(
    app: FastAPI, services: Services, definer: Definer, authenticator: Authenticator, bodies: Bodies
) -> None:
    """Add the routes of webhooks."""
    hooks = Webhooks(services, definer)
    add_writes(app, hooks, authenticator, bodies)

    @app.get(
        "/v1/webhooks",
        tags=["webhooks"],
        operation_id="listWebhooks",
        summary="All webhooks, and how it goes with them",
        responses=problems(),
        **access(authenticator, Role.READ),
    )
    def all_webhooks() -> WebhookList:
        defined = hooks.defined()
        found = [endpoint for endpoint in hooks.store.all() if endpoint.audience is None]
        return WebhookList(items=[hooks.view(endpoint, defined) for endpoint in found])

    @app.get(
        "/v1/webhooks/{webhook_id}",
        tags=["webhooks"],
        operation_id="getWebhook",
        summary="One webhook",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def one_webhook(webhook_id: str) -> WebhookView:
        return hooks.view(hooks.get(webhook_id), hooks.defined())

    @app.get(
        "/v1/webhooks/{webhook_id}/deliveries",
        tags=["webhooks"],
        operation_id="listDeliveries",
        summary="Deliveries that wait, are dead, or have arrived lately",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def deliveries(webhook_id: str, state: State = "waiting") -> DeliveryList:
        hooks.get(webhook_id)
        return DeliveryList(items=hooks.deliveries(webhook_id, state))


def add_writes(app: FastAPI, hooks: Webhooks, authenticator: Authenticator, bodies: Bodies) -> None:
    """Those that change something."""
    wanted, letters = bodies.of(NewWebhook), bodies.of(Redrive)

    def taking(type_: type[BaseModel]) -> dict[str, Any]:
        given = access(authenticator, Role.WRITE)
        given["openapi_extra"] |= described(type_)
        return given

    @app.post(
        "/v1/webhooks",
        status_code=201,
        tags=["webhooks"],
        operation_id="createWebhook",
        summary="A new webhook, which is told of transitions from now on; shows its secret, this once",
        responses=problems(400, 408, 409, 413, 415, 422),
        **taking(NewWebhook),
    )
    async def create(
        request: Request, response: Response, new: NewWebhook = wanted, idempotency_key: IdempotencyKey = None
    ) -> WebhookWithSecret:
        view, is_again = await hooks.create(new, once_of(request, idempotency_key, new))
        response.headers.update(REPLAYED if is_again else {})
        return view

    @app.delete(
        "/v1/webhooks/{webhook_id}",
        tags=["webhooks"],
        operation_id="archiveWebhook",
        summary="Archive a webhook: nothing is sent any more, and what waits is dropped",
        responses=problems(404, 422),
        **access(authenticator, Role.WRITE),
    )
    def archive(webhook_id: str) -> WebhookView:
        return hooks.archive(webhook_id)

    @app.post(
        "/v1/webhooks/{webhook_id}/secret",
        tags=["webhooks"],
        operation_id="renewSecret",
        summary="Another secret, shown this once; for a day deliveries are signed with both",
        responses=problems(404, 422),
        **access(authenticator, Role.WRITE),
    )
    def renew(
        request: Request, response: Response, webhook_id: str, idempotency_key: IdempotencyKey = None
    ) -> WebhookWithSecret:
        view, is_again = hooks.renew(webhook_id, once_of(request, idempotency_key))
        response.headers.update(REPLAYED if is_again else {})
        return view

    @app.post(
        "/v1/webhooks/{webhook_id}/test",
        tags=["webhooks"],
        operation_id="testWebhook",
        summary="Send a test now, once, and say what came of it",
        responses=problems(404, 422),
        **access(authenticator, Role.WRITE),
    )
    async def test(webhook_id: str) -> TestResult:
        return await hooks.test(webhook_id)

    @app.post(
        "/v1/webhooks/{webhook_id}/redrive",
        tags=["webhooks"],
        operation_id="redrive",
        summary="Send dead letters again, under their ids",
        responses=problems(400, 404, 408, 413, 415, 422),
        **taking(Redrive),
    )
    def redrive(webhook_id: str, which: Redrive = letters) -> Redriven:
        hooks.live(webhook_id)
        ids = None if which.ids is None else frozenset(which.ids)
        return Redriven(redriven=hooks.store.redrive(webhook_id, ids))


def new_id(kind: str, once: Once | None) -> str:
    """Of a new endpoint: `wh_5f0c6f3a1b2c`. A request that is sent again has the same one."""
    return f"{kind}_{secrets.token_hex(6) if once is None else once.name[:12]}"


class Made(NamedTuple):
    """What was stored of a new endpoint."""

    endpoint: Endpoint
    secrets: Secrets
    progress: Progress
    is_again: bool
    """It was made before, by the same request."""

    def shown_secret(self, now_s: float) -> str | None:
        """The one that this request made; to who asks again it is shown for a day, and until there is another."""
        is_its_own = self.secrets.previous is None
        return self.secrets.current if is_its_own and now_s < self.endpoint.created_s + SHOWN_S else None


class Webhooks:
    """What the routes do."""

    def __init__(self, services: Services, definer: Definer) -> None:
        self._services = services
        self._definer = definer
        self._private = services.options.webhooks_private

    @property
    def store(self) -> RedisDeliveries:
        return self._services.webhooks

    def defined(self) -> DefinitionsView | None:
        """What is defined now; None where nobody has told it yet. Raises StoreError."""
        try:
            return self._definer.view()
        except NothingYet:
            return None

    def get(self, webhook_id: str) -> Endpoint:
        """Raises NotStored, also for the id of an audience."""
        found = self.store.get(webhook_id)
        if found.audience is not None:
            raise NotStored(f"no webhook has the id {webhook_id[:40]!r}")
        return found

    def live(self, webhook_id: str) -> Endpoint:
        """Raises NotStored, also for one that is archived."""
        found = self.get(webhook_id)
        if found.archived_s is not None:
            raise NotStored(f"the webhook {webhook_id[:40]!r} is archived")
        return found

    async def create(self, new: NewWebhook, once: Once | None) -> tuple[WebhookWithSecret, bool]:
        """Whether it was made before, by the same request, as well. Raises `Problem` for what cannot be one."""
        try:
            check_url(new.url, allow_private=self._private)
        except AddressRefused as refused:
            raise Problem(Kind.INVALID_PARAMETERS, f"url: {refused}") from refused
        secret = write_secret(secrets.token_bytes(SECRET_BYTES)) if new.secret is None else new.secret
        try:
            read_secret(secret)
        except ValueError as error:
            raise Problem(Kind.INVALID_PARAMETERS, f"secret: {error}") from None
        endpoint = Endpoint(
            new_id("wh", once),
            new.url,
            new.name,
            self._services.wall(),
            tuple(new.segments),
            new.direction,
            tuple(new.origins),
        )
        made = await self.add(endpoint, Secrets(secret), once)
        view = (await run_in_threadpool(self._view, made.endpoint, made.progress)).model_dump()
        return WebhookWithSecret(**view, secret=made.shown_secret(self._services.wall())), made.is_again

    async def add(self, endpoint: Endpoint, secret: Secrets, once: Once | None) -> Made:
        """Store a new one, which is told of what comes from now on; its id is one of `new_id`.

        Raises `Problem` where there are too many, where its idempotency key was used for something else, and for
        segments that cannot be targeted.
        """
        progress = Progress(positions=await self._ends())
        return await run_in_threadpool(self._add, endpoint, secret, progress, once)

    def _add(self, endpoint: Endpoint, secret: Secrets, progress: Progress, once: Once | None) -> Made:
        before = None if once is None else self._made_before(endpoint.id, once)
        if before is not None:
            return before
        if named(endpoint):
            where = "body.segments.{}" if endpoint.audience is None else "body.segment_id"
            check_segments(self._definer.view(), named(endpoint), where)
        live = [each for each in self.store.all() if each.archived_s is None]
        if len(live) >= MAX_WEBHOOKS:
            raise Problem(Kind.TOO_MANY, f"there are {MAX_WEBHOOKS} webhooks already; archive one first")
        if once is None:
            self.store.add(endpoint, secret, progress)
            return Made(endpoint, secret, progress, is_again=False)
        self.store.add(msgspec.structs.replace(endpoint, content=once.content), secret, progress)
        found = self._made_before(endpoint.id, once)  # by this request, or by its twin at the same moment
        assert found is not None
        return found._replace(is_again=found.secrets != secret)

    def _made_before(self, endpoint_id: str, once: Once) -> Made | None:
        try:
            found = self.store.get(endpoint_id)
        except NotStored:
            return None
        if found.content != once.content:
            raise Problem(Kind.KEY_REUSED, "this Idempotency-Key came with another request before; take a new one")
        if found.archived_s is not None:
            raise Problem(Kind.KEY_REUSED, "what was made under this Idempotency-Key is archived; take a new one")
        return Made(found, self.store.secrets(endpoint_id), self.store.progress(endpoint_id), is_again=True)

    async def _ends(self) -> list[int] | None:
        """Where the log ends now; None if there is none yet, so that its beginning is from now on, too."""
        try:
            feed = await self._services.transitions.open()
        except NoLog:
            return None
        try:
            return [part.end for part in await feed.kept()]
        finally:
            await feed.close()

    def archive(self, webhook_id: str) -> WebhookView:
        """For good."""
        endpoint = self.get(webhook_id)
        if endpoint.archived_s is None:
            endpoint = msgspec.structs.replace(endpoint, archived_s=self._services.wall())
            self.store.replace(endpoint)
        return self._view(endpoint)

    def renew(self, webhook_id: str, once: Once | None) -> tuple[WebhookWithSecret, bool]:
        """The one before is good for a while. And whether it was renewed before, by the same request."""
        endpoint, now_s = self.live(webhook_id), self._services.wall()
        secret, asked = write_secret(secrets.token_bytes(SECRET_BYTES)), None if once is None else once.name

        def change(before: Secrets) -> Secrets | None:
            # Asked again it must not take the place of the one that receivers have to learn.
            is_again = asked is not None and before.asked == asked
            return None if is_again else Secrets(secret, before.current, now_s + OVERLAP_S, asked)

        found, is_new = self.store.change_secrets(webhook_id, change)
        shown = found.current if now_s < found.previous_until_s - OVERLAP_S + SHOWN_S else None
        return WebhookWithSecret(**self._view(endpoint).model_dump(), secret=shown), not is_new

    async def test(self, webhook_id: str) -> TestResult:
        """From this process, past everything that waits."""
        endpoint = await run_in_threadpool(self.live, webhook_id)
        signing = await run_in_threadpool(self.store.secrets, webhook_id)
        id_, now_s = f"test-{secrets.token_hex(16)}", self._services.wall()
        event = {
            "specversion": "1.0",
            "id": id_,
            "source": "tideline",
            "type": "tideline.test.v1",
            "time": time_text(now_s),
            "datacontenttype": "application/json",
            "data": {"webhook_id": endpoint.id, "webhook_name": endpoint.name},
        }
        body = msgspec.json.encode(event)
        sender = Sender(allow_private=self._private, timeout_s=self._services.options.webhooks_timeout_s)
        try:
            outcome = await sender.post(endpoint.url, headers_of(signing, id_, now_s, body), body)
        finally:
            await sender.close()
        return TestResult(delivered=outcome.is_delivered, status=outcome.status, result=outcome.words, id=id_)

    def _view(self, endpoint: Endpoint, progress: Progress | None = None) -> WebhookView:
        return self.view(endpoint, self.defined(), progress)

    def view(
        self, endpoint: Endpoint, defined: DefinitionsView | None, progress: Progress | None = None
    ) -> WebhookView:
        """As it is answered, by what is defined now; `progress`: of one that was made just now."""
        found = self.store.progress(endpoint.id) if progress is None else progress
        state = Breaker(found.failures_in_a_row, found.openings, found.open_until_s).state(self._services.wall())
        return WebhookView(
            id=endpoint.id,
            url=endpoint.url,
            name=endpoint.name,
            segments=list(endpoint.segments),
            direction=endpoint.direction,  # type: ignore[arg-type]  # pydantic looks
            origins=list(endpoint.origins),
            status=status_of(defined, endpoint),
            created_at=time_text(endpoint.created_s),
            archived_at=time_text(endpoint.archived_s),
            circuit=state,
            circuit_until=time_text(found.open_until_s),
            waiting=0 if progress is not None else self.store.waiting_count(endpoint.id),
            delivered=found.delivered,
            failed=found.failed,
            dead=0 if progress is not None else self.store.dead_count(endpoint.id),
            missed=found.missed,
            last_result=found.last_words or None,
            last_at=time_text(found.last_s),
        )

    def deliveries(self, webhook_id: str, state: str) -> list[DeliveryView]:
        """Of one state, the latest first where they have arrived, else the oldest."""
        if state == "delivered":
            return [_sent_view(sent) for sent in self.store.recent(webhook_id)]
        stored = self.store.dead(webhook_id).values() if state == "dead" else self.store.waiting(webhook_id)
        found = sorted((_DELIVERY.decode(data) for data in stored), key=lambda delivery: delivery.number)
        return [
            DeliveryView(
                id=delivery.id,
                user_id=delivery.user,
                state="dead" if state == "dead" else "waiting",
                attempts=delivery.attempts,
                since=time_text(delivery.since_s),
                next_attempt=time_text(delivery.due_s) if state == "waiting" and delivery.due_s else None,
                delivered_at=None,
                result=delivery.words or None,
            )
            for delivery in found
        ]


def _sent_view(sent: Sent) -> DeliveryView:
    return DeliveryView(
        id=sent.id,
        user_id=sent.user,
        state="delivered",
        attempts=sent.attempts,
        since=None,
        next_attempt=None,
        delivered_at=time_text(sent.at_s),
        result=sent.words,
    )
