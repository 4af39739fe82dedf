"""Making, changing and archiving one prediction or segment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Path, Request
from starlette.responses import Response

from config.definitions import Kind as What
from streams.adapters.campaign_definitions import KeptCampaign
from streams.api import definition_document as document
from streams.api import edits
from streams.api.auth import Authenticator, access
from streams.api.campaign_definer import CampaignDefiner
from streams.api.campaigns_view import CampaignsView, campaigns_on, unusable
from streams.api.changing import Told, response
from streams.api.definer import Definer, Work
from streams.api.definition_models import CampaignOn, ChangedView, DefinitionView
from streams.api.definition_requests import IdempotencyKey, IfMatch, ask_of, check_match, read_json
from streams.api.definitions_view import DefinitionsView, Edit
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.services import Services
from streams.api.standing import Rests, definition_view, states_of
from streams.api.targets import endpoints_on

_ETAG = {"ETag": {"description": "Of the definition; for `If-Match`.", "schema": {"type": "string"}}}
Find = Callable[[DefinitionsView], list[Edit]]


class OneKind:
    """The routes of one kind of definition."""

    def __init__(
        self,
        app: FastAPI,
        kind: What,
        definer: Definer,
        campaigns: CampaignDefiner,
        services: Services,
        authenticator: Authenticator,
    ) -> None:
        self._app = app
        self._kind = kind
        self._definer = definer
        self._campaigns = campaigns
        self._stored = services.stored
        self._webhooks = services.webhooks
        self._authenticator = authenticator
        self._options = services.options
        self._id = Path(alias=f"{kind}_id", description="As in a catalog.")
        self._path = f"/v1/{kind}s/{{{kind}_id}}"

    def add(self) -> None:
        """Add all of them."""
        self._add_reading()
        self._add_creation()
        self._add_edit()
        self._add_switch("archive", "Archive", edits.archived)
        self._add_switch("restore", "Restore", edits.restored)
        if self._kind == "prediction":
            self._add_access()

    def _add_reading(self) -> None:
        id_of_path = self._id

        def one(id_: str = id_of_path) -> Response:
            return response(self._told(self._definer.view(), id_, 200, None))

        self._route("GET", f"{self._path}/definition", one, "get{}Definition", "How one {} is defined", (404, 422))

    def _add_creation(self) -> None:
        async def create(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
            body, data = await read_json(request, self._options)

            def work(view: DefinitionsView) -> Work:
                edit = edits.created(view, self._kind, data)
                return Work([edit], lambda after: self._told(after, edit.id, 201, [edit]))

            return await self._definer.run(lambda: self._definer.change(ask_of(request, body, idempotency_key), work))

        schema = document.body_schema(self._kind, is_new=True)
        self._route(
            "POST", f"/v1/{self._kind}s", create, "create{}", "Make a {}", (400, 408, 409, 413, 415, 422), schema
        )

    def _add_edit(self) -> None:
        id_of_path = self._id

        async def edit(request: Request, id_: str = id_of_path, if_match: IfMatch = None) -> Response:
            body, data = await read_json(request, self._options)
            return await self._change(
                request, body, id_, if_match, lambda view: edits.edited(view, self._kind, id_, data), is_needed=True
            )

        statuses = (400, 404, 408, 409, 412, 413, 415, 422, 428)
        schema = document.body_schema(self._kind, is_new=False)
        self._route("PUT", self._path, edit, "edit{}", "Change a {}", statuses, schema)

    def _add_switch(self, name: str, words: str, find: Callable[[DefinitionsView, What, str], list[Edit]]) -> None:
        id_of_path = self._id

        async def switch(
            request: Request,
            id_: str = id_of_path,
            if_match: IfMatch = None,
            idempotency_key: IdempotencyKey = None,
        ) -> Response:
            return await self._change(
                request, b"", id_, if_match, lambda view: find(view, self._kind, id_), idempotency_key=idempotency_key
            )

        self._route("POST", f"{self._path}/{name}", switch, f"{name}{{}}", f"{words} a {{}}", (404, 409, 412, 422))

    def _add_access(self) -> None:
        id_of_path = self._id

        async def access_(
            request: Request,
            id_: str = id_of_path,
            if_match: IfMatch = None,
            idempotency_key: IdempotencyKey = None,
        ) -> Response:
            body, data = await read_json(request, self._options)
            return await self._change(
                request,
                body,
                id_,
                if_match,
                lambda view: edits.accessed(view, id_, data),
                idempotency_key=idempotency_key,
            )

        statuses = (400, 404, 408, 409, 412, 413, 415, 422)
        words = "Make a {} live, or take it back"
        self._route("POST", f"{self._path}/access", access_, "access{}", words, statuses, document.ACCESS)

    async def _change(
        self,
        request: Request,
        body: bytes,
        id_: str,
        if_match: str | None,
        find: Find,
        *,
        is_needed: bool = False,
        idempotency_key: str | None = None,
    ) -> Response:
        def work(view: DefinitionsView) -> Work:
            view.editable(self._kind, id_)
            check_match(if_match, view.etag_of(self._kind, id_), is_needed=is_needed)
            found = find(view)
            return Work(found, lambda after: self._told(after, id_, 200, found))

        return await self._definer.run(lambda: self._definer.change(ask_of(request, body, idempotency_key), work))

    def _told(self, view: DefinitionsView, id_: str, status: int, done: list[Edit] | None) -> Told:
        """`done`: None where nothing was asked to change."""
        view.get(self._kind, id_)  # before the states are read
        past = self._definer.store.past() if self._kind == "prediction" else None
        endpoints = endpoints_on(view, self._webhooks.all(), self._kind, id_)
        campaigns = self._campaigns.beside(view)
        on = campaigns_on(campaigns, self._kind, id_)
        rests = Rests(endpoints, [_campaign(campaigns, each) for each in on])
        found = definition_view(view, states_of(self._stored), past, rests, self._kind, id_)
        if done is not None:
            paused = unusable(campaigns)
            others = [edit for edit in done if (edit.kind, edit.id) != (self._kind, id_)]
            found = ChangedView(
                **found.model_dump(),
                archived_too=[edit.id for edit in others if edit.action == "archive"],
                restored_too=[edit.id for edit in others if edit.action == "restore"],
                campaigns_paused=[each.head.id for each in on if each.head.id in paused],
            )
        headers = {"ETag": view.etag_of(self._kind, id_)}
        if status == 201:
            headers["Location"] = f"/v1/{self._kind}s/{id_}/definition"
        return Told(status, found.model_dump_json(), headers)

    def _route(
        self,
        method: str,
        path: str,
        endpoint: Callable[..., Any],
        operation: str,
        words: str,
        statuses: tuple[int, ...],
        schema: dict[str, Any] | None = None,
    ) -> None:
        given = access(self._authenticator, Role.READ if method == "GET" else Role.WRITE)
        if schema is not None:
            given["openapi_extra"] |= document.body(schema)
        good = 201 if operation.startswith("create") else 200
        self._app.add_api_route(
            path,
            endpoint,
            tags=[f"{self._kind}s"],
            methods=[method],
            operation_id=operation.format(self._kind.capitalize()),
            summary=words.format(self._kind),
            status_code=good,
            response_model=DefinitionView if method == "GET" else ChangedView,
            responses={good: {"headers": _ETAG}, **problems(*statuses)},
            **given,
        )


def _campaign(view: CampaignsView, each: KeptCampaign) -> CampaignOn:
    head = each.head
    return CampaignOn(kind=head.kind, id=head.id, name=view.current(head.id).name, state=head.stands.state)
