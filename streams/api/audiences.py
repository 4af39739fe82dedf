"""Audiences: lists elsewhere that are kept equal to segments. `tideline deliver` keeps them; here they are made."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

import msgspec
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from config.errors import NotStored
from streams.adapters.redis_deliveries import Endpoint, Progress, Secrets
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
from streams.api.targets import EndpointStatus, status_of
from streams.api.views import time_text
from streams.api.webhook_views import STATUS, URL_PATTERN, Circuit
from streams.api.webhooks import Webhooks, new_id
from streams.runtime.deliveries.addresses import AddressRefused, check_url
from streams.runtime.deliveries.audience import SEGMENT_URL
from streams.runtime.deliveries.pace import Breaker
from streams.runtime.deliveries.signing import SECRET_BYTES, write_secret

Form = Literal["webhook", "segment"]


class _New(BaseModel):
    model_config = ConfigDict(extra="forbid")

    segment_id: str = Field(min_length=1, max_length=200, examples=["orders_7d.high"])
    name: str = Field(default="", max_length=200, description="For people; Segment's `audience_name`.")


class NewWebhookAudience(_New):
    """A list that is told by signed events `tideline.audience.entered.v1` and `.exited.v1`."""

    form: Literal["webhook"] = Field(examples=["webhook"])
    url: str = Field(
        min_length=1,
        max_length=2_000,
        description="By name, as the pattern has it; or by an address that is public.",
        examples=["https://lists.example.org/tideline"],
        json_schema_extra={"pattern": URL_PATTERN},
    )


class NewSegmentAudience(_New):
    """A list that is told by Segment's track calls `Audience Entered` and `Audience Exited`."""

    form: Literal["segment"] = Field(examples=["segment"])
    write_key: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,200}$",
        description="Of the source in Segment. It is never shown.",
        examples=["q8XzA1b2C3d4"],
        json_schema_extra={"writeOnly": True},
    )
    url: str = Field(
        default=SEGMENT_URL,
        min_length=1,
        max_length=2_000,
        description="Another one than Segment's own, if there is.",
        json_schema_extra={"pattern": URL_PATTERN},
    )


NewAudience = Annotated[NewWebhookAudience | NewSegmentAudience, Field(discriminator="form")]


class AudienceView(BaseModel):
    """A list elsewhere, and how equal it is."""

    id: str = Field(examples=["au_5f0c6f3a1b2c"])
    segment_id: str
    form: Form
    url: str
    name: str
    status: EndpointStatus = Field(description=STATUS)
    created_at: str | None
    archived_at: str | None
    listed: int = Field(description="Users on the list, as far as was told and taken.")
    waiting: int = Field(description="Changes that wait, or are on their way.")
    comparing: bool = Field(description="A full comparison is wanted, and is not done yet.")
    differing: int = Field(description="Changes that were given up since the last one; ask for another.")
    delivered: int
    failed: int = Field(description="Attempts that failed.")
    circuit: Circuit
    last_result: str | None
    last_at: str | None


class AudienceWithSecret(AudienceView):
    """An audience with the secret that its events are signed with, this once; null for `segment`, and a day later."""

    secret: str | None


class AudienceList(BaseModel):
    """All audiences."""

    items: list[AudienceView]


def add_audiences(
    app: FastAPI, services: Services, definer: Definer, authenticator: Authenticator, bodies: Bodies
) -> None:
    """Add the routes of audiences."""
    audiences = _Audiences(services, definer)
    wanted = bodies.of(NewAudience)

    def about(operation: str, summary: str, role: Role, *statuses: int) -> dict[str, Any]:
        return {
            "tags": ["audiences"],
            "operation_id": operation,
            "summary": summary,
            "responses": problems(*statuses),
            **access(authenticator, role),
        }

    @app.get("/v1/audiences", **about("listAudiences", "All audiences", Role.READ))
    def all_audiences() -> AudienceList:
        found = [endpoint for endpoint in audiences.store.all() if endpoint.audience is not None]
        defined = audiences.defined()
        return AudienceList(items=[audiences.view(endpoint, defined) for endpoint in found])

    words = "Keep a list elsewhere equal to a segment; its members are sent first"
    about_create = about("createAudience", words, Role.WRITE, 400, 408, 409, 413, 415, 422)
    about_create["openapi_extra"] |= described(NewAudience)

    @app.post("/v1/audiences", status_code=201, **about_create)
    async def create(
        request: Request, response: Response, new: NewAudience = wanted, idempotency_key: IdempotencyKey = None
    ) -> AudienceWithSecret:
        view, is_again = await audiences.create(new, once_of(request, idempotency_key, new))
        response.headers.update(REPLAYED if is_again else {})
        return view

    @app.get("/v1/audiences/{audience_id}", **about("getAudience", "One audience", Role.READ, 404, 422))
    def one_audience(audience_id: str) -> AudienceView:
        return audiences.view(audiences.get(audience_id), audiences.defined())

    words = "Archive an audience: its list is left as it is"

    @app.delete("/v1/audiences/{audience_id}", **about("archiveAudience", words, Role.WRITE, 404, 422))
    def archive(audience_id: str) -> AudienceView:
        return audiences.archive(audience_id)

    words = "Compare the whole list with the segment, and send what differs"

    @app.post("/v1/audiences/{audience_id}/compare", **about("compareAudience", words, Role.WRITE, 404, 422))
    def compare(audience_id: str) -> AudienceView:
        return audiences.compare(audience_id)


