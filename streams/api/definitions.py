"""All definitions together: the list, the file that they make, what leads to another set, and who changed what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import FastAPI, Query, Request
from starlette.responses import Response

from config.catalog import Prediction
from config.definitions import KINDS
from config.definitions import Kind as What
from config.written import to_yaml
from streams.adapters.definition_store import Change, DefinitionStore, Place
from streams.api import definition_document as document
from streams.api.auth import Authenticator, access
from streams.api.campaign_definer import NO_CAMPAIGNS, CampaignDefiner, PlannedCampaigns
from streams.api.campaign_set import SECTIONS, exported, with_campaigns
from streams.api.changing import Told
from streams.api.define import OneKind
from streams.api.definer import Definer, Work
from streams.api.definition_models import DefinitionList, HistoryItem, HistoryPage, ListedDefinition, Plan
from streams.api.definition_requests import IfMatch, ask_of, check_match, read_json
from streams.api.definitions_view import DefinitionsView, group
from streams.api.document import problems
from streams.api.edits import planned
from streams.api.keys import Role
from streams.api.pages import place_cursor, place_of
from streams.api.services import ApiOptions, Services
from streams.api.views import time_text

_PAGE: Final = 50
"""Changes that are read at once: each may have two definitions of the largest size."""
MAX_HISTORY_BYTES: Final = 1_000_000
"""A page ends with the change that goes beyond."""
MAX_HISTORY_LOOKED: Final = 1_000
"""Changes that are looked at for a page: where few are of what is asked for it ends, too, and may be empty."""
_ETAG = {"ETag": {"description": "Of all definitions together; for `If-Match`.", "schema": {"type": "string"}}}

Limit = Annotated[int, Query(ge=1, le=1_000, description="At most so many.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=200)]
OfKind = Annotated[Literal["prediction", "segment"] | None, Query(description="Only changes of this kind,")]
OfId = Annotated[str | None, Query(alias="id", description="of the definition with this id.", max_length=200)]


def add_definitions(
    app: FastAPI, definer: Definer, campaigns: CampaignDefiner, services: Services, authenticator: Authenticator
) -> None:
    """Add the routes of all definitions, and of each."""
    for kind in KINDS:
        OneKind(app, kind, definer, campaigns, services, authenticator).add()
    _add_reading(app, definer, campaigns, authenticator)
    _add_history(app, definer, authenticator)
    _add_set(app, campaigns, authenticator, services.options)


def _add_reading(app: FastAPI, definer: Definer, campaigns: CampaignDefiner, authenticator: Authenticator) -> None:
    @app.get(
        "/v1/definitions",
        tags=["definitions"],
        operation_id="listDefinitions",
        summary="All definitions, those of the catalog file and those made here",
        response_model=DefinitionList,
        responses={200: {"headers": _ETAG}, **problems()},
        **access(authenticator, Role.READ),
    )
    def all_definitions() -> Response:
        view = definer.view()
        items = [_listed(view, kind, id_) for kind in KINDS for id_ in group(view.whole, kind)]
        found = DefinitionList(revision=view.kept.revision, items=items)
        return Response(found.model_dump_json(), 200, {"ETag": view.etag}, "application/json")

    @app.get(
        "/v1/definitions/export",
        tags=["definitions"],
        operation_id="exportDefinitions",
        summary="The whole catalog with all definitions, as a file that tideline check and apply take",
        response_class=Response,
        responses={
            200: {"description": "A catalog in YAML.", "content": {"application/yaml": {}}, "headers": _ETAG},
            **problems(),
        },
        **access(authenticator, Role.READ),
    )
    def export() -> Response:
        view = definer.view()
        whole = exported(view.in_force, campaigns.beside(view))
        return Response(to_yaml(whole), 200, {"ETag": view.etag}, "application/yaml")


def _listed(view: DefinitionsView, kind: What, id_: str) -> ListedDefinition:
    found = group(view.whole, kind)[id_]
    return ListedDefinition(
        kind=kind,
        id=id_,
        name=found.name,
        source=view.source(kind, id_),
        archived=found.archived,
        access=found.access if isinstance(found, Prediction) else None,
        etag=view.etag_of(kind, id_),
    )


# --- who changed what ------------------------------------------------------------------------------------------------


def _add_history(app: FastAPI, definer: Definer, authenticator: Authenticator) -> None:
    @app.get(
        "/v1/definitions/history",
        tags=["definitions"],
        operation_id="listChanges",
        summary="Who changed what and when, the latest first",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def history(kind: OfKind = None, id_: OfId = None, limit: Limit = 100, cursor: Cursor = None) -> HistoryPage:
        shown: list[tuple[Place, Change]] = []
        size = 0
        before = None if cursor is None else place_of("history", cursor)
        for looked, (place, change) in enumerate(_changes(definer.store, before)):
            if looked == MAX_HISTORY_LOOKED:
                assert before is not None, "it is where the last one stands that was looked at"
                return HistoryPage(items=[_item(*each) for each in shown], next_cursor=place_cursor("history", before))
            before = place
            if kind not in (None, change.kind) or id_ not in (None, change.id):
                continue
            if len(shown) == limit or size > MAX_HISTORY_BYTES:
                return HistoryPage(
                    items=[_item(*each) for each in shown], next_cursor=place_cursor("history", shown[-1][0])
                )
            shown.append((place, change))
            size += len(msgspec.json.encode(change))
        return HistoryPage(items=[_item(*each) for each in shown], next_cursor=None)


def _changes(store: DefinitionStore, before: Place | None) -> Iterator[tuple[Place, Change]]:
    """All before a place, the latest first."""
    while page := store.history(before, _PAGE):
        yield from page
        before = page[-1][0]


def _item(place: Place, change: Change) -> HistoryItem:
    return HistoryItem(
        revision=place[0],
        at=time_text(change.at_s),
        key_id=change.key_id,
        kind=change.kind,
        id=change.id,
        action=change.action,
        before=change.before,
        after=change.after,
    )


def _set_etag(view: DefinitionsView, data: Any, campaigns: PlannedCampaigns) -> str:
    """Of what a set replaces: campaigns are in it if the set has some."""
    return f'{view.etag[:-1]}-{campaigns.revision}"' if any(key in data for key in SECTIONS) else view.etag


# --- all at once -----------------------------------------------------------------------------------------------------


def _add_set(app: FastAPI, campaigns: CampaignDefiner, authenticator: Authenticator, options: ApiOptions) -> None:
    definer = campaigns.definer

    def add(method: str, path: str, operation: str, words: str, endpoint: Any, statuses: tuple[int, ...]) -> None:
        given = access(authenticator, Role.WRITE)
        given["openapi_extra"] |= document.body(document.set_schema())
        app.add_api_route(
            path,
            endpoint,
            tags=["definitions"],
            methods=[method],
            operation_id=operation,
            summary=words,
            response_model=Plan,
            responses={200: {"headers": _ETAG}, **problems(400, 408, 409, 413, 415, 422, *statuses)},
            **given,
        )

    async def plan(request: Request) -> Response:
        _, data = await read_json(request, options)

        def work() -> Response:
            view = definer.view()
            found, edits = planned(view, data)
            after, _ = view.changed(edits, request.state.caller.key_id, 0.0)
            more = campaigns.planned(after, data, request.state.caller.key_id)
            told = with_campaigns(found, more.plan)
            return Response(told.model_dump_json(), 200, {"ETag": _set_etag(view, data, more)}, "application/json")

        return await definer.run(work)

    async def apply(request: Request, if_match: IfMatch = None) -> Response:
        body, data = await read_json(request, options)

        ask = ask_of(request, body, None)
        planned_campaigns = [NO_CAMPAIGNS]

        def work(view: DefinitionsView) -> Work:
            found, edits = planned(view, data)
            after, _ = view.changed(edits, ask.key_id, 0.0) if edits else (view, [])
            more = planned_campaigns[0] = campaigns.planned(after, data, ask.key_id)
            check_match(if_match, _set_etag(view, data, more), is_needed=True)
            whole = with_campaigns(found, more.plan)

            def tell(after: DefinitionsView) -> Told:
                done = whole.model_copy(update={"revision": after.kept.revision})
                return Told(200, done.model_dump_json(), {"ETag": after.etag})

            return Work(edits, tell)

        def both() -> Response:
            answer = definer.change(ask, work)
            campaigns.apply(planned_campaigns[0], data, ask.key_id)
            return answer

        return await definer.run(both)

    words = "What it takes to get from what is defined to a whole set; nothing is changed"
    add("POST", "/v1/definitions/plan", "planDefinitions", words, plan, ())
    words = "Define a whole set in one step; what was made here and is not in it is archived"
    add("PUT", "/v1/definitions", "applyDefinitions", words, apply, (412, 428))