class _Audiences:
    """What the routes do."""

    def __init__(self, services: Services, definer: Definer) -> None:
        self._services = services
        self._webhooks = Webhooks(services, definer)
        self.defined = self._webhooks.defined
        self.store = services.webhooks

    def get(self, audience_id: str) -> Endpoint:
        """Raises NotStored."""
        try:
            found = self.store.get(audience_id)
        except NotStored:
            found = None
        if found is None or found.audience is None:
            raise NotStored(f"no audience has the id {audience_id[:40]!r}")
        return found

    async def create(self, new: NewAudience, once: Once | None) -> tuple[AudienceWithSecret, bool]:
        """Whether it was made before, by the same request, as well.

        Raises `Problem` for what cannot be one, also for a segment that cannot be targeted.
        """
        try:
            check_url(new.url, allow_private=self._services.options.webhooks_private)
        except AddressRefused as refused:
            raise Problem(Kind.INVALID_PARAMETERS, f"url: {refused}") from refused
        made = write_secret(secrets.token_bytes(SECRET_BYTES))
        secret = new.write_key if isinstance(new, NewSegmentAudience) else made
        endpoint = Endpoint(
            new_id("au", once),
            new.url,
            new.name,
            self._services.wall(),
            audience=new.segment_id,
            form=new.form,
        )
        found = await self._webhooks.add(endpoint, Secrets(secret), once)
        progress = None if found.is_again else found.progress
        view = (await run_in_threadpool(self._view, found.endpoint, progress)).model_dump()
        shown = None if isinstance(new, NewSegmentAudience) else found.shown_secret(self._services.wall())
        return AudienceWithSecret(**view, secret=shown), found.is_again

    def archive(self, audience_id: str) -> AudienceView:
        """For good."""
        endpoint = self.get(audience_id)
        if endpoint.archived_s is None:
            endpoint = msgspec.structs.replace(endpoint, archived_s=self._services.wall())
            self.store.replace(endpoint)
        return self._view(endpoint)

    def compare(self, audience_id: str) -> AudienceView:
        """Soon. Raises NotStored for one that is archived."""
        endpoint = self.get(audience_id)
        if endpoint.archived_s is not None:
            raise NotStored(f"the audience {audience_id[:40]!r} is archived")
        self.store.ask_to_compare(audience_id)
        return self._view(endpoint)

    def _view(self, endpoint: Endpoint, progress: Progress | None = None) -> AudienceView:
        return self.view(endpoint, self.defined(), progress)

    def view(
        self, endpoint: Endpoint, defined: DefinitionsView | None, progress: Progress | None = None
    ) -> AudienceView:
        """As it is answered, by what is defined now; `progress`: of one that was made just now."""
        found = self.store.progress(endpoint.id) if progress is None else progress
        state = Breaker(found.failures_in_a_row, found.openings, found.open_until_s).state(self._services.wall())
        is_new = progress is not None
        return AudienceView(
            id=endpoint.id,
            segment_id=str(endpoint.audience),
            form="segment" if endpoint.form == "segment" else "webhook",
            url=endpoint.url,
            name=endpoint.name,
            status=status_of(defined, endpoint),
            created_at=time_text(endpoint.created_s),
            archived_at=time_text(endpoint.archived_s),
            listed=0 if is_new else self.store.listed_count(endpoint.id),
            waiting=0 if is_new else self.store.waiting_count(endpoint.id),
            comparing=is_new or (endpoint.archived_s is None and self.store.asked(endpoint.id) > found.compared),
            differing=found.differing,
            delivered=found.delivered,
            failed=found.failed,
            circuit=state,
            last_result=found.last_words or None,
            last_at=time_text(found.last_s),
        )
